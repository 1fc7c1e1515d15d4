"""Open a file as a stream of bytes, unpacked on the way if its name ends in .gz, .xz, .bz2 or .zst.

Never unpacks into memory or onto the disk. A bomb costs neither: what comes out is read in small parts, and the file is refused
where a little of it unpacks to more than any text does. Zstandard and xz name the memory they want; it is bounded, too.
"""

import bz2
import importlib
import io
import lzma
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Protocol

from luthier.floor.errors import EnvironmentFault
from luthier.floor.units import format_bytes
from luthier.text.problems import LineFault
from luthier.text.readers.endings import SHORT_ENDINGS, is_compressed
from luthier.text.readers.record import INSTALL_FORMATS, missing_library
from luthier.text.row_files import reading

CHUNK_BYTES = 2**18
SAMPLE_BYTES = 4 * 2**20
MOST_DECODER_BYTES = 256 * 2**20
# Text packs five- to twentyfold, a log of like lines a hundredfold; deflate reaches 1,030-fold on what is made to reach it,
# the others much more.
MOST_TIMES = 400
RATIO_MATTERS_FROM_BYTES = 64 * 2**20


class Stream(Protocol):
    """What readers need of a stream of bytes."""

    def read(self, size: int = -1, /) -> bytes: ...
    def readline(self, size: int = -1, /) -> bytes: ...
    def peek(self, size: int = 0, /) -> bytes: ...


class Decoder(Protocol):
    """The common face of the standard library's decompressors."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


@contextmanager
def open_stream(path: Path) -> Iterator[Stream]:
    """The bytes of a file, unpacked.

    Raises DataError if it is gone, EnvironmentFault if it may not or cannot be read, and LineFault (data-archive) where what is
    packed is damaged, cut off or a bomb; that may come at any read inside the block.
    """
    with reading(path), open(path, "rb", buffering=CHUNK_BYTES) as file:
        assert isinstance(file, io.BufferedReader)
        if not is_compressed(path):
            yield file
            return
        make_decoder = _decoder_for(path)
        with io.BufferedReader(_Unpacked(file, make_decoder), CHUNK_BYTES) as unpacked:
            yield unpacked


def guess_decompressed_bytes(path: Path) -> int:
    """About how many bytes a file unpacks to, by what its beginning does; its own bytes where it is not packed, or damaged."""
    packed_bytes = path.stat().st_size
    if not is_compressed(path):
        return packed_bytes
    with reading(path), open(path, "rb") as file:
        try:
            packed, unpacked = _sample(_Unpacked(file, _decoder_for(path)))
        except (LineFault, EnvironmentFault):  # whoever reads the file tells of it
            return packed_bytes
    return round(packed_bytes * unpacked / packed) if packed else packed_bytes


def _sample(stream: "_Unpacked") -> tuple[int, int]:
    """Packed bytes from a file's beginning, and what they unpack to; of a short file all of it."""
    while True:
        before = stream.packed_bytes, stream.unpacked_bytes
        if not stream.read(CHUNK_BYTES):
            return stream.packed_bytes, stream.unpacked_bytes
        # Only when it asks for more has the decoder made use of what it was given before.
        if stream.packed_bytes > before[0] > 0 and before[1] >= SAMPLE_BYTES:
            return before


class _Unpacked(io.RawIOBase):
    """What a compressed file holds; several streams end to end are one, as the tools write them."""

    def __init__(self, file: BinaryIO, make_decoder: Callable[[], Decoder]) -> None:
        self._file = file
        self._make_decoder = make_decoder
        self._decoder = make_decoder()
        self._is_fresh = True
        self._rest = b""
        self.packed_bytes = self.unpacked_bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self._read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def _read(self, most_bytes: int) -> bytes:
        while True:
            if self._decoder.eof:
                self._rest, self._decoder = self._decoder.unused_data, self._make_decoder()
                self._is_fresh = True
            data, self._rest = self._rest, b""
            if not data and self._decoder.needs_input:
                data = self._file.read(CHUNK_BYTES)
                self.packed_bytes += len(data)
                if not data and self._is_fresh:
                    return b""
                if not data:
                    raise LineFault("data-archive", "the file is cut off; fetch it again")
            if self._is_fresh:
                data = data.lstrip(b"\0")  # xz pads with zeros between streams, tapes at the end
                if not data:
                    continue
            self._is_fresh = False
            if content := self._decompress(data, most_bytes):
                return content

    def _decompress(self, data: bytes, most_bytes: int) -> bytes:
        try:
            content = self._decoder.decompress(data, most_bytes)
        except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as fault:
            raise LineFault("data-archive", f"what is packed is damaged or too large: {fault}") from fault
        self.unpacked_bytes += len(content)
        if self.unpacked_bytes > max(RATIO_MATTERS_FROM_BYTES, MOST_TIMES * self.packed_bytes):
            packed, unpacked = format_bytes(self.packed_bytes), format_bytes(self.unpacked_bytes)
            raise LineFault("data-archive", f"the file is a bomb: {packed} of it unpack to {unpacked}")
        return content


class _GzipDecoder:
    """A member of a gzip file; zlib keeps what it has not looked at in another place than the others."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


class _ZstandardDecoder:
    """A frame; windows beyond 128 MiB are refused by the library. Its error is no kind of ValueError."""

    def __init__(self, zstd: ModuleType) -> None:
        self._error: type[Exception] = zstd.ZstdError
        self._frame: Decoder = zstd.ZstdDecompressor()

    @property
    def eof(self) -> bool:
        return self._frame.eof

    @property
    def needs_input(self) -> bool:
        return self._frame.needs_input

    @property
    def unused_data(self) -> bytes:
        return self._frame.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        try:
            return self._frame.decompress(data, max_length)
        except self._error as fault:
            raise ValueError(str(fault)) from fault


def _decoder_for(path: Path) -> Callable[[], Decoder]:
    ending = SHORT_ENDINGS.get(path.suffix.lower(), path.suffix.lower())
    if ending == ".gz":
        return _GzipDecoder
    if ending == ".bz2":
        return bz2.BZ2Decompressor
    if ending == ".xz":
        return lambda: lzma.LZMADecompressor(memlimit=MOST_DECODER_BYTES)
    return _zstandard(path)


def _zstandard(path: Path) -> Callable[[], Decoder]:
    for name in ("compression.zstd", "backports.zstd"):  # the standard library's from Python 3.14
        try:
            zstd = importlib.import_module(name)
        except ImportError:
            continue
        return partial(_ZstandardDecoder, zstd)
    raise missing_library(path, "backports.zstd", INSTALL_FORMATS)
