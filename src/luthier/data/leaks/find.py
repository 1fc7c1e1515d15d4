"""Find the rows of one set that hold a question of another: leaks between splits, and contamination by benchmark suites.

Four likenesses, from strict to loose; a pair counts by its strictest:
exact   the same question but for case;
folded  but for case, signs and white space;
near    the Jaccard of both questions' shingles reaches the threshold, as in deduplication;
run     13 words in a row of the question, or all of one of 8 to 12 words, stand anywhere in the row (GPT-3, appendix C).
Hashes only suggest; every pair is decided by the words themselves, so that no chance meeting of hashes is told as a leak.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import compress

import numpy as np

from luthier.data.dedup.sketch import Sketcher, choose_bands, find_engine
from luthier.data.dedup.wording import jaccard, shingles_of, tokens_of
from luthier.data.leaks.index import BATCH_QUESTIONS, Keys, QuestionIndex
from luthier.data.leaks.picture import cut, cut_around
from luthier.data.leaks.words import (
    FEWEST_RUN_WORDS,
    RUN_WORDS,
    body_of,
    exact_key,
    folded_key,
    question_of,
    shared_run,
    words_of,
)
from luthier.floor.stop import StopFlag
from luthier.reports.leaks import LeakCounts, LeakKind, LeakPair
from luthier.text.rows import Row

KINDS: tuple[LeakKind, ...] = ("exact", "folded", "near", "run")
NOT_LEAKED = len(KINDS)
DEFAULT_THRESHOLD = 0.8
MOST_PAIRS = 1000
MOST_CANDIDATES = (
    200  # of one row; a set whose questions repeat each other a thousand times would be compared for days
)
BATCH_CHARACTERS = 2**20
INTERRUPTED = "the search for leaks was interrupted"


@dataclass(frozen=True, slots=True)
class Match:
    """A question of the set looked for, and how a row holds it."""

    question: int
    kind: LeakKind
    jaccard: float | None = None
    run: tuple[int, int, int] | None = None
    """Where in the row's words and in the question's, and how many."""


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

    With `threshold` None nothing near is looked for, and rensa is not needed; otherwise a missing one raises EnvironmentFault.
    """
    with open_index(against, threshold=threshold) as index:
        search = LeakSearch(index, stop)
        pairs: list[LeakPair] = []
        for _, found in search.look(rows):
            pairs += found[: max(0, most_pairs - len(pairs))]
        return Leaks(search.counts(), pairs)


def open_index(against: Iterable[Row], *, threshold: float | None = DEFAULT_THRESHOLD) -> QuestionIndex:
    """The questions of `against`, to be entered as a context. Raises EnvironmentFault (env-extra) without rensa."""
    sketcher = None if threshold is None else Sketcher(find_engine(), choose_bands(threshold))
    return QuestionIndex(against, sketcher)


