"""Account for every row: what came in is what was kept plus what was left out, reason by reason."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from luthier.reports.data import SplitCounts
from luthier.text.rows import Row

CONTROL_TEXT = "a control token spelt in a conversation"
NO_TRAINED_TOKEN = "no trained token"
TOO_LONG = "longer than max_length"


@dataclass
class Books:
    """The running counts of one split."""

    rows_in: int = 0
    rows_kept: int = 0
    rows_added: int = 0
    rows_truncated: int = 0
    tokens: int = 0
    trained_tokens: int = 0
    trained_tokens_lost: int = 0
    longest_row_tokens: int = 0
    rows_with_control_text: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def close(self, fingerprint: str) -> SplitCounts:
        """The counts as a report holds them; they balance, or the program is wrong."""
        balance = self.rows_kept + sum(self.dropped.values()) - self.rows_in - self.rows_added
        assert balance == 0, f"the books of the data are off by {balance} rows"
        return SplitCounts(
            rows_in=self.rows_in,
            rows_kept=self.rows_kept,
            rows_added_by_splitting=self.rows_added,
            rows_truncated=self.rows_truncated,
            dropped={reason: count for reason, count in sorted(self.dropped.items()) if count},
            tokens=self.tokens,
            trained_tokens=self.trained_tokens,
            trained_tokens_lost=self.trained_tokens_lost,
            longest_row_tokens=self.longest_row_tokens,
            fingerprint=fingerprint,
        )


def sort_out_empty(rows: Sequence[Row]) -> tuple[list[Row], Counter[str]]:
    """The rows that say something, and why the others are left out."""
    reasons = [why_empty(row) for row in rows]
    kept = [row for row, reason in zip(rows, reasons, strict=True) if reason is None]
    return kept, Counter(reason for reason in reasons if reason is not None)


def why_empty(row: Row) -> str | None:
    """What of the row is empty or white space, or None. An empty user turn is a turn; an empty answer teaches nothing."""
    if row.kind == "text":
        return None if row.text.strip() else "empty text"
    if row.kind == "messages":
        if not row.messages:
            return "no messages"
        answers = [message for message in row.messages if message.role == "assistant"]
        said = any(answer.content.strip() or answer.tool_calls for answer in answers)
        return None if said else "no answer"
    if not row.prompt.strip():
        return "empty prompt"
    return None if row.completion.strip() else "empty completion"
