"""Memory that runs out is explained: what was asked for, what was there, where, and three ways to fit. Limits here are the kernel's own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from luthier.config.recipe import Recipe
from luthier.floor.errors import EnvironmentFault
from luthier.train.memory_faults import asked_bytes, cheapest_ways, explained, is_out_of_memory
from tests.tiny import make_tiny_model
from tests.train.runs import make_run, random_rows

ROOT = Path(__file__).parents[2]


def drive(run: Path, base: Path, place: str, room_mib: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.train.memory_driver", str(run), str(base), place, str(room_mib)]
    return subprocess.run(
        words,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture(scope="module")
def wide_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 200 MiB of weights in fp32."""
    return make_tiny_model(tmp_path_factory.mktemp("wide"), hidden_size=1024, layers=6)


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_told_with_what_would(wide_base: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", wide_base, rows=random_rows(8))
    done = drive(run.path, wide_base, "loading", 60)
    assert done.returncode == 5, done.stderr
    assert "error[env-memory]: memory ran out while the model was put into memory" in done.stderr
    assert "its limit (ulimit -v)" in done.stderr
    assert "method.kind=qlora: saves about" in done.stderr
    assert "pack_tokens" not in done.stderr, "it changes nothing before the first step"
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_memory_that_runs_out_in_a_step_leaves_the_checkpoint_before_it(
    tiny_base: Path, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "run", tiny_base, rows=random_rows(320, shortest=500, longest=512))
    done = drive(run.path, tiny_base, "2", 1)
    assert done.returncode == 5, done.stderr
    # The step after the limit may live on what the one before it gave back.
    found = re.search(
        # Where Python or C++ is refused, nobody says how much was asked for.
        r"^error\[env-memory\]: memory ran out in step ([345]) of 5: "
        r"(?:[\d.]+ [KM]iB more were asked for|more was asked for than there is)$",
        done.stderr,
        re.MULTILINE,
    )
    assert found is not None, done.stderr
    saved = (int(found[1]) - 1) // 2 * 2
    ways = [line.split(":")[0].strip() for line in done.stderr.splitlines() if ": saves about" in line]
    assert ways[:2] == ["train.pack_tokens=16384", "train.gradient_checkpointing=true"]
    assert len(ways) == 3
    assert "What was saved before is untouched." in done.stderr
    assert "Traceback" not in done.stderr
    again = drive(run.path, tiny_base, "-1", 0)
    assert again.stdout == f"resumed [{saved}], done 5\n", again.stderr


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB",
            2 * 2**30,
        ),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes. Error code 12", 4096),
        ("Unable to allocate 7.45 GiB for an array with shape (1000000000,)", round(7.45 * 2**30)),
        ("std::bad_alloc", None),
    ],
)
def test_what_was_asked_for_is_read_from_the_refusal(text: str, asked: int | None) -> None:
    assert asked_bytes(text) == asked


def test_other_faults_pass_unchanged(tiny_base: Path) -> None:
    recipe = Recipe.model_validate({"model": {"name": str(tiny_base), "device": "cpu"}})
    for fault in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no")):
        with pytest.raises(type(fault)) as caught, explained(recipe, "in step 1"):
            raise fault
        assert caught.value is fault


def test_a_fault_that_another_layer_wrapped_keeps_what_was_asked_for(tiny_base: Path) -> None:
    recipe = Recipe.model_validate({"model": {"name": str(tiny_base), "device": "cpu"}})
    with pytest.raises(EnvironmentFault) as caught, explained(recipe, "in step 1"):
        try:
            raise RuntimeError("can't allocate memory: you tried to allocate 2097152 bytes")
        except RuntimeError as fault:
            raise EnvironmentFault("env-memory", "the model does not fit") from fault
    assert "2.0 MiB more were asked for" in caught.value.what


def test_ways_that_are_enough_go_before_ways_that_are_not(tiny_base: Path) -> None:
    recipe = Recipe.model_validate(
        {"model": {"name": str(tiny_base), "device": "cpu"}, "train": {"batch_size": 64}}
    )
    every = cheapest_ways(recipe, torch.device("cpu"), "step", missing_bytes=0)
    assert every[0].startswith("train.pack_tokens=16384")
    assert all("not enough alone" in way for way in cheapest_ways(recipe, torch.device("cpu"), "step", missing_bytes=1e15))  # fmt: skip


def test_torchs_own_class_counts_as_memory() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(MemoryError())
    assert not is_out_of_memory(EnvironmentFault("env-disk", "full"))
