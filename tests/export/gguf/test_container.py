"""Pieces of a file: in their order whoever makes them, and bytes that go over as they are, whatever the system can do."""

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader

from luthier.export.gguf.container import Array, Key, Piece, Span, copy_span, write_container


@dataclass(frozen=True)
class Numbers:
    """A tensor of counted rows, every third of which lies in a file already."""

    name: str
    values: Array
    lying: Path
    type: str = "F32"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def pieces(self) -> Iterator[Piece]:
        row_bytes = self.values[0].nbytes
        for row in range(len(self.values)):
            yield (
                partial(self._make, row) if row % 3 else partial(Span, self.lying, row * row_bytes, row_bytes)
            )

    def _make(self, row: int) -> Array:
        return self.values[row : row + 1]


def make_numbers(folder: Path, name: str, rows: int) -> Numbers:
    values = np.random.default_rng(rows).standard_normal((rows, 40)).astype(np.float32)
    lying = folder / f"{name}.bin"
    lying.write_bytes(values.tobytes())
    return Numbers(name, values, lying)


@pytest.mark.parametrize("threads", [1, 4])
def test_pieces_lie_in_their_order_however_many_threads_make_them(threads: int, tmp_path: Path) -> None:
    tensors = [make_numbers(tmp_path, name, rows) for name, rows in (("a", 50), ("b", 1), ("c", 31))]
    told: list[int] = []
    path = tmp_path / "file.gguf"
    write_container(
        path, "llama", [Key("general.name", "x")], tensors, threads=threads, on_written=told.append
    )
    found = {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}
    for tensor in tensors:
        np.testing.assert_array_equal(np.asarray(found[tensor.name]).reshape(tensor.shape), tensor.values)
    assert sum(told) == sum(tensor.values.nbytes for tensor in tensors)


def test_a_piece_that_cannot_be_made_ends_the_writing(tmp_path: Path) -> None:
    tensor = make_numbers(tmp_path, "a", 50)
    tensor.lying.unlink()
    with pytest.raises(FileNotFoundError):
        write_container(tmp_path / "file.gguf", "llama", [], [tensor], threads=4)


@pytest.mark.parametrize("refusal", [None, errno.EXDEV, errno.EINVAL])
def test_bytes_go_over_whether_the_kernel_copies_them_or_not(
    refusal: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(range(256)) * 5000)
    if refusal is not None:

        def refuse(*given: int) -> int:
            raise OSError(refusal, os.strerror(refusal))

        monkeypatch.setattr(os, "copy_file_range", refuse)
    with open(target, "wb") as file:
        file.write(b"before")
        assert copy_span(Span(source, 100, 1_000_000), file) == 1_000_000
        file.write(b"after")
    assert target.read_bytes() == b"before" + source.read_bytes()[100:1_000_100] + b"after"
    with open(target, "wb") as file, pytest.raises(EOFError, match="ends early"):
        copy_span(Span(source, 1_279_999, 2), file)
