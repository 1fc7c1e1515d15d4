"""What the other side is asked to read, and whether it reads the very tokens that the model was trained to read.

A program may take a special token that a text spells for the token itself, or for the plain characters. Training leaves such rows out, so
both are right there; which one it was is told.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from luthier.export.check_rows import CheckRow
from luthier.export.likeness import first_difference
from luthier.export.parity.reference import Case
from luthier.floor.errors import LuthierError
from luthier.text.chat import as_messages
from luthier.text.row import Message

CUT = 60
MOST_FAULTS_SHOWN = 3
AS_PLAIN = "a special token that a text spells is read as plain characters"
AS_CONTROL = "a special token that a text spells is read as the token: whoever writes it can end a turn"


@dataclass(frozen=True)
class Asked:
    """A held-out question as another program is asked it."""

    row: CheckRow
    ids: tuple[int, ...]
    """What the model reads when it is evaluated."""
    text: str
    """The prompt of a model that completes texts; empty for a conversation."""
    messages: tuple[Message, ...]
    """The conversation up to the wanted answer; empty for a text."""
    tools: str
    spells_special: bool
    ids_hold_special: bool
    """Whether a special token that the text spells is the token itself in `ids`: so it is where a chat template's text is encoded."""


def asked_prompts(case: Case) -> list[Asked]:
    """Every held-out question whose text is known, whole: the other side cuts nothing."""
    rows = [row for row in case.rows.checked.rows if row.row is not None and row.prompt]
    return [_asked(case, row) for row in rows if row.row is not None and row.row.kind != "text"]


def _asked(case: Case, row: CheckRow) -> Asked:
    assert row.row is not None
    is_text = case.rows.template == "guide"
    said = as_messages(row.row)
    before = said[:-1] if said and said[-1].role == "assistant" else said
    return Asked(
        row,
        row.prompt,
        row.row.prompt + "\n" if is_text else "",
        () if is_text else before,
        "" if is_text else row.row.tools,
        case.rows.spells_special(row),
        case.rows.template == "chat",
    )


@dataclass(frozen=True)
class TokenFault:
    """A text that the other side reads otherwise: where it stands, and how."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


def compare_ids(
    asked: Asked, theirs: Sequence[int], tokenizer: PreTrainedTokenizerBase, note: Callable[[str], None]
) -> TokenFault | None:
    """Where the other side reads other ids than the model was trained on; None if it does not."""
    same_ids = tuple(theirs) == asked.ids
    # Read in the other way the ids differ, and what they spell is the same.
    if asked.spells_special and (same_ids or _spelt(theirs, tokenizer) == _spelt(asked.ids, tokenizer)):
        note(AS_CONTROL if same_ids == asked.ids_hold_special else AS_PLAIN)
        return None
    if same_ids:
        return None
    return TokenFault(asked.row.origin, first_difference(asked.ids, theirs, tokenizer))


def compare_counts(asked: Asked, count: int) -> TokenFault | None:
    """A prompt of which the other side tells only how many tokens it has; of one that may be read in two ways nothing is judged."""
    if asked.spells_special or count == len(asked.ids):
        return None
    return TokenFault(asked.row.origin, f"{count:,} tokens there and {len(asked.ids):,} here")


def fault_of_refusal(asked: Asked, fault: LuthierError) -> TokenFault:
    """A prompt that the other side does not take at all."""
    return TokenFault(asked.row.origin, f"it is refused there: {fault.what}")


def _spelt(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
