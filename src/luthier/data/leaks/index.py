"""The questions of one set, held so that the rows of another can stream past: numbers in memory, texts in a temporary file.

Takes about 16 bytes a word and 1 KB a question of the set that is held, whatever the size of the other.
Axes: G different questions, W runs of words, K and B as in dedup/sketch.py.
"""

import tempfile
from array import array
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from luthier.data.dedup.sketch import Sketcher, WordHashes, mix
from luthier.data.dedup.wording import tokens_of
from luthier.data.leaks.words import FEWEST_RUN_WORDS, RUN_WORDS, exact_key, folded_key, question_of, words_of
from luthier.floor.files import disk_faults
from luthier.text.rows import Row

# A run that stands in more questions than this is the set's own wording ("Which of the following is"), as Megatron-LM's
# decontamination has it with its --key-threshold.
MOST_QUESTIONS_OF_RUN = 10
BATCH_QUESTIONS = 4096

Keys = NDArray[np.uint64]
Numbers = NDArray[np.int64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIERS = mix(np.arange(1, FEWEST_RUN_WORDS + 1, dtype=np.uint64) * _GOLDEN) | np.uint64(1)


class RunHashes:
    """A hash for every run of eight words."""

    def __init__(self) -> None:
        self._words = WordHashes()

    def hash(self, words: list[str]) -> Keys:
        """One number a place where a run starts; the same words always give the same number."""
        look_up = self._words.__getitem__
        hashes = np.fromiter((look_up(word) for word in words), dtype=np.uint64, count=len(words))
        places = max(0, len(words) - FEWEST_RUN_WORDS + 1)
        found = np.zeros(places, dtype=np.uint64)
        for place, multiplier in enumerate(_MULTIPLIERS):
            found += hashes[place : place + places] * multiplier
        return mix(found)


@dataclass(frozen=True)
class Lookup:
    """Keys in order, and the question that each belongs to."""

    keys: Keys
    questions: Numbers

    @classmethod
    def of(cls, keys: Keys, questions: Numbers) -> "Lookup":
        """Put keys into order; equal ones keep theirs."""
        order = np.argsort(keys, kind="stable")
        return cls(keys[order], questions[order])

    def meets(self, wanted: Keys, *, most: int) -> tuple[Numbers, Numbers]:
        """Pairs of a place in `wanted` and a question that has that key, of each place at most so many."""
        starts = np.searchsorted(self.keys, wanted, "left")
        counts = np.minimum(np.searchsorted(self.keys, wanted, "right") - starts, most)
        places = np.repeat(np.arange(len(wanted)), counts)
        steps = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        return places, self.questions[np.repeat(starts, counts) + steps]


class QuestionIndex:
    """Every different question of a set. A context manager, since it holds a temporary file for the texts.

    Without a sketcher nothing near is looked for, and rensa is not needed.
    """

    def __init__(self, rows: Iterable[Row], sketcher: Sketcher | None) -> None:
        self.sketcher = sketcher
        self.run_hashes = RunHashes()
        self.rows = self.rows_too_short = 0
        self.origins: list[str] = []
        self.rows_of_question = array("q")
        self.exact: dict[int, int] = {}
        self._rows = rows
        self._text_starts = array("q", [0])
        self._texts = tempfile.TemporaryFile(prefix="luthier-leaks-")  # noqa: SIM115  # closed in __exit__

    def __enter__(self) -> Self:
        with ExitStack() as closing:
            closing.callback(self._texts.close)
            self._build()
            closing.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._texts.close()

    def question(self, number: int) -> str:
        """The text of a question."""
        start, end = self._text_starts[number], self._text_starts[number + 1]
        self._texts.seek(start)
        return self._texts.read(end - start).decode()

    def _build(self) -> None:
        folded, most_hits = array("Q"), array("q")
        runs: list[Keys] = []
        questions: list[Numbers] = []
        sketches = _Sketches(self.sketcher)
        for row in self._rows:
            text = question_of(row)
            words = words_of(text)
            self.rows += 1
            self.rows_too_short += len(words) < FEWEST_RUN_WORDS
            if not text.strip():
                continue
            number = self.exact.setdefault(exact_key(text), len(self.origins))
            if number < len(self.origins):
                self.rows_of_question[number] += 1
                continue
            self._keep(text, row.origin)
            folded.append(folded_key(text))
            most_hits.append(max(0, min(len(words), RUN_WORDS) - FEWEST_RUN_WORDS + 1))
            runs.append(np.unique(self.run_hashes.hash(words)))
            questions.append(np.full(len(runs[-1]), number))
            sketches.add(text)
        self.folded = Lookup.of(np.array(folded, dtype=np.uint64), np.arange(len(folded)))
        chosen = _Runs.choose(runs, questions)
        self.runs, self.boilerplate_runs = chosen.lookup, chosen.boilerplate
        self.is_common_G = chosen.tell_G == 0
        """Questions in the set's own wording throughout: only the whole of one tells anything."""
        self.hits_needed_G = np.clip(chosen.tell_G, 1, np.maximum(np.array(most_hits, dtype=np.int64), 1))
        self.signatures_GK, self.bands = sketches.close()

    def _keep(self, text: str, origin: str) -> None:
        self.origins.append(origin)
        self.rows_of_question.append(1)
        content = text.encode()
        with disk_faults(Path(tempfile.gettempdir())):
            self._texts.write(content)
        self._text_starts.append(self._text_starts[-1] + len(content))


@dataclass(frozen=True)
class _Runs:
    """The runs that questions are found by."""

    lookup: Lookup
    tell_G: Numbers
    """How many runs of a question tell it from the others."""
    boilerplate: int
    """How many runs tell nothing."""

    @classmethod
    def choose(cls, runs: list[Keys], questions: list[Numbers]) -> "_Runs":
        """Of each question the runs that few others have; of one whose runs are all common, the rarest one."""
        if not runs:
            none = np.empty(0, dtype=np.int64)
            return cls(Lookup.of(np.empty(0, dtype=np.uint64), none), none, 0)
        found = Lookup.of(np.concatenate(runs), np.concatenate(questions))
        _, places, counts = np.unique(found.keys, return_inverse=True, return_counts=True)
        questions_with_run = counts[places]
        is_kept = questions_with_run <= MOST_QUESTIONS_OF_RUN
        tell_G = np.bincount(found.questions[is_kept], minlength=len(runs))
        by_question = np.lexsort((questions_with_run, found.questions))
        is_first = np.diff(found.questions[by_question], prepend=-1) != 0
        rarest = by_question[is_first]
        is_kept[rarest[tell_G[found.questions[rarest]] == 0]] = True
        kept = Lookup(found.keys[is_kept], found.questions[is_kept])
        return cls(kept, tell_G, int((counts > MOST_QUESTIONS_OF_RUN).sum()))


class _Sketches:
    """Signatures and band keys of all questions, made batch by batch."""

    def __init__(self, sketcher: Sketcher | None) -> None:
        self._sketcher = sketcher
        self._waiting: list[list[str]] = []
        self._signatures: list[NDArray[np.uint32]] = []
        self._bands: list[Keys] = []

    def add(self, text: str) -> None:
        if self._sketcher:
            self._waiting.append(tokens_of(text))
            if len(self._waiting) >= BATCH_QUESTIONS:
                self._flush()

    def close(self) -> tuple[NDArray[np.uint32], list[Lookup]]:
        self._flush()
        if not self._bands:
            return np.empty((0, 0), dtype=np.uint32), []
        keys_GB = np.concatenate(self._bands)
        questions = np.arange(len(keys_GB))
        bands = [Lookup.of(keys_GB[:, band], questions) for band in range(keys_GB.shape[1])]
        return np.concatenate(self._signatures), bands

    def _flush(self) -> None:
        if self._sketcher and self._waiting:
            signatures, keys = self._sketcher.sketch(self._waiting)
            self._signatures.append(signatures)
            self._bands.append(keys)
            self._waiting = []
