"""Two programs, one model: for every family llama.cpp computes from the file what Transformers computes from the folder."""

import random
from pathlib import Path

import pytest

from luthier.knowledge.gguf_families import GGUF_FAMILIES
from tests.export.gguf.families import CASES, make_family
from tests.export.gguf.writing import compare, write

IDS = [random.Random(7).randrange(300) for _ in range(48)]


def test_every_family_has_a_case() -> None:
    assert {model_type for model_type, _ in CASES.values()} == set(GGUF_FAMILIES)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_llama_cpp_computes_what_transformers_computes(case: str, llama_cpp: Path, tmp_path: Path) -> None:
    folder = make_family(case, tmp_path / "model")
    file = write(folder, "F32", tmp_path / "model.gguf")
    difference = compare(llama_cpp, folder, file, IDS)
    assert difference.max_absolute < 2e-3, difference
    assert difference.mean_kl < 1e-7, difference
