"""WebDataset shards: tar files whose members of one name, and different endings, are one row.

`0001.prompt.txt` and `0001.completion.txt` are the fields prompt and completion of a row, `0001.txt` is its text, and `0001.json`
holds fields by itself. Members are read as a stream and never written anywhere. A name that leaves the folder, a link or a
device is refused; members of other endings (pictures, sounds, pickled objects) are skipped unread and counted.
"""

import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Self, cast

from luthier.floor.units import format_bytes
from luthier.text.json_lines import LONGEST_LINE_BYTES, UTF8_BOM, check_depth, decode_line, parse_object
from luthier.text.problems import LineFault, Problems
from luthier.text.readers.compressed import open_stream
from luthier.text.readers.record import Fields, Record, row_origin

TEXTS = ("txt", "text", "md")
NUMBERS = ("cls",)
MOST_HEADER_BYTES = 2**20
SPECIAL = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class _Member(tarfile.TarInfo):
    """A header. Those that describe the next one are read into memory whole by the library, so their length is bounded here."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)
        if member.type in SPECIAL and member.size > MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {format_bytes(member.size)}")
        return member


def read_tar(path: Path, problems: Problems) -> Iterator[Record]:
    """One record a sample, in the order of the shard; a sample's members follow each other, as the format has it."""
    number, key, fields = 0, "", Fields()
    broken = ""
    try:
        for member, content in _members(path, problems):
            member_key, _, ending = _base(member).partition(".")
            member_key = str(PurePosixPath(member).with_name(member_key))
            if member_key != key:
                if fields and key != broken:
                    number += 1
                    yield row_origin(path, number), fields
                key, fields = member_key, Fields()
            try:
                _add(fields, ending, content, path)
            except LineFault as fault:
                problems.add(f"{path}!{member}", fault)
                broken = key
        if fields and key != broken:
            yield row_origin(path, number + 1), fields
    except LineFault as fault:  # what was packed is damaged
        problems.add(str(path), fault)


def _members(path: Path, problems: Problems) -> Iterator[tuple[str, bytes]]:
    """Name and content of the members that hold text."""
    with open_stream(path) as file:
        try:
            with tarfile.open(
                fileobj=cast(IO[bytes], file), mode="r|", tarinfo=_Member, errorlevel=2
            ) as archive:
                for member in archive:
                    archive.members.clear()  # type: ignore[attr-defined]  # the library would keep every header
                    place = f"{path}!{member.name[:200]}"
                    if (what := _why_refused(member)) is not None:
                        problems.add(place, LineFault("data-archive", what))
                    elif member.isfile() and (stream := archive.extractfile(member)) is not None:
                        ending = _base(member.name).partition(".")[2].lower()
                        if _is_read(ending):
                            yield member.name, stream.read(LONGEST_LINE_BYTES + 1)
                        else:
                            problems.passed_over[f"members *.{ending[:40]}"] += 1
        except (tarfile.TarError, EOFError, ValueError, OverflowError) as fault:
            raise LineFault("data-archive", f"the archive is damaged: {fault}; fetch it again") from fault


def _why_refused(member: tarfile.TarInfo) -> str | None:
    name = PurePosixPath(member.name.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts:
        return "its name leaves the folder; an honest shard has no such member"
    if not (member.isfile() or member.isdir()):
        return "is a link or a device; a shard holds files"
    return None


def _base(name: str) -> str:
    return PurePosixPath(name).name


def _is_read(ending: str) -> bool:
    last = ending.rpartition(".")[2]
    return last in (*TEXTS, *NUMBERS, "json")


def _add(fields: Fields, ending: str, content: bytes, path: Path) -> None:
    """Put what a member holds into the fields. Raises LineFault."""
    if len(content) > LONGEST_LINE_BYTES:
        raise LineFault("data-line", f"the member is longer than {format_bytes(LONGEST_LINE_BYTES)}")
    name, _, last = ending.lower().rpartition(".")
    if last == "json" and not name:
        found = parse_object(content.removeprefix(UTF8_BOM), is_ended=True, path=path)
    elif last == "json":
        check_depth(content)
        found = {name: _value(content, path)}
    else:
        text = decode_line(content.removeprefix(UTF8_BOM), path)
        if "\0" in text:
            raise LineFault("data-enc", "a NUL byte; the member is damaged or no text")
        found = {name or ("text" if last in TEXTS else last): text if last in TEXTS else text.strip()}
    for field, value in found.items():
        if field in fields:
            raise LineFault("data-field", f"the sample has the field {field[:40]!r} twice")
        fields[field] = value


def _value(content: bytes, path: Path) -> object:
    """A JSON value of any kind, read as the field of an object so that all its faults are told alike."""
    wrapped = b'{"value": ' + content.removeprefix(UTF8_BOM) + b"}"
    return parse_object(wrapped, is_ended=True, path=path)["value"]
