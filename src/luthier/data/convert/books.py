"""Account for every conversation, thread and message of a conversion: what came in was kept, or left out for a reason."""

from collections import Counter
from dataclasses import dataclass, field

from luthier.reports.convert import LedgerCounts


@dataclass
class Ledger:
    """The running counts of one kind of thing."""

    came_in: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def close(self, name: str) -> LedgerCounts:
        """The counts as a report holds them; they balance, or the program is wrong."""
        balance = self.came_in - self.kept - sum(self.dropped.values())
        assert balance == 0, f"the books of the {name} are off by {balance}"
        return LedgerCounts(came_in=self.came_in, kept=self.kept, dropped=dict(self.dropped.most_common()))


@dataclass
class ConversionBooks:
    """A conversation holds threads (one, or one a branch); a thread becomes a row; messages are what conversations hold."""

    conversations: Ledger = field(default_factory=Ledger)
    threads: Ledger = field(default_factory=Ledger)
    messages: Ledger = field(default_factory=Ledger)
    notes: Counter[str] = field(default_factory=Counter)
    """What was changed or left out inside messages that were kept."""
