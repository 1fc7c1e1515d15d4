"""Read a recipe's YAML so that it means what it looks like, and keep the line of every key.

Our own reading of PyYAML's events, because the ready loaders follow YAML 1.1 (`no` is False, `010` is 8, `1:30` is 90),
keep the last of two equal keys, and recurse and expand aliases without bound. Scalars follow the core schema of
YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema); leading zeros are refused. Knows nothing of settings.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from luthier.config.problems import Problem, recipe_error
from luthier.floor.errors import EnvironmentFault, RecipeError

# No recipe comes near these: the longest shipped one has 40 lines, 3 levels and 70 values.
MOST_BYTES = 1_000_000
MOST_DEPTH = 50
MOST_VALUES = 5_000
MOST_DIGITS = 40

KeyPath = tuple[str, ...]

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_RESOLVER = re.compile(r"\$\{[^}]*:")
_PLAIN_TAGS = ("!", "tag:yaml.org,2002:str")


@dataclass(frozen=True)
class Document:
    """A YAML file as a tree of plain values, with the line of every key."""

    place: str
    tree: dict[str, Any]
    lines: dict[KeyPath, int]
    header: str = ""

    def place_of(self, path: KeyPath) -> str:
        """`configs/train.yaml:14`, of the key or of the nearest section that holds it."""
        while path and path not in self.lines:
            path = path[:-1]
        return f"{self.place}:{self.lines[path]}" if path else self.place


def read_yaml(path: Path, *, place: str = "") -> Document:
    """The document in `path`; `place` is what messages call it.

    Raises RecipeError (cfg-syntax, cfg-size, cfg-target, cfg-secret) on anything that is not a plain mapping of names
    and numbers, EnvironmentFault if the file may not be read.
    """
    place = place or str(path)
    try:
        with open(path, "rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as fault:
        raise EnvironmentFault(
            "env-permission",
            f"cannot read the recipe: {fault.strerror}",
            where=place,
            fix=f"See: ls -l {place}",
        ) from fault
    return parse_yaml(raw, place=place)


def parse_yaml(raw: bytes, *, place: str) -> Document:
    """The document in `raw`, the bytes of a file that messages call `place`."""
    if len(raw) > MOST_BYTES:
        raise _fault("cfg-size", f"the recipe is larger than {MOST_BYTES:,} bytes", place)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise _fault(
            "cfg-syntax", f"the recipe is not UTF-8: byte 0x{raw[fault.start]:02x} at offset {fault.start}",
            f"{place}:{line}", fix="Save it as UTF-8.",
        ) from fault  # fmt: skip
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise _fault("cfg-syntax", "the recipe holds a NUL character", f"{place}:{line}")
    builder = _Builder(place)
    try:
        tree = builder.build(yaml.parse(text, Loader=_loader()))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        at = f"{place}:{mark.line + 1}:{mark.column + 1}" if mark else place
        raise _fault("cfg-syntax", f"the recipe is not readable YAML: {_plain(fault)}", at) from fault
    except yaml.YAMLError as fault:  # a character that YAML does not allow
        raise _fault(
            "cfg-syntax", f"the recipe is not readable YAML: {str(fault).splitlines()[0]}", place
        ) from fault
    if builder.problems:
        raise recipe_error(builder.problems, recipe=place)
    if tree is None:
        raise _fault(
            "cfg-syntax",
            "the recipe is empty",
            place,
            fix="Begin with: model_name: and data_format:, as configs/train.yaml does.",
        )
    if not isinstance(tree, dict):
        raise _fault(
            "cfg-syntax", f"the recipe is {_kind(tree)}, not a list of settings such as `lr: 2e-4`", place
        )
    header = text.split("\n", 1)[0].strip()
    return Document(place, tree, builder.lines, header if header.startswith("#") else "")


def _loader() -> Any:
    return getattr(
        yaml, "CSafeLoader", yaml.SafeLoader
    )  # the C parser is 20 times as fast; some builds lack it


def _plain(fault: yaml.MarkedYAMLError) -> str:
    words = fault.problem or fault.context or "unexpected text"
    if "cannot start any token" in words and "'\\t'" in words:
        return "a tab, where YAML takes spaces only"
    return words


def _kind(value: Any) -> str:
    return "a list" if isinstance(value, list) else f"the single value {value!r}"


def _fault(code: str, what: str, where: str, *, fix: str = "") -> RecipeError:
    return RecipeError(code, what, where=where, fix=fix)


@dataclass
class _Frame:
    """A mapping or list that is being read."""

    value: dict[str, Any] | list[Any]
    path: KeyPath
    anchor: str | None
    key: str | None = None
    key_line: int = 0
    values: int = 1
    depth: int = 1


@dataclass
class _Known:
    value: Any
    values: int
    depth: int


@dataclass
class _Builder:
    """Turns events into plain values without recursion, so that no input can exhaust the stack."""

    place: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _stack: list[_Frame] = field(default_factory=list)
    _known: dict[str, _Known] = field(default_factory=dict)
    _root: Any = None
    _documents: int = 0

    def build(self, events: Iterable[yaml.Event]) -> Any:
        for event in events:
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise _fault(
                        "cfg-syntax", "the file holds several YAML documents; a recipe is one", self._at(line)
                    )
            elif isinstance(event, yaml.ScalarEvent):
                self._take_scalar(event, line)
            elif isinstance(event, yaml.AliasEvent):
                self._take_alias(event, line)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._open(event, line)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                frame = self._stack.pop()
                known = _Known(frame.value, frame.values, frame.depth + 1)
                if frame.anchor:
                    self._known[frame.anchor] = known
                self._place(known, line)
        return self._root

    def _at(self, line: int) -> str:
        return f"{self.place}:{line}"

    def _open(self, event: Any, line: int) -> None:
        self._refuse_tag(event.tag, line, plain=("!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"))
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            raise _fault("cfg-syntax", "a key is a list or a section; keys are names", self._at(line))
        if len(self._stack) >= MOST_DEPTH:
            raise _fault("cfg-size", f"the recipe is nested deeper than {MOST_DEPTH} levels", self._at(line))
        value: dict[str, Any] | list[Any] = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._stack.append(_Frame(value, self._path(), event.anchor))

    def _path(self) -> KeyPath:
        if not self._stack:
            return ()
        frame = self._stack[-1]
        return (*frame.path, frame.key if frame.key is not None else str(len(frame.value)))

    def _take_scalar(self, event: yaml.ScalarEvent, line: int) -> None:
        self._refuse_tag(event.tag, line, plain=_PLAIN_TAGS)
        frame = self._stack[-1] if self._stack else None
        if frame is not None and isinstance(frame.value, dict) and frame.key is None:
            self._take_key(frame, event.value, line)
            return
        is_plain = event.implicit[0]
        value = self._resolve(event.value, line) if is_plain else event.value
        if isinstance(value, str) and _RESOLVER.search(value):
            self._problem("cfg-secret", "a recipe may not call resolvers such as oc.env", line, value=value)
        known = _Known(value, 1, 1)
        if event.anchor:
            self._known[event.anchor] = known
        self._place(known, line)

    def _take_key(self, frame: _Frame, key: str, line: int) -> None:
        assert isinstance(frame.value, dict), "keys belong to mappings"
        path = (*frame.path, key)
        frame.key, frame.key_line = key, line
        if key in frame.value:
            self._problem("cfg-syntax", f"is given twice; first in line {self.lines[path]}", line)
        elif key == "<<":
            self._problem(
                "cfg-syntax",
                "is a merge key, which is not read; repeat the settings, or use a defaults list",
                line,
            )
        elif key in ("_target_", "_partial_", "_recursive_", "_convert_", "_args_"):
            self._problem("cfg-target", "names code to call; recipes hold names and numbers only", line)
        self.lines.setdefault(path, line)

    def _take_alias(self, event: yaml.AliasEvent, line: int) -> None:
        if event.anchor not in self._known:
            raise _fault(
                "cfg-syntax", f"the alias *{event.anchor} names nothing that stands before it", self._at(line)
            )
        self._place(self._known[event.anchor], line)

    def _place(self, known: _Known, line: int) -> None:
        if not self._stack:
            self._root = known.value
            return
        frame = self._stack[-1]
        if isinstance(frame.value, list):
            frame.value.append(known.value)
        elif frame.key is None:
            raise _fault("cfg-syntax", "a key is an alias; keys are names", self._at(line))
        else:
            frame.value[frame.key] = known.value
            frame.key = None
        frame.values += known.values
        frame.depth = max(frame.depth, known.depth)
        if frame.values > MOST_VALUES:
            raise _fault(
                "cfg-size",
                f"the recipe holds more than {MOST_VALUES:,} values once its aliases are followed",
                self._at(line),
            )
        if frame.depth > MOST_DEPTH:
            raise _fault("cfg-size", f"the recipe is nested deeper than {MOST_DEPTH} levels", self._at(line))

    def _problem(self, code: str, text: str, line: int, *, value: str | None = None) -> None:
        key = ".".join(self._path()) or "the recipe"
        self.problems.append(Problem(code, key, text, self._at(line), value=value))

    def _refuse_tag(self, tag: str | None, line: int, *, plain: tuple[str, ...]) -> None:
        if tag is None or tag in plain:
            return
        shown = tag.replace("tag:yaml.org,2002:", "!!")
        code = "cfg-target" if "python" in tag else "cfg-syntax"
        raise _fault(
            code, f"the YAML tag {shown} is not read; recipes hold names and numbers only", self._at(line)
        )

    def _resolve(self, text: str, line: int) -> Any:
        if _LEADING_ZERO.fullmatch(text):
            decimal = text.lstrip("+-").lstrip("0") or "0"
            words = f"some read a leading zero as octal; write {decimal}, or quote it as text"
            self._problem("cfg-type", words, line, value=text)
        return resolve_scalar(text)


def resolve_scalar(text: str) -> Any:
    """The value of a plain scalar by the core schema of YAML 1.2; a leading zero makes it text."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
        return text[0] in "tT"
    if _LEADING_ZERO.fullmatch(text):
        return text
    if _INTEGER.fullmatch(text) and len(text) <= MOST_DIGITS:
        return int(text)
    if _HEXADECIMAL.fullmatch(text) and len(text) <= MOST_DIGITS:
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITE.fullmatch(text):
        return float(text.replace(".", "", 1))
    return float("nan") if _NAN.fullmatch(text) else text
