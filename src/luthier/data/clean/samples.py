"""A few edits of every filter, kept so that a person can look at them: as data and as a diff.

Which ones is decided by a hash of the row's place, so that they come from everywhere in the files and are the same every time.
"""

import difflib
import hashlib
import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass

SAMPLES_A_FILTER = 20
CHARACTERS_BEFORE = 60
CHARACTERS_AFTER = 240


@dataclass(frozen=True, slots=True, order=True)
class EditSample:
    """One text before and after a filter, cut down to where it first changed."""

    filter: str
    origin: str
    field: str
    before: str
    """Empty where it must not be shown: what a mask hides."""
    after: str


class Samples:
    """The edits of the rows with the lowest hashes, a bounded number a filter."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        self._hide = hide
        self._kept: dict[str, list[tuple[int, EditSample]]] = {}

    def offer(self, name: str, origin: str, edits: Iterable[tuple[str, str, str]]) -> None:
        """Look at the edits of one row, each with the field, the text before and the text after."""
        kept = self._kept.setdefault(name, [])
        # Python's heaps have the least on top; the highest hash is what has to go first.
        rank = -int.from_bytes(hashlib.blake2b(f"{name}\0{origin}".encode(), digest_size=8).digest())
        if len(kept) >= SAMPLES_A_FILTER and rank <= kept[0][0]:
            return
        field, before, after = next(iter(edits))
        sample = EditSample(name, origin, field, *_cut(self._hide(before), self._hide(after)))
        if len(kept) < SAMPLES_A_FILTER:
            heapq.heappush(kept, (rank, sample))
        else:
            heapq.heapreplace(kept, (rank, sample))

    def in_order(self) -> list[EditSample]:
        """The samples, filter by filter, those with the lowest hash first."""
        return [
            sample for kept in self._kept.values() for _, sample in sorted(kept, key=lambda pair: -pair[0])
        ]


def _cut(before: str, after: str) -> tuple[str, str]:
    if before == after:  # nothing but what is hidden was edited
        place = max(0, after.find("["))
        return "", after[max(0, place - CHARACTERS_BEFORE) : place + CHARACTERS_AFTER]
    pairs = enumerate(zip(before, after, strict=False))
    place = next((number for number, (old, new) in pairs if old != new), min(len(before), len(after)))
    start = max(0, place - CHARACTERS_BEFORE)
    return before[start : place + CHARACTERS_AFTER], after[start : place + CHARACTERS_AFTER]


def diff_of(sample: EditSample) -> str:
    """A sample as a unified diff, with what is invisible spelt out."""
    before, after = (_visible_lines(text) for text in (sample.before, sample.after))
    head = (f"{sample.origin} {sample.field}", f"after {sample.filter}")
    return "\n".join(difflib.unified_diff(before, after, *head, n=1, lineterm=""))


def _visible_lines(text: str) -> list[str]:
    return [_visible(line) for line in text.split("\n")] if text else []


def _visible(line: str) -> str:
    shown = line.rstrip(" ")
    spelt = "".join(mark if mark.isprintable() else ascii(mark)[1:-1] for mark in shown)
    return spelt + "·" * (len(line) - len(shown))
