"""A Modelfile: what it says, how it is written, and how Ollama reads it back.

Written after docs/modelfile.md and parser/parser.go of github.com/ollama/ollama (0.14). Its reader drops signs that are not
printable and ends a text at quotation marks before white space, so each file is read back here before it is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

STOP = "stop"
QUOTES = '"""'
INSTRUCTIONS = frozenset({"FROM", "TEMPLATE", "PARAMETER", "SYSTEM", "LICENSE"})
SPACES, NEWLINES = " \t", "\r\n"


class Instruction(NamedTuple):
    """One instruction: `PARAMETER stop` has the name `PARAMETER stop`."""

    name: str
    value: str


@dataclass(frozen=True)
class Modelfile:
    """What a model of Ollama is made of."""

    source: str
    """The GGUF file, from the folder of the Modelfile."""
    template: str
    parameters: tuple[tuple[str, str], ...]
    system: str = ""
    licence: str = ""
    comments: tuple[str, ...] = ()

    @property
    def instructions(self) -> list[Instruction]:
        """In the order in which they are written."""
        listed = [Instruction("FROM", self.source), Instruction("TEMPLATE", self.template)]
        listed += [Instruction(f"PARAMETER {name}", value) for name, value in self.parameters]
        listed += [Instruction("SYSTEM", self.system)] if self.system else []
        return listed + ([Instruction("LICENSE", self.licence)] if self.licence else [])

    @property
    def stops(self) -> tuple[str, ...]:
        """The texts at which answers end."""
        return tuple(value for name, value in self.parameters if name == STOP)

    @property
    def numbers(self) -> dict[str, float]:
        """All other parameters."""
        return {name: float(value) for name, value in self.parameters if name != STOP}

    def text(self) -> str:
        """The file. Raises ValueError if Ollama would read something else in it."""
        lines = [f"# {comment}" for comment in self.comments]
        lines += [f"{name} {_quoted(value)}" for name, value in self.instructions]
        text = "\n".join(lines) + "\n"
        try:
            found = list(read(text))
        except ValueError as fault:
            raise ValueError(f"Ollama would not read the file: {fault}") from fault
        for wanted, read_back in zip(self.instructions, found, strict=False):
            if wanted != read_back:
                raise ValueError(
                    f"Ollama would read {read_back.value!r} as {wanted.name}, not {wanted.value!r}"
                )
        if len(found) != len(self.instructions):
            raise ValueError(f"Ollama would read {len(found)} instructions, not {len(self.instructions)}")
        return text


def _quoted(value: str) -> str:
    """A value as it stands if it is a number or a plain word; else between quotation marks, three where one would not do."""
    if value and not set(value) & set(' \t\r\n"') and not value.startswith("#"):
        return value if _is_plain(value) else f'"{value}"'
    return f"{QUOTES}{value}{QUOTES}" if '"' in value or "\n" in value else f'"{value}"'


def _is_plain(value: str) -> bool:
    return all(sign.isalnum() or sign in "./_-+:" for sign in value)


def read(text: str) -> Iterator[Instruction]:
    """The instructions as Ollama reads them. Raises ValueError where it would refuse the file."""
    at = 0
    while at < len(text):
        if text[at] in SPACES + NEWLINES:
            at += 1
        elif text[at] == "#":
            at = _next(text, at, NEWLINES)
        else:
            start, at = at, _next(text, at, SPACES + NEWLINES)
            name = text[start:at].upper()
            if name not in INSTRUCTIONS or text[at : at + 1] not in SPACES or at == len(text):
                raise ValueError(f"no instruction of a Modelfile: {text[start:at]!r}")
            if name == "PARAMETER":
                start, at = at + 1, _next(text, at + 1, SPACES)
                name = f"PARAMETER {text[start:at]}"
            value, at = _read_value(text, at + 1)
            yield Instruction(name, value)


def _next(text: str, at: int, signs: str) -> int:
    return next((place for place in range(at, len(text)) if text[place] in signs), len(text))


def _read_value(text: str, at: int) -> tuple[str, int]:
    """A value from its first sign on: to the end of the line, or to the quotation marks that close it."""
    read: list[str] = []
    for place in range(at, len(text)):
        sign = text[place]
        if sign in NEWLINES and (value := _unquoted("".join(read).strip())) is not None:
            return value, place
        if sign.isprintable() or sign in SPACES + NEWLINES:
            read.append(sign)
    last = _unquoted("".join(read).strip())
    if last is None:
        raise ValueError("quotation marks are not closed")
    return last, len(text)


def _unquoted(value: str) -> str | None:
    """The text between quotation marks, or as it stands; None where they are still open."""
    for marks in (QUOTES, '"'):
        if value.startswith(marks):
            closes = len(value) >= 2 * len(marks) and value.endswith(marks)
            return value[len(marks) : -len(marks)] if closes else None
    return value
