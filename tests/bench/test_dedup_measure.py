"""The script behind the recall and precision of near-duplicates, on few rows."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from luthier.data.dedup.stage import DedupTask, dedup

SCRIPT = Path(__file__).parents[2] / "bench" / "dedup" / "measure.py"


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dedup_measure", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_planted_duplicates_are_found_and_nothing_else(measure: ModuleType, tmp_path: Path) -> None:
    source, out = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    pairs = measure.plant(source, 2500, 3)
    dedup(DedupTask(sources=(source,), out=out))
    result = measure.judge(source, tmp_path / "out.dropped.jsonl", pairs)
    assert result["planted_at_or_above"] > 250
    assert result["recall"] >= 0.98
    assert result["precision"] == 1.0
    assert result["planted_pairs"] > result["planted_at_or_above"], "some lie below the threshold"


def test_the_same_seed_plants_the_same_rows(measure: ModuleType, tmp_path: Path) -> None:
    one, other = (measure.plant(tmp_path / name, 200, 5) for name in ("a.jsonl", "b.jsonl"))
    assert one == other
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
