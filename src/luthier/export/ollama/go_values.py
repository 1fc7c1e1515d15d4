"""Values as Go's templates see them: what counts as true, how each is written, and the functions over them.

Values are texts, numbers, booleans, None, lists, dictionaries (Go's maps) and records (Go's structs).
"""

import json
import math
from collections.abc import Callable
from typing import Any

from luthier.export.ollama.go_parse import GoTemplateError

NO_VALUE = "<no value>"


class Record:
    """A struct: fields that are all there, and what it is as text and in JSON."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields


class JsonList(list[Any]):
    """A list that is written as JSON."""


class JsonMap(dict[str, Any]):
    """A map that is written as JSON."""


def is_true(value: Any) -> bool:
    """What counts as true: records always, other values unless they are zero or empty."""
    return True if isinstance(value, Record) else bool(value)


def printed(value: Any) -> str:
    """A value as `{{ . }}` writes it."""
    if isinstance(value, JsonList | JsonMap):
        return go_json(value)
    if value is None:
        return NO_VALUE
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _printed_float(value)
    if isinstance(value, list):
        return f"[{' '.join('<nil>' if each is None else printed(each) for each in value)}]"
    if isinstance(value, dict):
        inside = (
            f"{key}:{'<nil>' if item is None else printed(item)}" for key, item in sorted(value.items())
        )
        return f"map[{' '.join(inside)}]"
    if isinstance(value, Record):
        raise GoTemplateError("a record as a whole is not written")
    raise GoTemplateError(f"a {type(value).__name__} is not written")


def _printed_float(value: float) -> str:
    """As %v: the shortest that reads back the same, with an exponent below 1e-4 and from 1e21 on."""
    if not math.isfinite(value):
        return {math.inf: "+Inf", -math.inf: "-Inf"}.get(value, "NaN")
    if value and not 1e-4 <= abs(value) < 1e21:
        digits, _, exponent = f"{value!r}".partition("e")
        if exponent:
            return f"{digits.removesuffix('.0')}e{exponent}"
    text = format(value, "f") if abs(value) >= 1e16 else repr(value)
    return text.removesuffix(".0") if abs(value) < 1e16 else text.partition(".")[0]


def go_json(value: Any) -> str:
    """As Go's json.Marshal: no blanks, the keys of maps in order, `<`, `>`, `&` and two line separators escaped."""
    text = json.dumps(_jsonable(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _jsonable(value: Any) -> Any:
    if isinstance(value, Record):
        raise GoTemplateError("a record as a whole has no JSON here")
    if isinstance(value, dict):
        return {key: _jsonable(value[key]) for key in sorted(value)}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return int(value)  # Go reads every number of JSON as a float and writes it without a fraction
    return value


def _length(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list | dict):
        return len(value)
    raise GoTemplateError(f"len of {printed(value)}")


def _slice(value: Any, *edges: Any) -> Any:
    """`slice x 1 2` is x[1:2]; of a text in bytes."""
    if not isinstance(value, str | list) or len(edges) > 2:
        raise GoTemplateError("slice of what is no text and no list")
    items: Any = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    start = edges[0] if edges else 0
    end = edges[1] if len(edges) > 1 else len(items)
    if not all(isinstance(each, int) and not isinstance(each, bool) for each in (start, end)):
        raise GoTemplateError("cannot index slice with what is no number")
    if not 0 <= start <= end <= len(items):
        raise GoTemplateError(f"slice index out of range: {start}:{end} of {len(items)}")
    part = items[start:end]
    return part.decode("utf-8", "replace") if isinstance(part, bytes) else part


def _index(value: Any, *places: Any) -> Any:
    for place in places:
        if isinstance(value, dict) and isinstance(place, str):
            value = value.get(place)
        elif isinstance(value, list) and isinstance(place, int) and not isinstance(place, bool):
            if not 0 <= place < len(value):
                raise GoTemplateError(f"index out of range: {place}")
            value = value[place]
        else:
            raise GoTemplateError(f"cannot index {printed(value)} with {printed(place)}")
    return value


def _kind(value: Any) -> str:
    for kind, types in (("bool", bool), ("int", int), ("float", float), ("text", str)):
        if isinstance(value, types):
            return kind
    raise GoTemplateError("incompatible types for comparison")


def _equal(first: Any, *others: Any) -> bool:
    """Whether the first equals any of the others. Only values of one kind are compared."""
    if not others:
        raise GoTemplateError("missing argument for comparison")
    for other in others:
        if first is None or other is None:
            if first is other:
                return True
            continue
        if _kind(first) != _kind(other):
            raise GoTemplateError("incompatible types for comparison")
        if first == other:
            return True
    return False


def _less(first: Any, second: Any) -> bool:
    if _kind(first) != _kind(second) or _kind(first) == "bool":
        raise GoTemplateError("incompatible types for comparison")
    return bool(first < second)


def _print(*values: Any) -> str:
    """Blanks go between two values of which neither is a text."""
    written = ""
    for place, value in enumerate(values):
        if place and not isinstance(value, str) and not isinstance(values[place - 1], str):
            written += " "
        written += "<nil>" if value is None else printed(value)
    return written


def _printf(form: Any, *values: Any) -> str:
    """%s, %v, %d and %q alone."""
    if not isinstance(form, str):
        raise GoTemplateError("printf wants a text first")
    first, *rest = form.replace("%%", "\0").split("%")
    if len(rest) != len(values):
        raise GoTemplateError(f"printf has {len(rest)} places and {len(values)} values")
    pieces = [_formatted(piece[:1], value) + piece[1:] for piece, value in zip(rest, values, strict=True)]
    return "".join([first, *pieces]).replace("\0", "%")


def _formatted(verb: str, value: Any) -> str:
    fits = {"s": str, "d": int, "q": str, "v": object}.get(verb)
    if fits is None or not isinstance(value, fits):
        raise GoTemplateError(f"printf with %{verb} is not written")
    return json.dumps(value, ensure_ascii=False) if verb == "q" else printed(value)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "not": lambda value: not is_true(value),
    "len": _length,
    "slice": _slice,
    "index": _index,
    "eq": _equal,
    "ne": lambda first, second: not _equal(first, second),
    "lt": _less,
    "le": lambda first, second: _less(first, second) or _equal(first, second),
    "gt": lambda first, second: not (_less(first, second) or _equal(first, second)),
    "ge": lambda first, second: not _less(first, second),
    "print": _print,
    "println": lambda *values: " ".join(printed(value) for value in values) + "\n",
    "printf": _printf,
    "json": go_json,
}
"""Go's own functions that are known here, and Ollama's `json`."""
