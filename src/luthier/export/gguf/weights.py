"""Read the weights of a model folder piece by piece, and say what each becomes in the file.

Nothing is mapped and no tensor is held whole: a piece of rows is read, judged, rearranged and encoded on one thread, small enough to stay
in its core's cache meanwhile.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from luthier.export.gguf.container import Array, Encode, Piece, Span, block_of, encode
from luthier.export.save import FLOATING
from luthier.floor.errors import ModelError
from luthier.knowledge.safetensors_header import TensorFact, damaged, read_header

PIECE_BYTES = 4 * 2**20
"""Of a piece in fp32."""
F16_MOST = 65504.0


_OF_THREAD = threading.local()


def _scratch() -> npt.NDArray[np.uint8]:
    """A buffer of this thread's for what is only looked at: fresh memory costs as much as reading."""
    if not hasattr(_OF_THREAD, "scratch"):
        _OF_THREAD.scratch = np.empty(PIECE_BYTES, dtype=np.uint8)
    found: npt.NDArray[np.uint8] = _OF_THREAD.scratch
    return found


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a safetensors file: where its numbers lie."""

    fact: TensorFact
    path: Path
    data_start: int
    """Where the numbers of the file begin."""

    def span_of_rows(self, first: int, count: int) -> Span:
        """Where rows `first` to `first + count` lie; a vector is one row."""
        row_bytes = (self.fact.shape[-1] if self.fact.shape else 1) * FLOATING[self.fact.format].itemsize
        return Span(self.path, self.data_start + self.fact.start + first * row_bytes, count * row_bytes)

    def read_rows(
        self, first: int, count: int, *, scratch: npt.NDArray[np.uint8] | None = None
    ) -> torch.Tensor:
        """Rows `first` to `first + count` in the file's own format, in `scratch` if it is given and large enough."""
        width = self.fact.shape[-1] if self.fact.shape else 1
        dtype = FLOATING[self.fact.format]
        span = self.span_of_rows(first, count)
        if scratch is not None and scratch.size >= span.size_bytes:
            buffer = scratch[: span.size_bytes]
        else:
            buffer = np.empty(span.size_bytes, dtype=np.uint8)  # not zeroed first, as a bytearray would be
        with open(self.path, "rb", buffering=0) as file:
            file.seek(span.start)
            if file.readinto(buffer.data) != buffer.size:
                raise damaged(self.path, f"{self.fact.name} ends early")
        return torch.from_numpy(buffer).view(dtype).reshape(count, width)

    @property
    def rows(self) -> int:
        return self.fact.shape[0] if len(self.fact.shape) > 1 else 1


def stored_tensors(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """Every tensor of the weight files, by name. Raises ModelError if a header is damaged or a tensor is no floating one."""
    found = {}
    for path in files:
        with open(path, "rb") as file:
            data_start = 8 + int.from_bytes(file.read(8), "little")
        for fact in read_header(path):
            found[fact.name] = StoredTensor(fact, path, data_start)
    return found


@dataclass(frozen=True)
class StreamedTensor:
    """A tensor of the GGUF file that is made from a stored one, piece by piece."""

    name: str
    type: str
    source: StoredTensor
    shape: tuple[int, ...]
    heads: int = 0
    """Where rows of each head change places: the number of heads, else 0."""
    added: float = 0.0
    factor: float = 1.0
    encode: Encode = encode

    def pieces(self) -> Iterator[Piece]:
        """Making one raises ModelError mdl-nan for a number that is none, or that the type cannot hold."""
        rows, step = self.source.rows, self._rows_of_a_piece()
        for first in range(0, rows, step):
            yield partial(self._make, first, min(step, rows - first))

    @property
    def _goes_over(self) -> bool:
        """Whether the file gets the bytes that the folder holds."""
        is_changed = self.heads or self.added or self.factor != 1.0
        return not is_changed and self.type == self.source.fact.format

    def _make(self, first: int, count: int) -> Array | Span:
        if self._goes_over:
            self._judge(self.source.read_rows(first, count, scratch=_scratch()))
            return self.source.span_of_rows(first, count)
        piece = self.source.read_rows(first, count)
        self._judge(piece)
        if self.heads:
            piece = interleave_halves(piece, self.source.rows // self.heads)
        if self.added:
            piece = piece.float() + self.added
        if self.factor != 1.0:
            piece = piece.float() * self.factor
        return self._encode(piece)

    def _judge(self, piece: torch.Tensor) -> None:
        """One pass: minimum and maximum are NaN if any number is, and a twentieth of the time of isfinite."""
        least, most = (float(bound) for bound in torch.aminmax(piece))
        if not (math.isfinite(least) and math.isfinite(most)):
            raise _not_finite(self.source, "is not finite")
        if self.type == "F16" and max(-least, most) > F16_MOST:
            raise _not_finite(self.source, f"is larger than F16 can hold ({F16_MOST:g})")

    def _rows_of_a_piece(self) -> int:
        """Some rows, whole heads where heads are rearranged."""
        row_bytes = 4 * (self.shape[-1] if self.shape else 1)
        step = max(1, PIECE_BYTES // row_bytes)
        if not self.heads:
            return step
        head_rows = self.source.rows // self.heads
        return max(1, step // head_rows) * head_rows

    def _encode(self, piece: torch.Tensor) -> Array:
        if self.type == "F32":
            return np.asarray(piece.float().numpy())
        if self.type == "BF16":
            return np.asarray(piece.to(torch.bfloat16).view(torch.int16).numpy())
        if self.type == "F16":
            return np.asarray(piece.to(torch.float16).numpy())
        return self.encode(piece.float().numpy(), self.type)


@dataclass(frozen=True)
class MadeTensor:
    """A small tensor that the folder does not hold: factors of the rotation, worked out from config.json."""

    name: str
    values: tuple[float, ...]
    type: str = "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.values),)

    def pieces(self) -> Iterator[Piece]:
        """All of it."""
        yield lambda: np.asarray(self.values, dtype=np.float32)


def interleave_halves(rows: torch.Tensor, head_rows: int) -> torch.Tensor:
    """Rows of each head so that number i of the first half stands before number i of the second.

    Transformers rotates a head's first half against its second, llama.cpp each number against its neighbour
    (ggml, GGML_ROPE_TYPE_NORMAL).
    """
    count, width = rows.shape
    return rows.reshape(count // head_rows, 2, head_rows // 2, width).transpose(1, 2).reshape(count, width)


def fits_blocks(shape: Sequence[int], type: str) -> bool:
    """Whether rows of this shape divide into whole blocks."""
    return shape[-1] % block_of(type)[0] == 0


def _not_finite(source: StoredTensor, what: str) -> ModelError:
    return ModelError(
        "mdl-nan",
        f"a weight of {source.fact.name} {what}",
        where=str(source.path),
        why="A file with such a weight answers nonsense.",
        fix="Merge an earlier checkpoint of the run, or export in a type with a larger range: --quant BF16",
    )
