"""The books of the cleaning in words: a line a filter that did something."""

from collections.abc import Mapping

from luthier.floor.units import count_of
from luthier.reports.data import CleaningCounts, FilterCounts


def cleaning_summary(counts: CleaningCounts) -> str:
    """`4,794 rows, 12 of them edited, 3 left out`."""
    dropped = counts.rows_in - counts.rows_kept
    return f"{count_of(counts.rows_in, 'row')}, {counts.rows_edited:,} edited and kept, {dropped:,} left out"


def cleaning_lines(counts: CleaningCounts) -> list[str]:
    """`white_space: 12 rows edited; 3 rows left out (empty completion 3)`, for each filter that did anything."""
    told = {name: _tell(each) for name, each in counts.filters.items()}
    return [f"{name}: {'; '.join(parts)}" for name, parts in told.items() if parts]


def _tell(counts: FilterCounts) -> list[str]:
    parts = []
    if counts.found:
        parts.append(f"found {_listed(counts.found)}")
    if counts.rows_edited:
        parts.append(f"{count_of(counts.rows_edited, 'row')} edited")
    if counts.dropped:
        parts.append(f"{count_of(sum(counts.dropped.values()), 'row')} left out ({_listed(counts.dropped)})")
    return parts


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
