"""Records of what became of rows: kept across processes, made anew for other rows, books that balance whatever was seen."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.encoding.outcomes import IS_KEPT, RECORD_BYTES, Outcomes
from luthier.floor.errors import EnvironmentFault

PRINT, OTHER = "ab" * 32, "cd" * 32


def records(*rows: tuple[int, int, int, int, int]) -> np.ndarray:
    return np.array(rows, dtype=np.int32).reshape(-1, 5)


def test_what_was_noted_is_there_for_the_next_process(tmp_path: Path) -> None:
    outcomes = Outcomes(4, path=tmp_path / "train/outcomes.bin", fingerprint=PRINT)
    assert outcomes.lengths(np.arange(4)).tolist() == [-1] * 4
    outcomes.note(np.array([2, 0]), records((IS_KEPT, 9, 5, 7, 4), (2, 3, 0, 0, 0)))
    assert outcomes.lengths(np.arange(4)).tolist() == [0, -1, 7, -1]
    again = Outcomes(4, path=tmp_path / "train/outcomes.bin", fingerprint=PRINT)
    assert again.lengths(np.arange(4)).tolist() == [0, -1, 7, -1]
    assert again.lost(2) == (2, 1)
    assert again.not_whole(np.ones(4, dtype=bool)).tolist() == [0, 2]


@pytest.mark.parametrize(("rows", "fingerprint"), [(4, OTHER), (5, PRINT)])
def test_records_of_other_rows_are_not_believed(rows: int, fingerprint: str, tmp_path: Path) -> None:
    Outcomes(4, path=tmp_path / "o.bin", fingerprint=PRINT).note(
        np.array([1]), records((IS_KEPT, 9, 5, 9, 5))
    )
    other = Outcomes(rows, path=tmp_path / "o.bin", fingerprint=fingerprint)
    assert other.lengths(np.arange(rows)).tolist() == [-1] * rows
    assert (tmp_path / "o.bin").stat().st_size == RECORD_BYTES * (rows + 1)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_text("something else")
    (tmp_path / "o.bin").symlink_to(tmp_path / "theirs")
    with pytest.raises(EnvironmentFault):
        Outcomes(4, path=tmp_path / "o.bin", fingerprint=PRINT)
    assert (tmp_path / "theirs").read_text() == "something else"


@given(
    outcomes=st.lists(
        st.tuples(st.sampled_from([0, 1, 2, 3]), st.integers(2, 90), st.integers(1, 40), st.integers(0, 30)),
        min_size=1,
        max_size=30,
    ),
    reached=st.integers(0, 30),
)
def test_the_books_balance_whatever_was_reached(
    outcomes: list[tuple[int, int, int, int]], reached: int
) -> None:
    kept = Outcomes(len(outcomes))
    for row, (state, tokens, trained, lost) in enumerate(outcomes):
        trained = min(trained, tokens)
        left = (
            (tokens - min(lost, tokens - 1), trained - min(lost, trained - 1)) if state == IS_KEPT else (0, 0)
        )
        kept.note(np.array([row]), records((state, tokens, trained, *left)))
    books = kept.tally(np.arange(len(outcomes)) < reached).close("fitted", "train")
    assert list(books.faults()) == []
    assert books.rows.came_in == len(outcomes)
