"""What every test gets: one thread, no network, and tiny models to share."""

import os

# Before torch is imported: with two threads a tiny step is up to 5x slower whenever the other core is busy (OpenMP spins).
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No test is timed: a disk that takes half a second for one fsync is no fault of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Qwen2 model folder with its tokenizer. Shared: read it, never write to it."""
    import torch

    from tests.tiny import make_tiny_model

    torch.set_num_threads(1)
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny-qwen2")


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama model folder whose head is a matrix of its own. Shared: read it, never write to it."""
    import torch

    from tests.tiny import make_tiny_model

    torch.set_num_threads(1)
    return make_tiny_model(tmp_path_factory.mktemp("base") / "tiny-llama", "llama", tie_embeddings=False)


@pytest.fixture(scope="session")
def llama_cpp(request: pytest.FixtureRequest) -> Iterator[Path]:
    """The pinned library of llama.cpp, fetched once by npm and kept with pytest's cache; a test without it is skipped."""
    from luthier.floor.errors import EnvironmentFault
    from luthier.llamacpp import package

    assert request.config.cache is not None, "the cache of pytest is switched off"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(request.config.cache.mkdir("llama.cpp")))
        try:
            yield package.fetch()
        except EnvironmentFault as fault:
            pytest.skip(f"llama.cpp could not be fetched: {fault.what}")
