"""llama.cpp in this process: what it holds addresses of must outlive whoever handed them over."""

import gc
from pathlib import Path

import pytest

from luthier.floor.errors import ModelError
from luthier.llamacpp import abi
from luthier.llamacpp.library import Library, open_model


def test_a_library_that_is_gone_leaves_no_address_behind(
    llama_cpp: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its log function was freed with it once, and llama.cpp called whatever came to lie there."""
    library = Library(llama_cpp)
    Library(llama_cpp)
    gc.collect()
    called = []
    kept = [abi.LogCallback(lambda level, text, _: called.append(level)) for _ in range(200)]
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match="does not load"), open_model(library, bad):
        pass
    del kept  # until here they lay where the first one's function had been
    assert called == []
    assert "bad.gguf" in capfd.readouterr().err
