"""Read a file of JSON objects, one a line, from strangers: every fault gets a name, a line and a hint.

Works on bytes and holds one line at a time. Size and depth are judged before the JSON parser sees a line, since a parser that
recurses can be crashed by nesting. Knows nothing of what a row should hold: that is row_shapes.py.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, Protocol

from luthier.floor.units import format_bytes
from luthier.text.problems import LineFault
from luthier.text.row_files import reading

LONGEST_LINE_BYTES = 10 * 2**20
# Chat rows with tool schemas reach about 15 levels; Python's parser recurses once a level and gives up near 1,000.
DEEPEST_NESTING = 64
LONGEST_NUMBER = 308  # digits: 1e308 is the largest power of ten that a double holds
HEAD_BYTES = 4096

# By its first bytes: what a file is, the ending that says so, and what unpacks it if it has that ending.
ARCHIVES = {
    b"\x1f\x8b": ("gzip", ".gz", "gunzip --keep"),
    b"\xfd7zXZ\x00": ("xz", ".xz", "unxz --keep"),
    b"BZh": ("bzip2", ".bz2", "bunzip2 --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", ".zst", "unzstd --keep"),
    b"PK\x03\x04": ("zip", "", "unzip"),
}
TABLES = {b"PAR1": ("Parquet", ".parquet"), b"ARROW1": ("Arrow", ".arrow")}
BYTE_ORDER_MARKS = {b"\xff\xfe\x00\x00": "UTF-32", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
UTF8_BOM = b"\xef\xbb\xbf"

# Strings are skipped whole, an unclosed one up to the end; possessive, so that a line costs one pass and no memory.
STRING_OR_BRACKET = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[\]{}]', re.DOTALL)
ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89abcdefABCDEF]")


class SupportsReadLine(Protocol):
    """A stream of bytes that is read by lines."""

    def readline(self, size: int = -1, /) -> bytes: ...


def read_lines(path: Path) -> Iterator[tuple[int, bytes, bool]]:
    """Yield line number, bytes without the line's end, and whether the line was ended; blank lines are passed over.

    A line beyond LONGEST_LINE_BYTES comes with so many bytes and one more, the rest is skipped unread.
    Raises DataError if the file is gone, EnvironmentFault if it may not or cannot be read.
    """
    with reading(path), open(path, "rb") as file:
        yield from lines_of(file)


def lines_of(file: SupportsReadLine) -> Iterator[tuple[int, bytes, bool]]:
    """The same of a stream that is open."""
    for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE_BYTES + 2), b""), start=1):
        is_ended = line.endswith(b"\n")
        content = line[:-1].removesuffix(b"\r") if is_ended else line
        while not is_ended and (rest := file.readline(2**20)):
            is_ended = rest.endswith(b"\n")
        if number == 1:
            content = content.removeprefix(UTF8_BOM)
        if content and not content.isspace():
            yield number, content, is_ended


def check_head(head: bytes, path: Path) -> None:
    """Judge a file by its first bytes; raises LineFault for an archive or a text that is not UTF-8."""
    for magic, (name, ending, command) in ARCHIVES.items():
        if head.startswith(magic):
            # Neither gunzip nor a reader takes a packed file whose name does not say that it is packed.
            is_named_so = path.suffix.lower().endswith(ending)
            todo = f"unpack it: {command} {path}" if is_named_so else f"name it so: mv {path} {path}{ending}"
            raise LineFault("data-enc", f"the file is a {name} archive, not text; {todo}")
    for magic, (name, ending) in TABLES.items():
        if head.startswith(magic):
            what = f"the file is a {name} table, not text"
            todo = "" if path.suffix == ending else f"; name it so: mv {path} {path.with_suffix(ending)}"
            raise LineFault("data-enc", what + todo)
    for mark, name in BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            raise LineFault("data-enc", f"the file is {name}, not UTF-8; {_convert(name, path)}")
    nuls_at = [at for at, byte in enumerate(head) if byte == 0]
    if len(nuls_at) > len(head) // 4 and len({at % 2 for at in nuls_at}) == 1:
        name = "UTF-16LE" if nuls_at[0] % 2 else "UTF-16BE"
        raise LineFault("data-enc", f"the file looks like {name}, not UTF-8; {_convert(name, path)}")


def parse_object(line: bytes, *, is_ended: bool, path: Path) -> dict[str, Any]:
    """The JSON object in a line. Raises LineFault; never recurses deeper than DEEPEST_NESTING."""
    if len(line) > LONGEST_LINE_BYTES:
        raise LineFault("data-line", f"the line is longer than {format_bytes(LONGEST_LINE_BYTES)}")
    if (nul_at := line.find(b"\0")) >= 0:
        raise LineFault("data-json", f"a NUL byte at byte {nul_at + 1}; the file is damaged or no text")
    text = decode_line(line, path)
    check_depth(line)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as fault:
        raise _explain(text, fault, is_ended=is_ended, path=path) from fault
    if not isinstance(value, dict):
        raise LineFault("data-json", f"the line is {_kind(value)}; a row is an object: {{...}}")
    if ESCAPED_SURROGATE.search(line):
        _check_surrogates(value)
    return value


def parse_inner(text: str, place: str) -> Any:
    """The value of JSON that stands as text inside of JSON, as strictly judged as a line. Raises LineFault naming `place`."""
    check_depth(text.encode("utf-8", "surrogatepass"))
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as fault:
        shown = repr(text if len(text) <= 40 else text[:37] + "...")
        raise LineFault("data-field", f"{place} is no JSON: {shown}") from fault
    _check_surrogates(value)
    return value


def check_depth(line: bytes) -> None:
    """Raise LineFault (data-depth) if brackets nest too deep; brackets inside strings do not count."""
    if line.count(b"[") + line.count(b"{") <= DEEPEST_NESTING:
        return
    depth = 0
    for found in STRING_OR_BRACKET.finditer(line):
        first = line[found.start()]
        depth += first in b"[{"
        depth -= first in b"]}"
        if depth > DEEPEST_NESTING:
            raise LineFault(
                "data-depth", f"nested deeper than {DEEPEST_NESTING} levels at byte {found.start() + 1}"
            )


def decode_line(line: bytes, path: Path) -> str:
    """The text of a line; raises LineFault (data-enc) naming the byte that is no UTF-8, and what it may be."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as fault:
        name = "WINDOWS-1252" if re.search(rb"[\x80-\x9f]", line) else "LATIN1"
        wrong = f"byte {fault.start + 1} is 0x{line[fault.start]:02X}: not UTF-8"
        raise LineFault("data-enc", f"{wrong}; if it is {name}: {_convert(name, path)}") from fault


