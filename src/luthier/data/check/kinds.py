"""The kinds of findings: how grave each is, what it is called in the summary, and what to do about it.

An error stops a training or spoils what it is judged by; a warning is learnt and should be looked at; a note is worth knowing.
Adding a kind: a line here, the check that yields it, a test with a planted row and its line.
"""

from dataclasses import dataclass
from typing import NamedTuple

from luthier.reports.check import Severity


class Fault(NamedTuple):
    """What a check says of a row. Without a `fix` that of the kind is meant."""

    kind: str
    message: str
    fix: str = ""


@dataclass(frozen=True)
class Kind:
    """What is the same for every finding of a kind."""

    severity: Severity
    title: str
    fix: str
    mended: str = ""
    """What `--fix` does with it; nothing where a person has to decide."""


DROPPED, MENDED = "drops the row", "mends the text"
_CONVERT = "convert the file first: luthier data convert FILE"

KINDS: dict[str, Kind] = {
    # The file and the line
    "broken-json": Kind("error", "lines that are no JSON object", "mend or remove the line", DROPPED),
    "cut-off": Kind("error", "last lines that are cut off", "fetch the file again or remove the line", DROPPED),
    "too-long-line": Kind("error", "lines too long to be read", "split the row or remove it", DROPPED),
    "too-deep": Kind("error", "rows nested too deep", "flatten the row or remove it", DROPPED),
    "half-character": Kind("error", "texts with half a surrogate pair", "write the character whole", DROPPED),
    "encoding": Kind("error", "text that is not UTF-8", "write the file as UTF-8", "writes UTF-8"),
    "bom": Kind("note", "files with a byte order mark", "it is read over; leave it out", "leaves it out"),
    "empty-file": Kind("error", "files without a row", "give one row a line, or leave the file out"),
    # The shape
    "unknown-shape": Kind("error", "rows of no known shape", "give it prompt and completion, messages, or text"),
    "missing-field": Kind("error", "rows that lack a field", "add the field or remove the row"),
    "refused": Kind("error", "rows that training refuses", "mend or remove the row"),
    "two-shapes": Kind("error", "rows of two shapes at once", "keep the fields of one, or set data.format"),
    "mixed-shapes": Kind("error", "rows of another shape than their file", "put rows of one shape into a file"),
    "wrong-type": Kind("error", "fields of the wrong type", "write it as text"),
    "other-dialect": Kind("note", "files to convert first", _CONVERT),
    "unused-field": Kind("note", "fields that nothing reads", "they are let pass; remove them if they matter"),
    "unread-part": Kind("error", "parts that are no text", "say in words what it shows, or remove the row"),
    # Nothing said
    "empty-prompt": Kind("error", "empty prompts", "write the prompt or remove the row", DROPPED),
    "empty-answer": Kind("error", "empty answers", "write the answer or remove the row", DROPPED),
    "empty-text": Kind("error", "empty texts", "write the text or remove the row", DROPPED),
    "same-preference": Kind("error", "pairs that prefer nothing", "remove the row", DROPPED),
    "empty-turn": Kind("warning", "empty turns", "write what was said, or remove the turn"),
    # Turns of a conversation
    "unknown-role": Kind("error", "roles that are none", "use system, user, assistant or tool"),
    "role-order": Kind("warning", "roles out of order", "let user and assistant take turns, system first"),
    "no-user-turn": Kind("warning", "conversations without a user turn", "add what the user said, or remove the row"),
    "no-answer": Kind("error", "conversations without an answer", "add an assistant turn or remove the row", DROPPED),
    "last-not-assistant": Kind("warning", "conversations that end unanswered", "remove the turns behind the last answer", "cuts them off"),
    "weight": Kind("error", "weights where or as none may be", "give weight 0 or 1, to assistant turns only"),
    "nothing-trained": Kind("error", "conversations whose every answer has weight 0", "give an answer weight 1"),
    # Tool calls
    "tool-arguments": Kind("error", "tool calls whose arguments do not parse", "write one JSON object as text"),
    "tool-arguments-twice": Kind("error", "tool arguments encoded twice", "encode them once", "decodes them once"),
    "tool-undeclared": Kind("error", "calls of tools that are not declared", "declare the tool or mend the name"),
    "tool-unanswered": Kind("error", "tool calls that nothing answers", "add the tool's answer behind the call"),
    "tool-unknown-id": Kind("error", "answers to calls that were not made", "give tool_call_id the id of a call before it"),
    "tool-shape": Kind("error", "tool calls or tools not as they should be", "write it as OpenAI's form has it"),
    # Characters
    "mojibake": Kind("warning", "texts decoded with the wrong encoding", "repair it (--fix), or decode the source anew", MENDED),
    "control-characters": Kind("warning", "texts with control characters", "remove them", MENDED),
    "invisible-characters": Kind("warning", "texts with characters nobody sees", "remove them", MENDED),
    "lost-characters": Kind("warning", "texts with U+FFFD, where something was lost", "take the text from its source anew"),
    "template-token": Kind("warning", "texts that spell a template's token", "remove it: the template writes it"),
    # What is learnt
    "refusal": Kind("warning", "answers that refuse", "keep it only if the model is to refuse this"),
    "boilerplate": Kind("warning", "answers that speak as an AI model", "rewrite the answer, or remove the row"),
    "repetition": Kind("warning", "answers that repeat themselves", "look at the row: a model learns to loop from it"),
    "personal": Kind("note", "texts with personal data or secrets", "mask them in training: data.clean.personal.action=mask"),
    # Across rows
    "duplicate": Kind("warning", "rows that are there already", "keep one (--fix), or: luthier data dedup FILE", DROPPED),
    "duplicate-prompt": Kind("note", "prompts that are there already", "look whether one answer is enough"),
    "duplicate-folded": Kind("note", "prompts there but for case and signs", "look whether one answer is enough"),
    "near-duplicate": Kind("note", "rows nearly there already", "see them side by side: luthier data dedup FILE --dry-run"),
    "conflict": Kind("warning", "prompts with several answers", "keep the right answer, if only one is"),
    "leak": Kind("error", "rows that another split asks too", "remove them: luthier data dedup FILE --against TEST"),
    "near-leak": Kind("warning", "rows near one of another split", "see: luthier data leaks FILE --against TEST"),
    "contamination": Kind("error", "rows that hold a benchmark's question", "remove the row, or do not judge by that suite"),
    # Lengths, and the three findings of the guide's validate_dataset in its words
    "over-long": Kind("warning", "rows longer than --max-length", "raise data.max_length, split the row, or set data.overlong"),
    "lengths": Kind("note", "what each max_length would cost", "choose data.max_length by it"),
    "guide-empty": Kind("warning", "the guide's check for empty samples", "the empty-* findings name every line"),
    "guide-long": Kind("warning", "the guide's check for long sequences", "set data.max_length, or split the row"),
    "guide-duplicates": Kind("warning", "the guide's check for duplicates", "the duplicate findings name every line"),
}  # fmt: skip
PERSONAL_NOTE = KINDS["personal"].fix
