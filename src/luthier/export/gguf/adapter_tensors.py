"""A LoRA adapter as llama.cpp takes one: which tensor of PEFT's becomes which of the file's, and the one alpha that scales them.

llama.cpp adds alpha / rank * B A x, with each tensor's own rank and one alpha for all (llama-adapter.h, get_scale). What is scaled
otherwise, by sqrt(rank) or by a module's own alpha, goes into that alpha where all agree, and into B where they do not. What is no pair
of low-rank matrices beside a matrix of the base has no place in such a file, and is refused by name.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peft.utils.other import get_pattern_key

from luthier.export.gguf.architecture import EMBEDDING, NAMES_SHOWN, Architecture, permuted_heads
from luthier.export.gguf.container import Piece, TensorPieces
from luthier.export.gguf.weights import StoredTensor, StreamedTensor, stored_tensors
from luthier.export.save import FLOATING
from luthier.floor.errors import ModelError
from luthier.knowledge.adapter_folder import AdapterFacts

PREFIX = "base_model.model."
# PEFT's endings, of linear modules and of embeddings.
ENDINGS = {
    ".lora_A.weight": "lora_a",
    ".lora_B.weight": "lora_b",
    ".lora_embedding_A": "lora_a",
    ".lora_embedding_B": "lora_b",
}
MAGNITUDE = ".lora_magnitude_vector"
TYPE = "F32"
"""An adapter is small and was trained in fp32: it is written as it is."""


@dataclass(frozen=True)
class AdapterForm:
    """What an adapter file holds."""

    alpha: float
    """`adapter.lora.alpha`."""
    tensors: tuple[TensorPieces, ...]

    @property
    def modules(self) -> int:
        """Matrices of the base that it changes."""
        return len(self.tensors) // 2


@dataclass(frozen=True)
class TurnedTensor:
    """The first factor of an embedding: llama.cpp looks rows up in it, so tokens are its rows."""

    name: str
    source: StoredTensor
    type: str = TYPE

    @property
    def shape(self) -> tuple[int, ...]:
        rank, tokens = self.source.fact.shape
        return (tokens, rank)

    def pieces(self) -> Iterator[Piece]:
        """All of it: rank numbers a token."""
        yield lambda: self.source.read_rows(0, self.source.rows).float().numpy().T


def plan_adapter(facts: AdapterFacts, architecture: Architecture) -> AdapterForm:
    """Name, arrange and scale every tensor.

    Raises ModelError gguf-adapter, with the names, for what llama.cpp's adapters do not hold.
    """
    pairs = _pair_up(facts, architecture)
    scales = {module: _scale(facts.settings, module, pair["lora_a"]) for module, pair in pairs.items()}
    alpha = next(iter(scales.values()))
    tensors: list[TensorPieces] = []
    for module, pair in pairs.items():
        name = architecture.names[f"{module}.weight"]
        first, second = pair["lora_a"], pair["lora_b"]
        factor = scales[module] / alpha
        if name == EMBEDDING:
            tensors.append(TurnedTensor(f"{name}.lora_a", first))
        else:
            tensors.append(StreamedTensor(f"{name}.lora_a", TYPE, first, first.fact.shape))
        tensors.append(
            StreamedTensor(
                f"{name}.lora_b",
                TYPE,
                second,
                second.fact.shape,
                heads=permuted_heads(architecture, name),
                factor=1.0 if math.isclose(factor, 1.0, rel_tol=1e-12) else factor,
            )
        )
    return AdapterForm(alpha, tuple(tensors))


def _pair_up(facts: AdapterFacts, architecture: Architecture) -> dict[str, dict[str, StoredTensor]]:
    """Both factors of every module, by the module's name in the base."""
    pairs: dict[str, dict[str, StoredTensor]] = {}
    refused = []
    for name, tensor in stored_tensors([facts.weights]).items():
        ending = next((each for each in ENDINGS if name.endswith(each)), None)
        module = name.removeprefix(PREFIX).removesuffix(ending or ".weight").removesuffix(MAGNITUDE)
        why = _objection(name, module, ending, tensor, architecture)
        if why is not None:
            refused.append(f"{module}: {why}")
        else:
            pairs.setdefault(module, {})[ENDINGS[str(ending)]] = tensor
    refused += [
        f"{module}: half of its factors is missing" for module, pair in pairs.items() if len(pair) != 2
    ]
    if refused or not pairs:
        raise _refusal(facts, list(dict.fromkeys(refused)) or ["it holds no pair of low-rank matrices"])
    return pairs


def _objection(
    name: str, module: str, ending: str | None, tensor: StoredTensor, architecture: Architecture
) -> str | None:
    """Why llama.cpp cannot hold a tensor of the adapter."""
    if name.endswith(MAGNITUDE):
        return "DoRA trains magnitudes beside the low-rank pair"
    if ending is None:
        return "it was trained whole (method.trained_modules)"
    if tensor.fact.format not in FLOATING or len(tensor.fact.shape) != 2:
        return f"{tensor.fact.format} {list(tensor.fact.shape)} is no low-rank matrix"
    new = architecture.names.get(f"{module}.weight")
    if new is None:
        tied = module == "lm_head" and architecture.is_tied
        return "the head is the input embedding, one matrix" if tied else "the base has no such matrix"
    if new == EMBEDDING and architecture.is_tied:
        return "the input embedding is the head too, one matrix, and llama.cpp would change both"
    return None


def _scale(settings: Mapping[str, Any], module: str, first: StoredTensor) -> float:
    """What llama.cpp must divide by the rank: the module's alpha, times sqrt(rank) under rsLoRA (arXiv 2312.03732)."""
    patterns = settings.get("alpha_pattern") or {}
    alpha = float(patterns.get(get_pattern_key(list(patterns), module), settings.get("lora_alpha", 8)))
    return alpha * math.sqrt(first.rows) if settings.get("use_rslora") else alpha


def _refusal(facts: AdapterFacts, problems: list[str]) -> ModelError:
    more = [f"and {len(problems) - NAMES_SHOWN} more"] if len(problems) > NAMES_SHOWN else []
    return ModelError(
        "gguf-adapter",
        "llama.cpp's adapters do not hold all that this one changes",
        where=str(facts.weights),
        problems=[*problems[:NAMES_SHOWN], *more],
        why="Without those parts it would answer otherwise than it was trained to.",
        fix="Export the merged model, which holds them: luthier export gguf",
    )
