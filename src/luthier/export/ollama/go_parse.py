"""Read a template in the syntax of Go's text/template: the part of it that chat templates for Ollama are written in.

Text, actions with trim markers, comments, if, else if, range, with, break, continue, variables and pipelines. Named templates
(define, template, block) are refused. Written from the package's documentation (pkg.go.dev/text/template); what it renders is held
against Go itself (bench/ollama).
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

BLANKS = " \t\r\n"
ACTION = re.compile(
    r"""\{\{(?P<trims_left>-(?=[ \t\r\n]))?"""
    r"""(?P<inside>(?:[ \t\r\n]*/\*.*?\*/[ \t\r\n]*|"(?:\\.|[^"\\\n])*"|`[^`]*`|'(?:\\.|[^'\\\n])*'|[^"`'}\n]|\}(?!\})|\n)*?)"""
    r"""(?P<trims_right>(?<=[ \t\r\n])-)?\}\}""",
    re.DOTALL,
)
TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+)|(?P<text>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<number>[+-]?\d+(?:\.\d+)?(?![\w.]))"""
    r"""|(?P<variable>\$\w*(?:\.[^\W\d]\w*)*)|(?P<field>(?:\.[^\W\d]\w*)+)|(?P<dot>\.)|(?P<name>[^\W\d]\w*)"""
    r"""|(?P<sign>:=|=|,|\||\(|\))"""
)
LONG_ESCAPE = re.compile(r"\\(?:U(000[0-9a-fA-F]{5}|0010[0-9a-fA-F]{4})|.)", re.DOTALL)
KEYWORDS = frozenset({"if", "else", "end", "range", "with", "break", "continue"})
UNKNOWN = frozenset({"define", "template", "block"})
MOST_NESTED = 64


class GoTemplateError(Exception):
    """A template that Go would refuse, or that this part of Go cannot read; the message says where."""


@dataclass(frozen=True)
class Text:
    """Text that is written as it stands."""

    text: str


@dataclass(frozen=True)
class Literal:
    """A text, a number, true, false or nil in an action."""

    value: str | int | float | bool | None


@dataclass(frozen=True)
class Path:
    """Fields one below the other: of the dot, of a variable, or of what a pipeline in brackets gives."""

    names: tuple[str, ...]
    root: "str | Pipeline | None" = None
    """A variable with its `$`; None is the dot."""


@dataclass(frozen=True)
class Function:
    """The name of a function."""

    name: str


Operand = Literal | Path | Function


@dataclass(frozen=True)
class Pipeline:
    """Commands, each given what the one before it made as its last argument."""

    commands: tuple[tuple[Operand, ...], ...]
    variables: tuple[str, ...] = ()
    declares: bool = True
    """Whether the variables are new (`:=`) or are given another value (`=`)."""


@dataclass(frozen=True)
class Action:
    """What a pipeline gives is written, unless it goes into a variable."""

    pipeline: Pipeline


@dataclass(frozen=True)
class Branch:
    """`if`, `with` or `range`."""

    kind: str
    pipeline: Pipeline
    body: "tuple[Node, ...]"
    otherwise: "tuple[Node, ...]" = ()


@dataclass(frozen=True)
class Jump:
    """`break` or `continue`."""

    kind: str


Node = Text | Action | Branch | Jump


def parse(source: str) -> tuple[Node, ...]:
    """The nodes of a template. Raises GoTemplateError."""
    parts = _Parts(list(_parts(source)))
    nodes, end = _read_list(parts, depth=0, in_range=False)
    if end is not None:
        raise GoTemplateError(f"unexpected {{{{{end.words}}}}} in line {end.line}")
    return nodes


class _Part(NamedTuple):
    """A stretch of text, or the inside of an action."""

    is_action: bool
    words: str
    line: int


@dataclass
class _Parts:
    """The parts that are still to be read."""

    parts: list[_Part]
    at: int = field(default=0)

    def take(self) -> _Part | None:
        if self.at == len(self.parts):
            return None
        self.at += 1
        return self.parts[self.at - 1]


def _parts(source: str) -> Iterator[_Part]:
    """Texts and actions in order; a trim marker takes the white space off the text beside it."""
    at, trims = 0, False
    while (start := source.find("{{", at)) >= 0:
        found = ACTION.match(source, start)
        line = source.count("\n", 0, start) + 1
        if found is None:
            raise GoTemplateError(f"an action is not closed in line {line}")
        text = source[at:start]
        text = text.lstrip(BLANKS) if trims else text
        text = text.rstrip(BLANKS) if found["trims_left"] else text
        if text:
            yield _Part(False, text, line)
        inside = found["inside"].strip(BLANKS)
        if not inside.startswith("/*"):
            yield _Part(True, inside, line)
        at, trims = found.end(), found["trims_right"] is not None
    rest = source[at:].lstrip(BLANKS) if trims else source[at:]
    if rest:
        yield _Part(False, rest, 0)


def _read_list(parts: _Parts, *, depth: int, in_range: bool) -> tuple[tuple[Node, ...], _Part | None]:
    """Nodes up to an `else` or `end`, which is returned with them; None at the end of the template."""
    if depth > MOST_NESTED:
        raise GoTemplateError(f"actions are nested more than {MOST_NESTED} deep")
    nodes: list[Node] = []
    while (part := parts.take()) is not None:
        word = re.match(r"\w*", part.words)[0] if part.is_action else ""  # type: ignore[index]
        if not part.is_action:
            nodes.append(Text(part.words))
        elif word in ("else", "end"):
            return tuple(nodes), part
        elif word in ("if", "with", "range"):
            nodes.append(_read_branch(parts, part, depth=depth + 1, in_range=in_range))
        elif word in ("break", "continue"):
            if not in_range:
                raise GoTemplateError(f"{word} outside range in line {part.line}")
            nodes.append(Jump(word))
        elif word in UNKNOWN:
            raise GoTemplateError(f"named templates ({word}) are not read, in line {part.line}")
        else:
            nodes.append(Action(_read_pipeline(part.words, part)))
    return tuple(nodes), None


def _read_branch(parts: _Parts, part: _Part, *, depth: int, in_range: bool) -> Branch:
    """A branch from its first word to its `end`. `else if` is a branch of its own inside of the other way."""
    kind = re.match(r"\w+", part.words)[0]  # type: ignore[index]
    pipeline = _read_pipeline(part.words[len(kind) :], part, most_variables=2 if kind == "range" else 1)
    body, end = _read_list(parts, depth=depth, in_range=in_range or kind == "range")
    if end is None:
        raise GoTemplateError(f"{kind} of line {part.line} has no end")
    if end.words == "end":
        return Branch(kind, pipeline, body)
    chained = end.words.removeprefix("else").strip(BLANKS)
    if chained:
        if not re.match(r"(if|with)\b", chained) or kind == "range":
            raise GoTemplateError(f"unexpected {{{{{end.words}}}}} in line {end.line}")
        inner = _read_branch(parts, _Part(True, chained, end.line), depth=depth, in_range=in_range)
        return Branch(kind, pipeline, body, (inner,))
    otherwise, last = _read_list(parts, depth=depth, in_range=in_range)
    if last is None or last.words != "end":
        raise GoTemplateError(f"{kind} of line {part.line} has no end")
    return Branch(kind, pipeline, body, otherwise)


@dataclass
class _Tokens:
    """The tokens of an action, each with its kind."""

    tokens: list[tuple[str, str]]
    part: _Part
    at: int = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> tuple[str, str]:
        self.at += 1
        return self.tokens[self.at - 1]

    def fault(self) -> GoTemplateError:
        return GoTemplateError(
            f"{self.peek()[1] or 'the end'!r} is unexpected in {{{{{self.part.words}}}}}, line {self.part.line}"
        )


def _read_pipeline(words: str, part: _Part, *, most_variables: int = 1) -> Pipeline:
    tokens = _Tokens(list(_tokens(words, part)), part)
    variables, declares = _read_variables(tokens, most_variables)
    pipeline = _read_commands(tokens, depth=0)
    if tokens.peek()[0] != "end":
        raise tokens.fault()
    return Pipeline(pipeline.commands, variables, declares)


def _tokens(words: str, part: _Part) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(words):
        found = TOKEN.match(words, at)
        if found is None:
            raise GoTemplateError(f"{words[at]!r} is unexpected in {{{{{part.words}}}}}, line {part.line}")
        yield str(found.lastgroup), found[0]
        at = found.end()


def _read_variables(tokens: _Tokens, most: int) -> tuple[tuple[str, ...], bool]:
    """The variables that a pipeline goes into, if there are any."""
    signs = [text for kind, text in tokens.tokens if kind != "space"]
    place = next((at for at, text in enumerate(signs) if text in (":=", "=")), None)
    if place is None:
        while tokens.peek()[0] == "space":
            tokens.take()
        return (), True
    names = [text for text in signs[:place] if text != ","]
    if not names or len(names) > most or signs[:place:2] != names or not all(map(_is_variable, names)):
        raise tokens.fault()
    while tokens.take()[1] not in (":=", "="):
        pass
    while tokens.peek()[0] == "space":
        tokens.take()
    return tuple(names), signs[place] == ":="


def _is_variable(text: str) -> bool:
    return re.fullmatch(r"\$\w+", text) is not None


def _read_commands(tokens: _Tokens, *, depth: int) -> Pipeline:
    """Commands with `|` between them, up to a closing bracket or the end."""
    if depth > MOST_NESTED:
        raise GoTemplateError(f"brackets are nested more than {MOST_NESTED} deep")
    commands: list[tuple[Operand, ...]] = []
    operands: list[Operand] = []
    is_apart = True
    while True:
        kind, text = tokens.peek()
        if kind == "space":
            tokens.take()
            is_apart = True
            continue
        if kind == "end" or text in ("|", ")"):
            if not operands or (commands and not isinstance(operands[0], Function)):
                raise tokens.fault()
            commands.append(tuple(operands))
            if text != "|":
                return Pipeline(tuple(commands))
            tokens.take()
            operands, is_apart = [], True
            continue
        if not is_apart:
            raise tokens.fault()
        operands.append(_read_operand(tokens, depth=depth))
        is_apart = False


def _read_operand(tokens: _Tokens, *, depth: int) -> Operand:
    kind, text = tokens.peek()
    if kind not in ("text", "number", "variable", "field", "dot", "name") and text != "(":
        raise tokens.fault()
    tokens.take()
    if kind == "text":
        return Literal(_unquoted(text, tokens))
    if kind == "number":
        return Literal(float(text) if "." in text else int(text))
    if kind == "variable":
        name, *fields = text.split(".")
        return Path(tuple(fields), name)
    if kind in ("field", "dot"):
        return Path(tuple(text[1:].split(".")) if len(text) > 1 else ())
    if kind == "name":
        if text in KEYWORDS:
            tokens.at -= 1
            raise tokens.fault()
        words = {"true": True, "false": False, "nil": None}
        return Literal(words[text]) if text in words else Function(text)
    inner = _read_commands(tokens, depth=depth + 1)
    if tokens.peek()[1] != ")":
        raise tokens.fault()
    tokens.take()
    names: tuple[str, ...] = ()
    if tokens.peek()[0] == "field":
        names = tuple(tokens.take()[1][1:].split("."))
    return Path(names, inner)


def _unquoted(text: str, tokens: _Tokens) -> str:
    """A Go text: raw between backticks, or with those escapes that JSON has too, and \\U with eight digits."""
    if text.startswith("`"):
        return text[1:-1].replace("\r", "")
    try:
        return str(json.loads(LONG_ESCAPE.sub(_surrogates, text), strict=False))
    except ValueError:
        tokens.at -= 1
        raise tokens.fault() from None


def _surrogates(escape: re.Match[str]) -> str:
    """An escape of eight digits as JSON spells it; other escapes as they stand."""
    return escape[0] if escape[1] is None else json.dumps(chr(int(escape[1], 16)))[1:-1]


def quoted(text: str) -> str:
    """A text as an action's literal."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
