"""The container: keys, a list of tensors, then their numbers one after the other. The one file that knows the `gguf` library.

The library encodes blocks and writes the header; tensors pass through piece by piece, so that a file of any size takes the memory of a few
pieces.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from luthier.floor.errors import EnvironmentFault

Array = npt.NDArray[Any]

QUANTIZATION_VERSION = 2  # GGML_QNT_VERSION


class TensorPieces(Protocol):
    """A tensor that comes in pieces: fp32 rows of a matrix, or one vector."""

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def type(self) -> str: ...

    def pieces(self) -> Iterator[Array]:
        """The encoded rows, in order."""


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
    """A tensor as the library's writer takes one: it has a size, and it writes itself."""

    def __init__(self, tensor: TensorPieces) -> None:
        self._tensor = tensor
        self.nbytes = tensor_bytes(tensor.shape, tensor.type)

    def tofile(self, file: Any) -> None:
        written = 0
        for piece in self._tensor.pieces():
            written += file.write(np.ascontiguousarray(piece).view(np.uint8).data)
        assert written == self.nbytes, f"{self._tensor.name}: {written:,} bytes for {self.nbytes:,}"


def write_container(
    path: Path, architecture: str, keys: Sequence[Key], tensors: Sequence[TensorPieces]
) -> None:
    """Write one GGUF file; raises OSError if the disk refuses, and whatever a tensor raises over its numbers."""
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
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in tensors:
            writer.write_tensor_data(_Stream(tensor))
        writer.flush()
    finally:
        writer.close()


def _add_key(writer: Any, key: Key) -> None:
    value = key.value
    if isinstance(value, list | tuple):
        writer.add_array(key.name, list(value))
        return
    kind = key.type or _KINDS[type(value)]
    getattr(writer, f"add_{kind}")(key.name, value)


_KINDS: Mapping[type, str] = {bool: "bool", int: "uint32", float: "float32", str: "string"}
