"""Draw a row for the terminal: where it came from, the raw line, the text with its trained part marked, the tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.cli.output import table
from luthier.cli.paint import Part, between_signs, choose_signs, spelt, spelt_in_line, spelt_name

if TYPE_CHECKING:
    from luthier.cli.row_facts import ShownRow, Token

TRAINED = "\x1b[30;42m"  # black on green: blanks and line ends show as well
RAW_CHARACTERS = 2000
INDENT = "  "

Pieces = list[tuple[str, str]]


@dataclass(frozen=True)
class Look:
    """How rows are drawn."""

    has_colour: bool
    with_tokens: bool
    was_cleaned: bool = False


def row_pieces(row: "ShownRow", look: Look, *, title: str = "") -> Pieces:
    """One row, as text with the colour of each piece."""
    head = f"row {row.row}{f', {title}' if title else ''}: {spelt_name(row.origin)}"
    if row.piece[1] > 1:
        head += f" (piece {row.piece[0]} of the {row.piece[1]} kept)"
    lines = [head, *raw_lines(row, was_cleaned=look.was_cleaned)]
    segments = [(spelt(each.text), each.is_trained) for each in row.segments]
    signs = choose_signs(text for text, _ in segments)
    key = "on green" if look.has_colour else f"between {signs[0]} and {signs[1]}"
    lines.append(f"rendered, the trained part {key}:")
    pieces = [("\n".join(lines) + "\n" + INDENT, ""), *text_pieces(segments, signs, look.has_colour)]
    pieces.append((f"\n{count_line(row)}", ""))
    if look.with_tokens:
        pieces += [("\n", ""), *token_pieces(row.tokens, has_colour=look.has_colour)]
    return pieces


def raw_lines(row: "ShownRow", *, was_cleaned: bool) -> list[str]:
    """The raw line, and what must be said about it."""
    notes = [note for note in (row.raw.note, "cleaning may have edited it" if was_cleaned else "") if note]
    lines = [f"raw ({'; '.join(notes)}):" if notes else "raw:"]
    if row.raw.text is not None:
        text = spelt(row.raw.text)
        cut = f" ... ({len(text):,} characters)" if len(text) > RAW_CHARACTERS else ""
        lines.append(f"{INDENT}{text[:RAW_CHARACTERS]}{cut}")
    return lines


def text_pieces(segments: Sequence[tuple[str, bool]], signs: tuple[str, str], has_colour: bool) -> Pieces:
    """The rendered text, indented, its trained part in colour or between the signs."""
    if has_colour:
        return [piece for text, is_trained in segments for piece in _coloured(text, is_trained)]
    text = between_signs([Part(*segment) for segment in segments], signs)
    return [(text.replace("\n", "\n" + INDENT), "")]


def _coloured(text: str, is_trained: bool) -> Pieces:
    """A segment line by line, so that the indent is not in colour; a trained line end is one blank in colour."""
    first, *others = text.split("\n")
    code, end = (TRAINED, " ") if is_trained else ("", "")
    pieces = [(first, code)]
    for line in others:
        pieces += [(end, code), ("\n" + INDENT, ""), (line, code)]
    return pieces


def count_line(row: "ShownRow") -> str:
    """`27 tokens, 14 trained; cut: 5 tokens lost, 3 of them trained`."""
    line = f"{len(row.tokens):,} tokens, {row.trained_tokens:,} trained"
    if row.tokens_lost:
        return f"{line}; cut to fit data.max_length: {row.tokens_lost:,} tokens lost, {row.trained_tokens_lost:,} of them trained"
    if row.trained_tokens_lost:
        return f"{line}; split to fit data.max_length: the first token of a piece is not trained"
    return f"{line}; {'split to fit data.max_length' if row.piece[1] > 1 else 'not cut'}"


def token_pieces(tokens: Sequence["Token"], *, has_colour: bool) -> Pieces:
    """A line a token: its place, its id, whether it carries loss, its text in quotes."""
    rows = [("place", "id", "loss", "text")]
    rows += [
        (str(place), str(token.id), "yes" if token.is_trained else "-", quoted(token))
        for place, token in enumerate(tokens)
    ]
    return painted_table(rows, tokens, right=(0, 1), has_colour=has_colour)


def painted_table(
    rows: Sequence[Sequence[str]], tokens: Sequence["Token"], *, right: Sequence[int], has_colour: bool
) -> Pieces:
    """A table with a line a token, the trained ones in colour."""
    head, rule, *lines = table(rows, right=right).split("\n")
    pieces: Pieces = [(f"{INDENT}{head}\n{INDENT}{rule}", "")]
    for line, token in zip(lines, tokens, strict=True):
        pieces.append((f"\n{INDENT}", ""))
        pieces.append((line, TRAINED if has_colour and token.is_trained else ""))
    return pieces


def quoted(token: "Token") -> str:
    r"""A token's text in quotes: control characters and bytes that are no UTF-8 spelt out, a backslash doubled."""
    try:
        return f'"{spelt_in_line(token.bytes.decode("utf-8"))}"'
    except UnicodeDecodeError:
        return f'"{broken(token.bytes)}"'


def broken(content: bytes) -> str:
    r"""The bytes of broken UTF-8: what is text as text, the rest as `\xe2`."""
    text = content.decode("utf-8", "surrogateescape")
    return "".join(
        f"\\x{ord(sign) - 0xDC00:02x}" if 0xDC80 <= ord(sign) <= 0xDCFF else spelt_in_line(sign)
        for sign in text
    )
