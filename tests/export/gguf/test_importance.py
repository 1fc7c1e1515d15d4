"""Importance matrices: the columns' weights are those that llama.cpp's own products have, and rounding by them is an export's own kind of file."""

import ctypes
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from luthier.config.recipe import Recipe
from luthier.export import stage as merge_stage
from luthier.export.gguf import stage
from luthier.export.gguf.architecture import open_architecture
from luthier.export.gguf.importance import sums_of_squares
from luthier.export.gguf.stage import export_gguf
from luthier.export.stage import merge
from luthier.floor.errors import DataError
from luthier.floor.rundir import RunDir
from luthier.knowledge.model_folder import check_model_folder
from luthier.llamacpp.library import open_model
from luthier.reports.gguf import GgufReport
from luthier.tokens.store import StoreWriter
from tests.export.finished_run import (
    LoraMethod,
    make_finished_run,
    measure_in_this_process,
    write_data_report,
)
from tests.export.gguf.families import make_family
from tests.export.gguf.writing import library, write

pytestmark = [pytest.mark.whole, pytest.mark.slow]

IDS = [random.Random(5).randrange(300) for _ in range(40)]
ROWS = [[random.Random(row).randrange(256) for _ in range(12 + row)] for row in range(6)]


class Tensor(ctypes.Structure):
    """struct ggml_tensor of ggml.h, as far as it is looked at."""


Tensor._fields_ = (
    ("type", ctypes.c_int32),
    ("buffer", ctypes.c_void_p),
    ("ne", ctypes.c_int64 * 4),
    ("nb", ctypes.c_size_t * 4),
    ("op", ctypes.c_int32),
    ("op_params", ctypes.c_int32 * 16),
    ("flags", ctypes.c_int32),
    ("src", ctypes.POINTER(Tensor) * 10),
    ("view_src", ctypes.c_void_p),
    ("view_offs", ctypes.c_size_t),
    ("data", ctypes.POINTER(ctypes.c_float)),
    ("name", ctypes.c_char * 64),
)
EvalCallback = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.POINTER(Tensor), ctypes.c_bool, ctypes.c_void_p)


def sums_in_llama_cpp(
    library_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, np.ndarray[Any, Any]]:
    """As llama-imatrix sums (tools/imatrix/imatrix.cpp): of each product with a weight, the squares of the other factor."""
    sums: dict[str, np.ndarray[Any, Any]] = {}

    def look(pointer: Any, asks: bool, _: object) -> bool:
        weight, inputs = pointer.contents.src[0], pointer.contents.src[1]
        if not weight or not inputs or not weight.contents.name.endswith(b".weight"):
            return not asks
        columns, tokens = inputs.contents.ne[0], inputs.contents.ne[1]
        if (
            asks
            or inputs.contents.type != 0
            or weight.contents.ne[0] != columns
            or weight.contents.ne[1] == 1
        ):
            return True
        values_TC = np.ctypeslib.as_array(inputs.contents.data, shape=(tokens, columns))
        sums[weight.contents.name.decode()] = np.square(values_TC.astype(np.float64)).sum(0)
        return True

    callback, known = EvalCallback(look), library(library_path)
    defaults = known.c.llama_context_default_params

    def watched() -> Any:
        params = defaults()
        params.cb_eval = ctypes.cast(callback, ctypes.c_void_p)
        return params

    monkeypatch.setattr(known.c, "llama_context_default_params", watched)
    with open_model(known, file) as model:
        model.start(context_tokens=len(IDS), threads=1)
        list(model.logits(IDS, range(len(IDS))))
    return sums


