"""What a served model takes of a machine, and what the machine can give at best: memory by type of weights, tokens a second.

Weights and cache are counted exactly for dense decoders of the usual kind; the rate is a bound and no forecast: each step reads all
weights and the cache once (Pope et al. 2022, "Efficiently Scaling Transformer Inference", section 3), and computes two operations a
weight a token.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.knowledge.gguf_types import GGUF_TYPES
from luthier.knowledge.model_config import text_config
from luthier.knowledge.parameter_count import count_parameters
from luthier.knowledge.training_memory import DecoderShape

FOLDER = "16 bits"
CACHE_BYTES = 2  # of a number: 16 bits, which llama.cpp and vLLM take unless told otherwise
KEPT_FREE = 0.1
"""Of a GPU's memory, as vLLM's gpu_memory_utilization of 0.9 keeps it; of a CPU's for the system."""
BESIDE_BYTES = 2**29
"""The program itself, its buffers and kernels; a choice."""
CPU_BYTES_PER_SECOND = 51.2e9
"""Two channels of DDR4-3200 (JEDEC JESD79-4): what an ordinary machine has. Servers have more, small boards less."""
LEAST_STEP_S = 1e-3
"""Of a step of any model, however small: kernels and threads are started, a token is drawn and sent. A choice."""
# Best first: what is said of their loss is in gguf_types.py.
GGUF_CHOICES = ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q3_K_M", "Q2_K")


@dataclass(frozen=True)
class ServedModel:
    """What of a model its serving depends on."""

    name: str
    model_type: str
    parameters: int
    layers: int
    key_width: int
    """Width of all keys of a layer; values have the same."""
    context_tokens: int | None
    """The longest that it takes, if config.json says so."""
    file_bytes: Mapping[str, int]
    """Sizes of GGUF files that are there already, by type."""

    @classmethod
    def of(
        cls, config: Mapping[str, Any], *, name: str, file_bytes: Mapping[str, int] | None = None
    ) -> "ServedModel | None":
        """From a config.json that was judged; None if it does not name the usual sizes."""
        shape = DecoderShape.of(config)
        if shape is None:
            return None
        text = text_config(dict(config))
        context = text.get("max_position_embeddings")
        return cls(
            name=name,
            model_type=str(text.get("model_type") or config.get("model_type")),
            parameters=count_parameters(config, shape),
            layers=shape.layers,
            key_width=shape.key_width,
            context_tokens=context if isinstance(context, int) else None,
            file_bytes=file_bytes or {},
        )

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of all layers."""
        return 2 * self.layers * self.key_width * CACHE_BYTES

    def weight_bytes(self, type: str) -> int:
        """In the type: the file's own size where there is one, else by its bits a weight."""
        if type == FOLDER:
            return 2 * self.parameters
        return self.file_bytes.get(type) or int(self.parameters * GGUF_TYPES[type].bits / 8)


@dataclass(frozen=True)
class Machine:
    """What a model would run on."""

    name: str
    memory_bytes: int
    bytes_per_second: float
    flops: float | None
    """16-bit operations a second at best; None where they do not bound (a CPU reads slower than it computes)."""
    is_gpu: bool
    has_bf16: bool = True
    count: int = 1
    """GPUs of it; memory and rates are of all together."""

    @property
    def usable_bytes(self) -> int:
        return int(self.memory_bytes * (1 - KEPT_FREE)) - BESIDE_BYTES


@dataclass(frozen=True)
class Traffic:
    """What is asked of it."""

    requests_per_second: float
    prompt_tokens: int
    answer_tokens: int
    at_once: int
    """Answers under way at the same time."""
    people: int = 1
    """Who ask, as far as that is known."""

    @property
    def tokens_per_second(self) -> float:
        return self.requests_per_second * self.answer_tokens

    @property
    def tokens_each(self) -> int:
        """Prompt and answer together."""
        return self.prompt_tokens + self.answer_tokens


@dataclass(frozen=True)
class Load:
    """A model in one type on a machine, under a traffic."""

    type: str
    weight_bytes: int
    cache_bytes: int
    """Of as many answers as are made at once."""
    usable_bytes: int
    most_at_once: int
    """Answers that memory and the program have room for."""
    tokens_per_second: float
    """Of all of them together, at best."""
    tokens_per_second_each: float
    """Of one answer alone, at best."""

    @property
    def fits(self) -> bool:
        """Whether there is room for the weights and an answer; how many more there is room for is `most_at_once`."""
        return self.most_at_once > 0


def load_of(model: ServedModel, machine: Machine, traffic: Traffic, *, type: str, most_at_once: int) -> Load:
    """What it takes and gives; `most_at_once` is what the program makes side by side."""
    weights = model.weight_bytes(type)
    each = model.cache_bytes_per_token * traffic.tokens_each
    room = max(0, machine.usable_bytes - weights)
    at_once = min(most_at_once, room // each if each else most_at_once)
    rates = [_rate(model, machine, weights, each, answers) for answers in (max(1, at_once), 1)]
    return Load(
        type=type,
        weight_bytes=weights,
        cache_bytes=each * min(traffic.at_once, max(1, int(at_once))),
        usable_bytes=machine.usable_bytes,
        most_at_once=int(at_once),
        tokens_per_second=rates[0],
        tokens_per_second_each=rates[1],
    )


def _rate(model: ServedModel, machine: Machine, weights: int, each: int, answers: int) -> float:
    """Tokens a second of so many answers: a step reads the weights once and, on average, half of each cache."""
    seconds = max(LEAST_STEP_S, (weights + answers * each / 2) / machine.bytes_per_second)
    read = answers / seconds
    computed = machine.flops / (2 * model.parameters) if machine.flops else read
    return min(read, computed)
