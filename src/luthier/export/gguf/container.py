"""The container: keys, a list of tensors, then their numbers one after the other. The one file that knows the `gguf` library.

The library encodes blocks and writes the header; tensors pass through piece by piece, so that a file of any size takes the memory of a few
pieces.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from luthier.floor.errors import EnvironmentFault

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Span:
    """Bytes of another file that go into this one as they are."""

    path: Path
    start: int
    size_bytes: int


Piece = Callable[[], Array | Span]
"""Makes some encoded rows when it is called, on whatever thread, or says where they lie already."""
Encode = Callable[[Array, str], Array]
"""fp32 rows as the bytes of a type of blocks."""

QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION
# How a kernel says that it does not copy between two such files; they are then read and written.
NOT_BETWEEN_THESE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class TensorPieces(Protocol):
    """A tensor that comes in pieces: rows of a matrix, or one vector."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def type(self) -> str: ...

    def pieces(self) -> Iterator[Piece]:
        """The pieces in order, still to be made."""


@dataclass(frozen=True)
class Key:
    """A key of the file with its value; `type` is needed where Python's own does not tell."""

    name: str
    value: Any
    type: str | None = None
    """`uint32`, `int32`, `float32`, `bool` or `string`."""


def load_gguf() -> Any:
    """The `gguf` library. Raises EnvironmentFault (env-extra) with the install line."""
    try:
        import gguf
    except ImportError as fault:
        raise EnvironmentFault(
            "env-extra",
            "the gguf library is not installed",
            why="It encodes the blocks of a GGUF file.",
            fix="Install it: pip install 'luthier[gguf]'",
        ) from fault
    return gguf


def name_tensors(architecture: str, layers: int, names: Sequence[str]) -> dict[str, str | None]:
    """For every tensor of Transformers its name in the file, or None if the architecture has no such tensor."""
    gguf = load_gguf()
    number = next(number for number, known in gguf.MODEL_ARCH_NAMES.items() if known == architecture)
    table = gguf.get_tensor_name_map(number, layers)
    return {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in names}


def block_of(type: str) -> tuple[int, int]:
    """Numbers and bytes of a block of a type."""
    gguf = load_gguf()
    numbers, block_bytes = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[type]]
    return int(numbers), int(block_bytes)


def encode(rows: Array, type: str) -> Array:
    """fp32 rows as the bytes of `type`, by the library."""
    gguf = load_gguf()
    return np.asarray(gguf.quants.quantize(rows, gguf.GGMLQuantizationType[type]))


def tensor_bytes(shape: Sequence[int], type: str) -> int:
    """Bytes of a tensor, its padding left out."""
    numbers, block_bytes = block_of(type)
    count = 1
    for dimension in shape:
        count *= dimension
    assert shape[-1] % numbers == 0, f"rows of {shape[-1]} do not divide into blocks of {numbers}"
    return count // numbers * block_bytes


class _Stream:
    """A tensor as the library's writer takes one: it has a size, and it writes itself, from pieces that others made."""

    def __init__(
        self, tensor: TensorPieces, made: Iterator[Array | Span], on_written: Callable[[int], None]
    ) -> None:
        self._tensor, self._made, self._on_written = tensor, made, on_written
        self.nbytes = tensor_bytes(tensor.shape, tensor.type)

    def tofile(self, file: Any) -> None:
        written = 0
        while written < self.nbytes:
            piece = next(self._made)
            if isinstance(piece, Span):
                piece_bytes = copy_span(piece, file)
            else:
                piece_bytes = file.write(np.ascontiguousarray(piece).view(np.uint8).data)
            written += piece_bytes
            self._on_written(piece_bytes)
        assert written == self.nbytes, f"{self._tensor.name}: {written:,} bytes for {self.nbytes:,}"


def copy_span(span: Span, file: Any) -> int:
    """Append a span to `file`, without its bytes passing through this process where the system can; returns how many there were.

    Raises OSError, and EOFError if the other file ends early.
    """
    file.flush()
    done = 0
    with open(span.path, "rb", buffering=0) as source:
        while done < span.size_bytes:
            left, place = span.size_bytes - done, span.start + done
            try:
                moved = os.copy_file_range(source.fileno(), file.fileno(), left, place)
            except OSError as fault:
                if fault.errno not in NOT_BETWEEN_THESE:
                    raise
                moved = os.write(file.fileno(), os.pread(source.fileno(), left, place))
            if not moved:
                raise EOFError(f"{span.path} ends early")
            done += moved
    file.seek(0, os.SEEK_END)  # what was written past its buffer
    return done


def write_container(
    path: Path,
    architecture: str,
    keys: Sequence[Key],
    tensors: Sequence[TensorPieces],
    *,
    threads: int = 1,
    on_written: Callable[[int], None] = lambda piece_bytes: None,
) -> None:
    """Write one GGUF file; `threads` make pieces while this one writes them, and `on_written` is told of each, on this thread.

    Raises OSError if the disk refuses, and whatever a tensor raises over its numbers.
    """
    gguf = load_gguf()
    writer = gguf.GGUFWriter(path=path, arch=architecture)
    for key in keys:
        _add_key(writer, key)
    for tensor in tensors:
        kind = gguf.GGMLQuantizationType[tensor.type]
        # The element type only matters to the library where the other one is not given.
        writer.add_tensor_info(
            tensor.name,
            tensor.shape,
            np.dtype(np.float32),
            tensor_bytes(tensor.shape, tensor.type),
            raw_dtype=kind,
        )
    pieces = (piece for tensor in tensors for piece in tensor.pieces())
    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="encode") as pool:
            made = _in_order(pool, pieces, ahead=2 * threads)
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            with closing(made):
                for tensor in tensors:
                    writer.write_tensor_data(_Stream(tensor, made, on_written))
        writer.flush()
    finally:
        writer.close()


def _in_order(pool: ThreadPoolExecutor, pieces: Iterator[Piece], *, ahead: int) -> Generator[Array | Span]:
    """What the pieces make, in their order; no more than `ahead` are made before they are asked for."""
    waiting: deque[Future[Array | Span]] = deque()
    try:
        for piece in pieces:
            waiting.append(pool.submit(piece))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _add_key(writer: Any, key: Key) -> None:
    value = key.value
    if isinstance(value, list | tuple):
        writer.add_array(key.name, list(value))
        return
    kind = key.type or _KINDS[type(value)]
    getattr(writer, f"add_{kind}")(key.name, value)


_KINDS: Mapping[type, str] = {bool: "bool", int: "uint32", float: "float32", str: "string"}