@pytest.mark.parametrize("case", ["llama", "phi3", "qwen3"])
def test_columns_weigh_what_llama_cpps_own_products_say(
    case: str, llama_cpp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_family(case, tmp_path / "model")
    file = write(folder, "F32", tmp_path / "model.gguf")
    theirs = sums_in_llama_cpp(llama_cpp, file, monkeypatch)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    architecture = open_architecture(folder, check_model_folder(folder))
    with sums_of_squares(model, architecture) as ours, torch.inference_mode():
        model(torch.tensor([IDS]))
    matrices = [
        new for name, new in architecture.names.items() if new.startswith("blk.") and "norm" not in name
    ]
    assert sorted(ours) == sorted(name for name in matrices if name.endswith(".weight"))
    for name, sums_C in ours.items():
        np.testing.assert_allclose(sums_C.numpy(), theirs[name], rtol=2e-3, atol=1e-5, err_msg=name)


@pytest.fixture(scope="module")
def merged(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, RunDir]:
    folder = tmp_path_factory.mktemp("weighed") / "run"
    recipe, run = make_finished_run(folder, tiny_base, LoraMethod(rank=8, alpha=16))
    store = folder.parent / "store"
    write_data_report(run, store, rows=ROWS[:2])
    with StoreWriter(store / "train") as writer:
        for line, ids in enumerate(ROWS, start=1):
            writer.append(ids, [False] + [True] * (len(ids) - 1), f"rows.jsonl:{line}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge_stage, "measure_in_fresh_process", measure_in_this_process)
        merge(recipe, run)
    return recipe, run


def asked(recipe: Recipe, *types: str, **settings: object) -> Recipe:
    gguf = recipe.export.gguf.model_copy(update={"types": types, "answers": 0, **settings})
    return recipe.model_copy(update={"export": recipe.export.model_copy(update={"gguf": gguf})})


def names_of(report: GgufReport) -> list[str]:
    return [Path(file.path).name.removeprefix("tiny-qwen2-run-") for file in report.files]


def test_weighed_files_lie_beside_the_others_and_say_by_what_they_were_weighed(
    merged: tuple[Recipe, RunDir], llama_cpp: Path
) -> None:
    recipe, run = merged
    settings = {"imatrix": True, "calibration_rows": 4, "calibration_seed": 3}
    export_gguf(asked(recipe, "Q4_0"), run)
    report = export_gguf(asked(recipe, "Q8_0", "Q4_0", **settings), run)
    assert names_of(report) == ["Q4_0.gguf", "Q8_0.gguf", "Q4_0-imat.gguf"]
    plain, eight, weighed = report.files
    assert (plain.importance, eight.importance, plain.made_by) == (None, None, "gguf")
    assert weighed.importance is not None
    assert weighed.made_by == "llama.cpp 0.5.0"
    assert (weighed.importance.rows, weighed.importance.seed, weighed.importance.matrices) == (4, 3, 14)
    drawn = sorted(np.random.default_rng(3).permutation(6)[:4])
    assert weighed.importance.tokens == sum(len(ROWS[row]) for row in drawn)
    assert weighed.sha256 != plain.sha256
    content = Path(weighed.path).read_bytes()
    assert b"quantize.imatrix.entries_count" in content
    assert str(run.path).encode() not in content
    written = Path(weighed.path).stat().st_mtime_ns
    assert export_gguf(asked(recipe, "Q4_0", **settings), run) == report
    other = export_gguf(asked(recipe, "Q4_0", **settings | {"calibration_seed": 4}), run)
    assert names_of(other) == names_of(report)
    assert Path(weighed.path).stat().st_mtime_ns > written


def test_a_run_without_its_training_rows_is_told_before_a_model_is_loaded(
    merged: tuple[Recipe, RunDir], llama_cpp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, whole = merged
    run = RunDir(Path(shutil.copytree(whole.path, tmp_path / "run")))
    store = whole.path.parent / "store" / "train"
    monkeypatch.setattr(stage, "load_merged", lambda *given: pytest.fail("a model was loaded"))
    hidden = store.rename(store.with_name("hidden"))
    try:
        with pytest.raises(DataError) as caught:
            export_gguf(asked(recipe, "Q4_1", imatrix=True), run)
    finally:
        hidden.rename(store)
    assert caught.value.code == "data-cache"
    run.report("data").unlink()
    with pytest.raises(DataError, match="no report of its training rows"):
        export_gguf(asked(recipe, "Q4_1", imatrix=True), run)
