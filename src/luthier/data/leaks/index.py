"""The questions of one set, held so that the rows of another can stream past: numbers in memory, texts in a temporary file.

G: different questions.
"""

import tempfile
from array import array
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from luthier.data.alike.join import Array, HeldSets
from luthier.data.alike.shingles import ShingleHashes
from luthier.data.alike.wording import tokens_of
from luthier.data.leaks.runs import Keys, Lookup, RunHashes, Runs, TellingRuns, Wholes
from luthier.data.leaks.words import FEWEST_RUN_WORDS, RUN_WORDS, exact_key, folded_key, question_of, words_of
from luthier.floor.files import disk_faults
from luthier.text.rows import Row

BATCH_QUESTIONS = 4096


class QuestionIndex:
    """Every different question of a set. A context manager, since it holds a temporary file for the texts.

    With `threshold` None nothing near is looked for.
    """

    def __init__(self, rows: Iterable[Row], threshold: float | None) -> None:
        self.threshold = threshold
        self.shingles = ShingleHashes()
        self.rows = self.rows_too_short = 0
        self.origins: list[str] = []
        self.rows_of_question = array("q")
        self.exact: dict[int, int] = {}
        self.wholes = Wholes()
        self._run_hashes = RunHashes()
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

    def runs_of(self, text: str) -> Runs:
        """The runs of words of a text, hashed as those of the questions are."""
        return self._run_hashes.runs(words_of(text))

    def _build(self) -> None:
        folded, most_hits = array("Q"), array("q")
        runs: list[Keys] = []
        sets = _Sets(self.shingles, self.threshold)
        for row in self._rows:
            text = question_of(row)
            found = self.runs_of(text)
            self.rows += 1
            self.rows_too_short += len(found.words) < FEWEST_RUN_WORDS
            if not text.strip():
                continue
            number = self.exact.setdefault(exact_key(text), len(self.origins))
            if number < len(self.origins):
                self.rows_of_question[number] += 1
                continue
            self._keep(text, row.origin)
            folded.append(folded_key(text))
            most_hits.append(max(1, min(len(found.words), RUN_WORDS) - FEWEST_RUN_WORDS + 1))
            runs.append(np.unique(found.hashes(FEWEST_RUN_WORDS)))
            sets.add(text)
        self.folded = Lookup.of(np.array(folded, dtype=np.uint64), np.arange(len(folded)))
        self.near = sets.close()
        self._choose_runs(runs, np.array(most_hits, dtype=np.int64))

    def _choose_runs(self, runs: list[Keys], most_hits_G: Array) -> None:
        chosen = TellingRuns.choose(runs)
        self.runs, self.boilerplate_runs = chosen.lookup, chosen.boilerplate
        self.hits_needed_G = np.clip(chosen.tell_G, 1, most_hits_G)
        """How many of a question's own runs of eight words a row must have: a run of 13 words holds six."""
        for number, key in chosen.rarest.items():
            self.wholes.add(number, self.runs_of(self.question(number)), key)
        self.wholes.close()

    def _keep(self, text: str, origin: str) -> None:
        self.origins.append(origin)
        self.rows_of_question.append(1)
        content = text.encode()
        with disk_faults(Path(tempfile.gettempdir())):
            self._texts.write(content)
        self._text_starts.append(self._text_starts[-1] + len(content))


class _Sets:
    """The shingles of all questions, hashed batch by batch."""

    def __init__(self, shingles: ShingleHashes, threshold: float | None) -> None:
        self._shingles = shingles
        self._threshold = threshold
        self._waiting: list[list[str]] = []
        self._sets: list[Array] = []

    def add(self, text: str) -> None:
        if self._threshold is not None:
            self._waiting.append(tokens_of(text))
            if len(self._waiting) >= BATCH_QUESTIONS:
                self._flush()

    def close(self) -> HeldSets | None:
        """None where nothing near is looked for, or nothing was asked."""
        self._flush()
        return HeldSets(self._sets, self._threshold) if self._threshold is not None and self._sets else None

    def _flush(self) -> None:
        if self._waiting:
            self._sets += self._shingles.sets(self._waiting)
            self._waiting = []