@dataclass
class LeakSearch:
    """Looks at rows as they stream past an index, and counts."""

    index: QuestionIndex
    stop: StopFlag | None = None
    rows: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    candidates_passed_over: int = 0

    def __post_init__(self) -> None:
        self._stop = self.stop or StopFlag()
        self._leaked_G = np.full(len(self.index.origins), NOT_LEAKED, dtype=np.int8)

    def look(
        self, rows: Iterable[Row], *, wanted: Callable[[Row], bool] = lambda row: True
    ) -> Iterator[tuple[Row, list[LeakPair]]]:
        """Every row, with the pairs that it makes; none for a row that leaks nothing or is not `wanted`, which is not counted."""
        for batch in _batches(rows):
            self._stop.check(INTERRUPTED, fix="Repeat the command.")
            is_wanted = [wanted(row) for row in batch]
            looked = iter(self._look(list(compress(batch, is_wanted))))
            for row, is_looked_at in zip(batch, is_wanted, strict=True):
                matches = next(looked) if is_looked_at else []
                self.rows += is_looked_at
                if matches:
                    self.kinds[min(matches, key=_strictness).kind] += 1
                for match in matches:
                    strictest = min(KINDS.index(match.kind), int(self._leaked_G[match.question]))
                    self._leaked_G[match.question] = strictest
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
            candidates_passed_over=self.candidates_passed_over,
        )

    def _look(self, batch: Sequence[Row]) -> list[list[Match]]:
        if not batch:
            return []
        questions = [question_of(row) for row in batch]
        bodies = [words_of(body_of(row)) for row in batch]
        near = self._near_candidates(questions)
        run = self._run_candidates(bodies)
        return [
            self._decide(question, body, near[place], run[place])
            for place, (question, body) in enumerate(zip(questions, bodies, strict=True))
        ]

    def _near_candidates(self, questions: list[str]) -> list[list[int]]:
        index, found = self.index, [set[int]() for _ in questions]
        if index.sketcher and index.bands:
            signatures_NK, keys_NB = index.sketcher.sketch([tokens_of(question) for question in questions])
            for band, lookup in enumerate(index.bands):
                places, others = lookup.meets(keys_NB[:, band], most=MOST_CANDIDATES)
                agree = (signatures_NK[places] == index.signatures_GK[others]).sum(axis=1)
                is_promising = agree >= index.sketcher.bands.fewest_matches
                for place, other in zip(
                    places[is_promising].tolist(), others[is_promising].tolist(), strict=True
                ):
                    found[place].add(other)
        return [self._at_most(sorted(each)) for each in found]

    def _run_candidates(self, bodies: list[list[str]]) -> list[list[int]]:
        """Questions that share enough runs of eight words: a run of 13 holds six of them."""
        hashes: list[Keys] = [self.index.run_hashes.hash(words) for words in bodies]
        row_of_T = np.repeat(np.arange(len(bodies)), [len(each) for each in hashes])
        places, others = self.index.runs.meets(np.concatenate(hashes), most=MOST_CANDIDATES)
        found: list[list[int]] = [[] for _ in bodies]
        if not len(places):
            return found
        pairs, counts = np.unique(np.stack([row_of_T[places], others], axis=1), axis=0, return_counts=True)
        for row, other in pairs[counts >= self.index.hits_needed_G[pairs[:, 1]]].tolist():
            found[row].append(other)
        return [self._at_most(each) for each in found]

    def _at_most(self, candidates: list[int]) -> list[int]:
        self.candidates_passed_over += max(0, len(candidates) - MOST_CANDIDATES)
        return candidates[:MOST_CANDIDATES]

    def _decide(self, question: str, body: list[str], near: list[int], run: list[int]) -> list[Match]:
        """The matches of one row, the strictest first."""
        found: dict[int, Match] = {}
        if (same := self.index.exact.get(exact_key(question))) is not None:
            found[same] = Match(same, "exact")
        folded = np.array([folded_key(question)], dtype=np.uint64)
        for other in self.index.folded.meets(folded, most=MOST_CANDIDATES)[1].tolist():
            found.setdefault(other, Match(other, "folded"))
        for match in self._near(question, [each for each in near if each not in found]):
            found[match.question] = match
        for other in run:
            if other not in found and (by_run := self._run(body, other)):
                found[other] = by_run
        return sorted(found.values(), key=_strictness)

    def _near(self, question: str, candidates: list[int]) -> Iterator[Match]:
        if not candidates or self.index.sketcher is None:
            return
        shingles = shingles_of(tokens_of(question))
        for other in candidates:
            likeness = jaccard(shingles, shingles_of(tokens_of(self.index.question(other))))
            if likeness >= self.index.sketcher.bands.threshold:
                yield Match(other, "near", jaccard=likeness)

    def _run(self, body: list[str], other: int) -> Match | None:
        words = words_of(self.index.question(other))
        fewest = len(words) if self.index.is_common_G[other] else min(RUN_WORDS, len(words))
        run = shared_run(body, words, max(FEWEST_RUN_WORDS, fewest))
        return Match(other, "run", run=run) if run else None

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
