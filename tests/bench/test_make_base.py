"""The line that makes the embedded base, on a corpus and a model small enough for a test."""

import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luthier.modelling.load import load_base
from luthier.text.tokenizer import load_tokenizer

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "method.hidden_size=64",
    "method.layers=2",
    "method.heads=2",
    "method.kv_heads=1",
    "method.intermediate_size=64",
    "method.vocabulary_size=280",
    "train.epochs=20",
    "train.most_steps=6",
    "train.tokens_per_step=512",
    "train.pack_tokens=256",
    "data.max_length=256",
    "train.precision=fp32",
    "train.validation.sample_prompts=0",
    "train.log.trackers=[]",
]


def make_base(corpus: Path, work: Path, *settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", str(ROOT / "bench/embedded_base/make_base.sh"), str(corpus), str(work), *settings],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    texts = [f"The number after {n} is {n + 1}, and the one before it is {n - 1}." for n in range(400)]
    for name, rows in (("train", texts[:380]), ("validation", texts[380:])):
        with lzma.open(folder / f"{name}.jsonl.xz", "wt", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in rows)
    return folder


@pytest.mark.slow
@pytest.mark.whole
def test_the_folder_that_ships_is_what_its_facts_say(corpus: Path, tmp_path: Path) -> None:
    done = make_base(corpus, tmp_path / "work", *TINY)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "work" / "base"
    facts = json.loads((folder / "facts.json").read_text())
    assert facts["steps"] == 6
    assert facts["validation"]["loss_nats_a_token"] == pytest.approx(
        facts["validation"]["loss_of_the_run_in_fp32"], abs=0.02
    )
    assert facts["validation"]["bytes"] == sum(
        len(f"The number after {n} is {n + 1}, and the one before it is {n - 1}.") for n in range(380, 400)
    )
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    model = load_base(folder, dtype=torch.float32, device=torch.device("cpu"), attention="sdpa")
    assert facts["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert len(load_tokenizer(folder)) == 280
    assert set(facts["files"]) == {file.name for file in folder.iterdir()} - {"facts.json"}


def test_a_line_without_its_folders_says_how_to_call_it() -> None:
    done = subprocess.run(
        ["bash", str(ROOT / "bench/embedded_base/make_base.sh")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "make_base.sh CORPUS WORK" in done.stderr
