"""Find the rows of one set that hold a question of another: leaks between splits, and contamination by benchmark suites.

Four likenesses, from strict to loose; a pair counts by its strictest:
exact   the same question but for case;
folded  but for case, signs and white space;
near    the Jaccard of both questions' shingles reaches the threshold, as in deduplication;
run     13 words in a row of the question, or all of one of 8 to 12 words, stand anywhere in the row (GPT-3, appendix C).
No pair is passed over: what is near is found by an exact join, and no candidate is left out however many there are. Hashes only
suggest; every pair is decided by the words themselves, so that no chance meeting of hashes is told as a leak.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from luthier.data.alike.join import Array, in_growing_pieces
from luthier.data.alike.wording import jaccard, shingles_of, tokens_of
from luthier.data.leaks.index import BATCH_QUESTIONS, QuestionIndex
from luthier.data.leaks.picture import cut, cut_around
from luthier.data.leaks.runs import Runs, SharedRun
from luthier.data.leaks.words import (
    FEWEST_RUN_WORDS,
    RUN_WORDS,
    body_of,
    exact_key,
    folded_key,
    question_of,
)
from luthier.floor.stop import StopFlag
from luthier.reports.leaks import LeakCounts, LeakKind, LeakPair
from luthier.text.rows import Row

KINDS: tuple[LeakKind, ...] = ("exact", "folded", "near", "run")
VERSION = 2
"""Of what counts as a leak; part of the names of what depends on it."""
NOT_LEAKED = len(KINDS)
DEFAULT_THRESHOLD = 0.8
MOST_PAIRS = 1000
# A row that holds many questions is told with so many, and with those that no row held before: a set of near questions would make
# as many pairs as it has rows, times as many as the other has.
PAIRS_OF_ROW = 10
WORDS_AT_ONCE = 2**18
BATCH_CHARACTERS = 2**20
INTERRUPTED = "the search for leaks was interrupted"


@dataclass(frozen=True, slots=True)
class Match:
    """A question of the set looked for, and how a row holds it."""

    question: int
    kind: LeakKind
    jaccard: float | None = None
    run: SharedRun | None = None


@dataclass(frozen=True)
class Leaks:
    """What was found: the counts, and the first pairs in the order of the rows."""

    counts: LeakCounts
    pairs: list[LeakPair]


def find_leaks(
    rows: Iterable[Row],
    against: Iterable[Row],
    *,
    threshold: float | None = DEFAULT_THRESHOLD,
    most_pairs: int = MOST_PAIRS,
    stop: StopFlag | None = None,
) -> Leaks:
    """Find which of `rows` hold a question of `against`. Name the smaller set last: it is held, the other streams past.

    With `threshold` None nothing near is looked for.
    """
    with open_index(against, threshold=threshold) as index:
        search = LeakSearch(index, stop)
        pairs: list[LeakPair] = []
        for _, found in search.look(rows):
            pairs += found[: max(0, most_pairs - len(pairs))]
        return Leaks(search.counts(), pairs)


def open_index(against: Iterable[Row], *, threshold: float | None = DEFAULT_THRESHOLD) -> QuestionIndex:
    """The questions of `against`, to be entered as a context."""
    return QuestionIndex(against, threshold)


@dataclass
class LeakSearch:
    """Looks at rows as they stream past an index, and counts."""

    index: QuestionIndex
    stop: StopFlag | None = None
    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stop = self.stop or StopFlag()
        self._leaked_G = np.full(len(self.index.origins), NOT_LEAKED, dtype=np.int8)

    def look(
        self, rows: Iterable[Row], *, wanted: Callable[[Row], bool] = lambda row: True
    ) -> Iterator[tuple[Row, list[LeakPair]]]:
        """Every row, with the pairs that it makes, the strictest first; none for a row that leaks nothing or is not `wanted`, which is not counted.

        Of more than PAIRS_OF_ROW questions that a row holds, only those are told that no row before held by as strict a likeness.
        """
        for batch in _batches(rows):
            self._stop.check(INTERRUPTED, fix="Repeat the command.")
            is_wanted = [wanted(row) for row in batch]
            looked = iter(self._look(list(compress(batch, is_wanted))))
            for row, is_looked_at in zip(batch, is_wanted, strict=True):
                matches = next(looked) if is_looked_at else []
                self.rows += is_looked_at
                if matches:
                    self.kinds[min(matches, key=_strictness).kind] += 1
                yield row, [self._pair(row, match) for match in matches]

    def counts(self) -> LeakCounts:
        """The books so far."""
        rows_G = np.array(self.index.rows_of_question, dtype=np.int64)
        leaked = {kind: int(rows_G[self._leaked_G == number].sum()) for number, kind in enumerate(KINDS)}
        return LeakCounts(
            rows=self.rows,
            rows_leaking=self.kinds.total(),
            rows_against=self.index.rows,
            rows_leaked=sum(leaked.values()),
            kinds={kind: self.kinds[kind] for kind in KINDS if self.kinds[kind]},
            leaked_kinds={kind: count for kind, count in leaked.items() if count},
            rows_too_short=self.index.rows_too_short,
            boilerplate_runs=self.index.boilerplate_runs,
        )

    def _look(self, batch: Sequence[Row]) -> list[list[Match]]:
        if not batch:
            return []
        questions = [question_of(row) for row in batch]
        bodies = [self.index.runs_of(body_of(row)) for row in batch]
        shared = self._sharing(bodies)
        return [
            self._decide(question, body, near, run)
            for question, body, near, run in zip(
                questions, bodies, self._shingles(questions), shared, strict=True
            )
        ]

    def _shingles(self, questions: list[str]) -> list[Array]:
        """The different shingles of each question; none where nothing near is looked for."""
        if self.index.near is None:
            return [np.empty(0, dtype=np.uint64)] * len(questions)
        return self.index.shingles.sets([tokens_of(question) for question in questions])

    def _sharing(self, bodies: list[Runs]) -> list[Array]:
        """Of each row the questions that have enough runs of eight words in common with it."""
        hashes_T = np.concatenate([body.hashes(FEWEST_RUN_WORDS) for body in bodies])
        row_of_T = np.repeat(
            np.arange(len(bodies)), [max(0, len(body.words) - FEWEST_RUN_WORDS + 1) for body in bodies]
        )
        keys, counts = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
        count_G = len(self.index.origins)
        for start in range(0, len(hashes_T), WORDS_AT_ONCE):
            places, others = self.index.runs.meets(hashes_T[start : start + WORDS_AT_ONCE])
            met, times = np.unique(row_of_T[start + places] * count_G + others, return_counts=True)
            keys.append(met)
            counts.append(times)
        pairs, places = np.unique(np.concatenate(keys), return_inverse=True)
        hits = np.bincount(places, weights=np.concatenate(counts), minlength=len(pairs))
        rows, others = pairs // max(1, count_G), pairs % max(1, count_G)
        is_enough = hits >= self.index.hits_needed_G[others]
        rows, others = rows[is_enough], others[is_enough]
        return np.split(others, np.searchsorted(rows, np.arange(1, len(bodies))))

    def _decide(self, question: str, body: Runs, shingles: Array, sharing: Array) -> list[Match]:
        """The matches of one row, the strictest first."""
        found: dict[int, Match] = {}
        if (same := self.index.exact.get(exact_key(question))) is not None:
            self._enter(found, Match(same, "exact"))
        key = np.array([folded_key(question)], dtype=np.uint64)
        for other in self._worth(found, self.index.folded.meets(key)[1], "folded"):
            self._enter(found, Match(other, "folded"))
        for match in self._near(question, shingles, found):
            self._enter(found, match)
        for other in self._worth(found, sharing, "run"):
            words = self.index.runs_of(self.index.question(other))
            fewest = max(FEWEST_RUN_WORDS, min(RUN_WORDS, len(words.words)))
            if run := body.longest_shared(words, fewest):
                self._enter(found, Match(other, "run", run=run))
        for match in self._wholes(body, found):
            self._enter(found, match)
        return list(found.values())

    def _enter(self, found: dict[int, Match], match: Match) -> None:
        found[match.question] = match
        strictest = min(KINDS.index(match.kind), int(self._leaked_G[match.question]))
        self._leaked_G[match.question] = strictest

    def _worth(self, found: dict[int, Match], candidates: Array, kind: LeakKind) -> Iterator[int]:
        """Candidates that a row does not hold by a stricter likeness; once it holds many, only those that none held before."""
        for piece in in_growing_pieces(candidates):
            worth = self._new(piece, kind) if len(found) >= PAIRS_OF_ROW else piece
            for other in worth.tolist():
                is_new = self._leaked_G[other] > KINDS.index(kind)
                if other not in found and (is_new or len(found) < PAIRS_OF_ROW):
                    yield other

    def _new(self, candidates: Array, kind: LeakKind) -> Array:
        return np.asarray(candidates[self._leaked_G[candidates] > KINDS.index(kind)])

    def _near(self, question: str, hashes: Array, found: dict[int, Match]) -> Iterator[Match]:
        index = self.index
        if index.near is None or index.threshold is None or not question.strip():
            return
        shingles = shingles_of(tokens_of(question))
        asked = index.near.ask(hashes)
        for piece in in_growing_pieces(asked.candidates):
            checked = self._new(piece, "near") if len(found) >= PAIRS_OF_ROW else piece
            if not len(checked):
                continue
            for other in self._worth(found, checked[index.near.is_near(asked, checked)], "near"):
                likeness = jaccard(shingles, shingles_of(tokens_of(index.question(other))))
                if likeness >= index.threshold:
                    yield Match(other, "near", jaccard=likeness)

    def _wholes(self, body: Runs, found: dict[int, Match]) -> Iterator[Match]:
        """Questions in common wording throughout: only the whole of one tells anything."""
        for other, start in self.index.wholes.within(body):
            for worth in self._worth(found, np.array([other]), "run"):
                words = self.index.runs_of(self.index.question(worth)).words
                if body.words[start : start + len(words)] == words:
                    yield Match(worth, "run", run=SharedRun(start, 0, len(words)))

    def _pair(self, row: Row, match: Match) -> LeakPair:
        question = self.index.question(match.question)
        texts = cut(question_of(row)), cut(question)
        if match.run:
            start, other, length = match.run
            texts = cut_around(body_of(row), start, length), cut_around(question, other, length)
        return LeakPair(
            kind=match.kind,
            row=row.origin,
            text=texts[0],
            against=self.index.origins[match.question],
            against_text=texts[1],
            jaccard=None if match.jaccard is None else round(match.jaccard, 4),
            run_words=match.run[2] if match.run else None,
        )


def _strictness(match: Match) -> int:
    return KINDS.index(match.kind)


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """So many rows that numpy has enough to do, and no more than a mebibyte of text, or one row."""
    batch: list[Row] = []
    characters = 0
    for row in rows:
        batch.append(row)
        characters += len(body_of(row))
        if len(batch) >= BATCH_QUESTIONS or characters >= BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch
