"""Read members of a zip archive from strangers, without ever unpacking it: names in it are never used as paths.

Judged before anything is read: how large the directory of the archive is, whether a member is encrypted, compressed in an
unusual way, or promises far more bytes than it has. A member is then streamed, so that a bomb costs no memory.
"""

import contextlib
import errno
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from luthier.floor.errors import DataError
from luthier.floor.units import format_bytes
from luthier.text.json_values import CHUNK_BYTES

MOST_DIRECTORY_BYTES = 16 * 2**20  # some 150,000 names
# JSON of conversations packs five- to tenfold; deflate reaches 1,030-fold on what is made to reach it.
MOST_TIMES = 150
RATIO_MATTERS_FROM_BYTES = 64 * 2**20
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
END_RECORD, END_BYTES = b"PK\x05\x06", 22
ZIP64_LOCATOR, ZIP64_LOCATOR_BYTES = b"PK\x06\x07", 20
FETCH_AGAIN = "Fetch the archive again."


def list_members(path: Path) -> list[zipfile.ZipInfo]:
    """The members of an archive that are files. Raises DataError (data-archive) if it is damaged or beyond bounds."""
    _check_directory(path)
    with _archive_faults(path), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
    names = [member.filename for member in members]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _fault(path, f"holds {twice!r} twice", FETCH_AGAIN)
    return members


def base_name(member: zipfile.ZipInfo) -> str:
    """The last part of a member's name; nothing for a name that leaves the archive, which no honest one does."""
    name = PurePosixPath(member.filename.replace("\\", "/"))
    return "" if name.is_absolute() or ".." in name.parts or ":" in member.filename else name.name


def check_member(path: Path, member: zipfile.ZipInfo) -> None:
    """Raise DataError (data-archive) if a member cannot or should not be read."""
    if member.flag_bits & 1:
        raise _fault(
            path, f"{member.filename!r} is encrypted", f"Unpack it with its password first: unzip {path}"
        )
    if member.compress_type not in METHODS:
        raise _fault(
            path,
            f"{member.filename!r} is compressed in a way that exports are not",
            f"Unpack it: unzip {path}",
        )
    if member.file_size > RATIO_MATTERS_FROM_BYTES and member.file_size > MOST_TIMES * max(
        member.compress_size, 1
    ):
        size, packed = format_bytes(member.file_size), format_bytes(member.compress_size)
        raise _fault(
            path, f"{member.filename!r} is a bomb: {packed} that unpack to {size}", "Do not unpack it."
        )


def read_member(path: Path, member: zipfile.ZipInfo) -> Iterator[bytes]:
    """The bytes of a member in chunks. Raises DataError (data-archive) where they are damaged."""
    check_member(path, member)
    with _archive_faults(path), zipfile.ZipFile(path) as archive, archive.open(member) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _check_directory(path: Path) -> None:
    """The directory is read into memory whole by whoever opens an archive, so its length is looked up first."""
    with open(path, "rb") as file:
        length = file.seek(0, 2)
        tail_at = file.seek(max(0, length - 2**16 - END_BYTES))
        tail = file.read()
        at = tail.rfind(END_RECORD)
        if at < 0 or len(tail) - at < END_BYTES:
            raise _fault(path, "is no zip archive, or its end is missing", FETCH_AGAIN)
        count = struct.unpack_from("<L", tail, at + 12)[0]
        locator_at = tail_at + at - ZIP64_LOCATOR_BYTES
        if count == 0xFFFFFFFF and locator_at >= 0:
            file.seek(locator_at)
            locator = file.read(ZIP64_LOCATOR_BYTES)
            end_at = struct.unpack_from("<Q", locator, 8)[0] if locator.startswith(ZIP64_LOCATOR) else length
            file.seek(min(end_at, length))
            record = file.read(56)
            count = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else count
    if count > MOST_DIRECTORY_BYTES:
        raise _fault(path, f"lists more files than any export ({format_bytes(count)} of names)", FETCH_AGAIN)


@contextlib.contextmanager
def _archive_faults(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error) as fault:
        raise _fault(path, f"is damaged: {fault}", FETCH_AGAIN) from fault
    except OSError as fault:
        if fault.errno != errno.EINVAL:  # EINVAL: it points to a place before its own beginning
            raise
        raise _fault(path, "is damaged: it points outside itself", FETCH_AGAIN) from fault
    except (RuntimeError, UnicodeDecodeError, ValueError, OverflowError) as fault:  # odd flags, names, places
        raise _fault(path, f"cannot be read: {fault}", FETCH_AGAIN) from fault


def _fault(path: Path, what: str, fix: str) -> DataError:
    return DataError("data-archive", f"the archive {what}", where=str(path), fix=fix)
