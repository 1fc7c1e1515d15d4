"""The base model: which one, and how it is put on the machine."""

from typing import Literal

from luthier.config.base import PathOrId, Section, Text


class ModelConfig(Section):
    """The base model."""

    name: PathOrId | None = None
    """A folder on this machine, or a model id of the Hugging Face hub such as Qwen/Qwen2.5-0.5B. `embedded` is the small model that ships with Luthier. Not needed by `method.kind: scratch`."""
    revision: Text | None = None
    """A commit, tag or branch of the hub repository; a commit makes the run repeatable."""
    attention: Literal["auto", "varlen", "segments", "sdpa", "eager"] = "auto"
    """The attention kernel. `auto` takes variable-length attention on CUDA and segment-wise attention on a CPU."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to compute."""
