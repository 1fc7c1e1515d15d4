"""Two encoders, one file: llama.cpp's C code and the gguf library give the same bytes, and where they would not, the library is asked."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from luthier.export.gguf.container import encode
from luthier.llamacpp.blocks import BLOCKS, block_encoder

ROWS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 3), st.just(64)), elements=st.floats(-1e4, 1e4, width=32)
)


@pytest.mark.parametrize("type", BLOCKS)
def test_both_encoders_give_the_same_bytes(type: str, llama_cpp: Path) -> None:
    by_c = block_encoder(llama_cpp, encode)

    @given(ROWS)
    def same(rows: npt.NDArray[np.float32]) -> None:
        # Of nothing but -0.0 the scale has the other sign, and of steps below 1e-38 numpy's reciprocal is infinite.
        rows = np.where(abs(rows) < 1e-6, np.float32(0), rows)
        np.testing.assert_array_equal(by_c(rows, type), encode(rows, type))

    same()


def test_a_library_that_encodes_otherwise_or_is_not_there_is_not_used(
    llama_cpp: Path, tmp_path: Path
) -> None:
    rows = np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 64)

    def other(rows: npt.NDArray[np.float32], type: str) -> npt.NDArray[np.uint8]:
        return np.full((len(rows), 68), 7, dtype=np.uint8)

    assert (block_encoder(llama_cpp, other)(rows, "Q8_0") == 7).all()
    assert block_encoder(tmp_path / "libllama.so", other) is other
    np.testing.assert_array_equal(block_encoder(llama_cpp, encode)(rows, "Q8_0"), encode(rows, "Q8_0"))
