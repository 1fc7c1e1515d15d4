"""Look for the questions of suites and of validation rows in the training rows of a recipe, as they stream past."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from typing import Any, Self

from luthier.config.repeats import LeaksConfig
from luthier.data.leaks.find import VERSION, LeakSearch, open_index
from luthier.data.leaks.suites import read_suites, suite_files
from luthier.encoding.dropped import DroppedRows
from luthier.floor.errors import DataError
from luthier.floor.files import sha256_of
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.reports.leaks import LeakCounts, LeakFindings, LeakPair
from luthier.reports.ledger import Account
from luthier.text.rows import Row
from luthier.tokens.origin import file_of, split_origin

MOST_PAIRS = 50
MOST_TOLD = 20
VALIDATION = "holds a question of the validation rows"


def leaks_key(config: LeaksConfig) -> dict[str, Any]:
    """What of the search changes the tokens or the report, for the name of the prepared tokens; nothing if none is made."""
    if not config.suites and not config.validation:
        return {}
    files = suite_files(config.suites, by_recipe=True)
    return {"leaks": [VERSION, config.model_dump(mode="json"), [sha256_of(file) for file in files]]}


class LeakCheck:
    """The searches of a recipe. A context manager: their indexes hold temporary files."""

    def __init__(
        self, config: LeaksConfig, dropped: DroppedRows, *, listener: Listener, stop: StopFlag
    ) -> None:
        self.config = config
        self._listener = listener
        self._stop = stop
        self._dropped = dropped
        self._stack = ExitStack()
        self._files = suite_files(config.suites, by_recipe=True)
        self._suites: LeakSearch | None = None
        self._validation: LeakSearch | None = None
        self._pairs: list[LeakPair] = []
        self._came_in = 0
        self._reasons: Counter[str] = Counter()

    def __enter__(self) -> Self:
        if self._files:
            self._listener.say(
                f"data: reading what suites ask, to compare with: {', '.join(map(str, self._files[:5]))}"
            )
            self._suites = self._open(read_suites(self._files, self._listener))
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    @property
    def is_on(self) -> bool:
        """Whether anything is looked for."""
        return bool(self._files) or self.config.validation

    def hold(self, validation: Iterable[Row]) -> None:
        """Keep the questions of the validation rows, if the recipe wants them looked for."""
        if self.config.validation:
            self._validation = self._open(validation)

    def pass_on(self, rows: Iterable[Row], is_training: Callable[[Row], bool]) -> Iterator[Row]:
        """The rows that stay: all of them, unless the recipe leaves leaks out."""
        for search in (self._suites, self._validation):
            if search:
                rows = self._looked(search, rows, is_training)
        for row in rows:
            self._came_in += 1
            yield row

    def account(self, *, others: int) -> Account:
        """The ledger's account; `others` are rows that were not to be looked at."""
        kept = self._came_in + others
        dropped = dict(sorted(self._reasons.items())) if self.config.found == "drop" else {}
        return Account(came_in=kept + sum(dropped.values()), kept=kept, dropped=dropped)

    def findings(self) -> LeakFindings | None:
        """What was found, None if nothing was looked for; raises DataError (data-leak) if the recipe refuses leaks."""
        if not self.is_on:
            return None
        leaking = sum(self._reasons.values())
        if leaking and self.config.found == "refuse":
            raise self._refused(leaking)
        return LeakFindings(
            found=self.config.found,
            reasons=dict(self._reasons.most_common()),
            suites=_counts(self._suites),
            suite_files={str(file): sha256_of(file) for file in self._files},
            validation=_counts(self._validation),
            pairs=self._pairs,
        )

    def _open(self, questions: Iterable[Row]) -> LeakSearch:
        index = self._stack.enter_context(open_index(questions, threshold=self.config.threshold))
        return LeakSearch(index, self._stop)

    def _looked(
        self, search: LeakSearch, rows: Iterable[Row], is_training: Callable[[Row], bool]
    ) -> Iterator[Row]:
        for row, pairs in search.look(rows, wanted=is_training):
            if pairs:
                pair = pairs[0]
                reason = (
                    VALIDATION if search is self._validation else f"holds a question of {_suite_of(pair)}"
                )
                self._reasons[reason] += 1
                self._pairs += [pair] if len(self._pairs) < MOST_PAIRS else []
                if self.config.found == "drop":
                    self._dropped.write("leaks", reason, row.origin, kind=pair.kind, against=pair.against)
                    continue
            yield row

    def _refused(self, leaking: int) -> DataError:
        told = [f"{pair.row}: {pair.kind}: {pair.against}" for pair in self._pairs[:MOST_TOLD]]
        more = leaking - len(told)
        return DataError(
            "data-leak",
            f"{count_of(leaking, 'training row')} {'holds' if leaking == 1 else 'hold'} a question that the model will be measured by",
            where="data.leaks",
            problems=[*told, f"... and {more:,} more"] if more else told,
            why="The figures of such a model say what it remembers, not what it can do.",
            fix="Look at them, or leave them out: data.leaks.found=drop",
        )


def warn_of(findings: LeakFindings, listener: Listener) -> None:
    """Say how many training rows hold a question, of what, and what became of them."""
    became = "left out" if findings.found == "drop" else "still trained on"
    for reason, rows in findings.reasons.items():
        listener.warn(f"data: leaks: {count_of(rows, 'training row')} {became}: {reason}")


def _suite_of(pair: LeakPair) -> str:
    found = split_origin(pair.against)
    return file_of(found[0]) if found else pair.against


def _counts(search: LeakSearch | None) -> LeakCounts | None:
    return search.counts() if search else None
