"""Read the header of a safetensors file as hostile input: which tensors, of which format and shape, and that they fill the file.

The format (huggingface/safetensors, README, section Format): eight bytes with the header's length, little-endian; the header, a JSON
object of name -> {dtype, shape, data_offsets}; then the numbers, without holes or overlaps. Nothing may follow them: a file that is
at once another format hides there.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from luthier.floor.errors import ModelError
from luthier.floor.units import format_bytes

# The format's own cap (safetensors, MAX_HEADER_SIZE).
MOST_HEADER_BYTES = 100_000_000
BITS_OF = {
    "F64": 64,
    "F32": 32,
    "F16": 16,
    "BF16": 16,
    "I64": 64,
    "I32": 32,
    "I16": 16,
    "I8": 8,
    "U64": 64,
    "U32": 32,
    "U16": 16,
    "U8": 8,
    "BOOL": 8,
    "F8_E4M3": 8,
    "F8_E5M2": 8,
}
# torch's own (c10/core/impl/SizesAndStrides): without it a header of many large dimensions multiplies for hours.
MOST_DIMENSIONS = 64
ENTRY_KEYS = {"dtype", "shape", "data_offsets"}
# A zip archive is torch's container of pickles; 0x80 and a protocol number open a bare pickle.
PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
LFS_START = b"version https://git-lfs"


@dataclass(frozen=True)
class TensorFact:
    """What a header says of one tensor."""

    name: str
    format: str
    shape: tuple[int, ...]
    start: int
    end: int

    @property
    def numbers(self) -> int:
        return math.prod(self.shape)


def read_header(path: Path) -> tuple[TensorFact, ...]:
    """The tensors of a safetensors file in the order of their data.

    Raises ModelError: mdl-lfs for a git-LFS pointer, mdl-pickle for a pickle under this name, mdl-weights for damage.
    """
    file_bytes = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(64)
        _refuse_other_formats(path, start, file_bytes)
        header_bytes = int.from_bytes(start[:8], "little")
        if header_bytes > min(MOST_HEADER_BYTES, file_bytes - 8):
            raise damaged(path, f"its header claims {header_bytes:,} bytes, the file has {file_bytes:,}")
        file.seek(8)
        header = _parse(path, file.read(header_bytes))
    tensors = sorted(
        (_tensor(path, name, entry) for name, entry in header.items()),
        key=lambda tensor: (tensor.start, tensor.end),
    )
    _check_layout(path, tensors, file_bytes - 8 - header_bytes)
    return tuple(tensors)


def damaged(path: Path, what: str) -> ModelError:
    """The error for a weight file that is not what its name says."""
    return ModelError(
        "mdl-weights",
        f"{path.name} is damaged: {what}",
        where=str(path),
        fix="Fetch the file again from where the model was published, and compare its size.",
    )


def _refuse_other_formats(path: Path, start: bytes, file_bytes: int) -> None:
    if file_bytes == 0:
        raise damaged(path, "it is empty")
    if start.startswith(LFS_START):
        raise ModelError(
            "mdl-lfs",
            f"{path.name} is a git-LFS pointer of {format_bytes(file_bytes)}, not weights",
            where=str(path),
            why="The repository was cloned without its large files.",
            fix=f"Fetch them: git -C {path.parent} lfs pull",
        )
    # A header whose length happens to look like one of these still opens with its brace.
    if start.startswith(PICKLE_STARTS) and start[8:9] != b"{":
        raise ModelError(
            "mdl-pickle",
            f"{path.name} is a pickle under another name",
            where=str(path),
            why="Loading a pickle runs whatever code is in it.",
            fix="Take the model's safetensors weights.",
        )
    if file_bytes < 8:
        raise damaged(path, f"it has {file_bytes} bytes")


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    def refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise damaged(path, "its header names a tensor twice")
        return found

    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=refuse_duplicates, parse_int=_whole_number)
    except (ValueError, RecursionError) as fault:
        raise damaged(
            path, "its header is not JSON, so this is no safetensors file or a piece of one"
        ) from fault
    if not isinstance(header, dict):
        raise damaged(path, "its header is not an object")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(map(_is_text, (*metadata, *metadata.values(), *header))):
        raise damaged(path, "its header holds names or metadata that are no text")
    return header


def _whole_number(written: str) -> int | float:
    """Counts have no sign: "-0" is 0 to Python and no count to safetensors."""
    return float(written) if written.startswith("-") else int(written)


def _is_text(value: Any) -> TypeGuard[str]:
    """Half a surrogate pair is no text: JSON can escape one, UTF-8 cannot hold it."""
    return isinstance(value, str) and not any("\ud800" <= character <= "\udfff" for character in value)


def _tensor(path: Path, name: str, entry: Any) -> TensorFact:
    called = repr(name[:100])
    if not isinstance(entry, dict) or entry.keys() != ENTRY_KEYS:
        raise damaged(path, f"the header's entry for {called} is none of dtype, shape and data_offsets")
    format_name, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(format_name, str) or format_name not in BITS_OF:
        raise damaged(path, f"tensor {called} has the number format {str(format_name)[:60]!r}")
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
        raise damaged(path, f"tensor {called} has shape {str(shape)[:60]} at {str(offsets)[:60]}")
    if len(shape) > MOST_DIMENSIONS or math.prod(filter(None, shape)) >= 2**63:
        raise damaged(path, f"tensor {called} of shape {str(shape)[:60]} is larger than any tensor")
    tensor = TensorFact(name, format_name, tuple(shape), offsets[0], offsets[1])
    if tensor.numbers * BITS_OF[format_name] != (tensor.end - tensor.start) * 8:
        raise damaged(
            path,
            f"tensor {called} of shape {shape} does not fill its {tensor.end - tensor.start:,} bytes",
        )
    return tensor


def _are_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 2**63 for item in value)


def _check_layout(path: Path, tensors: list[TensorFact], data_bytes: int) -> None:
    reached = 0
    for tensor in tensors:
        if tensor.start != reached:
            raise damaged(path, f"tensor {tensor.name!r} starts at {tensor.start:,}, expected {reached:,}")
        reached = tensor.end
    if reached > data_bytes:
        raise damaged(path, f"it is cut off: its tensors need {reached:,} bytes, {data_bytes:,} are there")
    if reached < data_bytes:
        raise damaged(path, f"{data_bytes - reached:,} bytes follow the last tensor")