def _convert(name: str, path: Path) -> str:
    return f"convert it: iconv -f {name} -t UTF-8 {path}"


def _check_surrogates(value: Any) -> None:
    """Half a surrogate pair can only come from an escape; json accepts it, no tokenizer does."""
    for text in _strings(value):
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as fault:
            half = f"\\u{ord(text[fault.start]):04x}"
            raise LineFault("data-surr", f"{half} is half of a surrogate pair, no character") from fault


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in fields if names.count(name) > 1)
        raise LineFault("data-json", f"the key {twice!r} occurs twice in one object")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise LineFault("data-json", f"{name} is not JSON; write null or leave the field out")


def _read_integer(digits: str) -> int:
    if len(digits) > LONGEST_NUMBER:
        raise LineFault("data-json", f"a number of {len(digits)} digits; write it as text")
    return int(digits)


def _read_float(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise LineFault("data-json", f"the number {digits[:20]} is too large; write it as text")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates,
    parse_constant=_refuse_constant,
    parse_int=_read_integer,
    parse_float=_read_float,
)


def _explain(text: str, fault: json.JSONDecodeError, *, is_ended: bool, path: Path) -> LineFault:
    """The commonest reasons for a line that is not JSON, each with what to do."""
    bare = text.strip()
    at_end = fault.pos >= len(text.rstrip()) or fault.msg.startswith("Unterminated string")
    if bare in ("{", "["):
        unfold = "jq -c '.[]'" if bare == "[" else "jq -c ."
        return LineFault("data-json", f"the JSON is spread over lines; one object a line: {unfold} {path}")
    if at_end and not is_ended:
        return LineFault("data-trunc", "the last line is cut off; fetch the file again or remove the line")
    if bare.startswith(("//", "#", "/*")):
        return LineFault("data-json", "a comment; JSON has none: remove the line")
    if fault.msg.startswith("Extra data"):
        return LineFault(
            "data-json", f"more than one value in the line (column {fault.colno}); one object a line"
        )
    if text[fault.pos : fault.pos + 1] == "'":
        return LineFault("data-json", f"single quotes at column {fault.colno}; JSON takes double quotes")
    has_comma_before = text[: fault.pos].rstrip().endswith(",") and text[fault.pos : fault.pos + 1] in (
        "}",
        "]",
    )
    if has_comma_before or fault.msg.startswith("Illegal trailing comma"):  # Python 3.13 names it itself
        return LineFault("data-json", f"a comma before the closing bracket at column {fault.colno}")
    return LineFault("data-json", f"not JSON: {fault.msg.removesuffix(' at')} at column {fault.colno}")


def _kind(value: Any) -> str:
    kinds = {list: "an array", str: "a string", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")
