"""Columns in memory and in files, and rows grouped by key, are the same whatever the budget."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.dedup.columns import Columns, equal_groups


def fill(folder: Path, budget_bytes: int) -> tuple[dict[str, np.ndarray], int]:
    folder.mkdir()
    with Columns(folder, budget_bytes=budget_bytes) as columns:
        for start in range(0, 1000, 100):
            columns.append("number", np.arange(start, start + 100, dtype=np.int64))
            columns.append("pair", np.arange(200, dtype=np.uint32).reshape(-1, 2) + start)
        return columns.close(), columns.spilled_bytes


def test_columns_that_spill_hold_the_same_numbers(tmp_path: Path) -> None:
    in_memory, nothing = fill(tmp_path / "memory", 2**20)
    in_files, spilled = fill(tmp_path / "files", 4000)
    assert nothing == 0
    assert spilled == 1000 * 8 + 1000 * 8
    assert isinstance(in_files["number"], np.memmap)
    for name, column in in_memory.items():
        assert column.dtype == in_files[name].dtype
        assert np.array_equal(column, in_files[name])


def test_columns_within_the_budget_touch_no_disk(tmp_path: Path) -> None:
    fill(tmp_path / "memory", 2**20)
    assert list((tmp_path / "memory").iterdir()) == []


@given(
    keys=st.lists(st.sampled_from([0, 1, 5, 2**63, 2**63 + 1, 2**64 - 2, 2**64 - 1]), max_size=60),
    budget=st.integers(min_value=1, max_value=3000),
    seed=st.integers(0, 3),
)
def test_groups_are_all_rows_that_share_a_key_in_one_order(keys: list[int], budget: int, seed: int) -> None:
    among = np.random.default_rng(seed).random(len(keys)) < 0.8
    found = equal_groups(np.array(keys, dtype=np.uint64), budget_bytes=budget, among_N=among)
    expected = [
        [row for row, key in enumerate(keys) if key == value and among[row]] for value in sorted(set(keys))
    ]
    assert [group.tolist() for group in found] == [rows for rows in expected if len(rows) > 1]


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    from luthier.floor.errors import EnvironmentFault

    columns = Columns(tmp_path / "gone", budget_bytes=8)
    with pytest.raises(EnvironmentFault) as fault:
        columns.append("number", np.arange(10))
    assert fault.value.code == "env-disk"
