"""What every test gets: one thread, no network, and tiny models to share."""

import os

# Before torch is imported: with two threads a tiny step is up to 5x slower whenever the other core is busy (OpenMP spins).
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

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
