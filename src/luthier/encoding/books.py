"""Account for every row and token: what came in is what was kept plus what was left out, reason by reason.

Counts only; reports/ledger.py holds what they must come to, and dropped.py writes down which rows went.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from luthier.reports.data import SplitCounts
from luthier.reports.ledger import Account, SplitName, Stage, StageBooks
from luthier.text.rows import Row

PADDING = "padding of a row that came as tokens"
CONTROL_TEXT = "a control token spelt in a conversation"
NO_TRAINED_TOKEN = "no trained token"
TOO_LONG = "longer than max_length"
BEYOND = "beyond max_length"
FIRST_OF_PIECE = "first token of a piece"


@dataclass(frozen=True, slots=True)
class Loss:
    """What became of one row of a block: it went, or stayed and lost tokens."""

    row: int
    reason: str
    tokens: int
    trained_tokens: int
    is_row_kept: bool


@dataclass
class Tally:
    """A running account of one kind of thing."""

    came_in: int = 0
    added: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def close(self) -> Account:
        """As a report holds it."""
        dropped = {reason: count for reason, count in sorted(self.dropped.items()) if count}
        return Account(came_in=self.came_in, added=self.added, kept=self.kept, dropped=dropped)


@dataclass
class StageTally:
    """One stage's rows and tokens."""

    rows: Tally = field(default_factory=Tally)
    tokens: Tally = field(default_factory=Tally)
    trained_tokens: Tally = field(default_factory=Tally)

    def drop(self, loss: Loss) -> None:
        """Book a row that goes, or what a row that stays loses."""
        self.rows.dropped[loss.reason] += not loss.is_row_kept
        self.tokens.dropped[loss.reason] += loss.tokens
        self.trained_tokens.dropped[loss.reason] += loss.trained_tokens

    def close(self, stage: Stage, split: SplitName) -> StageBooks:
        """As a report holds it."""
        return StageBooks(
            stage=stage,
            split=split,
            rows=self.rows.close(),
            tokens=self.tokens.close(),
            trained_tokens=self.trained_tokens.close(),
        )


@dataclass
class Books:
    """The running counts of one split."""

    rendered: StageTally = field(default_factory=StageTally)
    fitted: StageTally = field(default_factory=StageTally)
    rows_truncated: int = 0
    longest_row_tokens: int = 0

    def close(self, fingerprint: str) -> SplitCounts:
        """The counts as a report holds them."""
        lost = self.rendered.trained_tokens.dropped + self.fitted.trained_tokens.dropped
        dropped = self.rendered.rows.dropped + self.fitted.rows.dropped
        return SplitCounts(
            rows_in=self.rendered.rows.came_in,
            rows_kept=self.fitted.rows.kept,
            rows_added_by_splitting=self.fitted.rows.added,
            rows_truncated=self.rows_truncated,
            dropped={reason: count for reason, count in sorted(dropped.items()) if count},
            tokens=self.fitted.tokens.kept,
            trained_tokens=self.fitted.trained_tokens.kept,
            trained_tokens_lost=lost.total(),
            longest_row_tokens=self.longest_row_tokens,
            fingerprint=fingerprint,
        )

    def ledger(self, split: SplitName) -> list[StageBooks]:
        """The stages of this split, in order."""
        return [self.rendered.close("rendered", split), self.fitted.close("fitted", split)]


def sort_out_empty(rows: Sequence[Row]) -> tuple[list[Row], list[tuple[Row, str]]]:
    """The rows that say something, and the others with what is empty of each."""
    kept, empty = [], []
    for row in rows:
        if reason := why_empty(row):
            empty.append((row, reason))
        else:
            kept.append(row)
    return kept, empty


def why_empty(row: Row) -> str | None:
    """What of the row is empty or white space, or None. An empty user turn is a turn; an empty answer teaches nothing."""
    if row.kind == "text":
        return None if row.text.strip() else "empty text"
    if row.tokens is not None:
        return None if len(row.tokens) else "no tokens"
    if row.kind == "messages":
        if not row.messages:
            return "no messages"
        answers = [message for message in row.messages if message.role == "assistant"]
        said = any(answer.content.strip() or answer.tool_calls for answer in answers)
        return None if said else "no answer"
    if not row.prompt.strip():
        return "empty prompt"
    return None if row.completion.strip() else "empty completion"
