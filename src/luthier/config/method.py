"""How the model learns: which weights are trained, told apart by `kind`."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from luthier.config.base import Count, FractionBelowOne, PathOrId, Positive, Section, Texts

ATTENTION_AND_MLP = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class LoraMethod(Section):
    """Low-rank adapters over a frozen base (Hu et al. 2021)."""

    kind: Literal["lora"] = "lora"
    """Low-rank adapters."""
    rank: Annotated[Count, Field(le=8192)] = 64
    """The rank of each adapter."""
    alpha: Positive = 128.0
    """The adapter's output is scaled by alpha / rank."""
    dropout: FractionBelowOne = 0.05
    """Dropout on the adapter's input."""
    targets: Texts = ATTENTION_AND_MLP
    """Names of the linear modules that get an adapter; `all-linear` means every one but the head."""
    rslora: bool = False
    """Scale by alpha / sqrt(rank) instead (Kalajdzievski 2023)."""
    dora: bool = False
    """Train direction and magnitude apart (Liu et al. 2024)."""
    trained_modules: Texts = ()
    """Modules trained whole beside the adapters, such as embed_tokens and lm_head."""


class QloraMethod(LoraMethod):
    """Adapters over a base kept in 4 bits (NF4 with double quantization, Dettmers et al. 2023) or 8 (LLM.int8)."""

    kind: Literal["qlora"] = "qlora"  # type: ignore[assignment]
    """Low-rank adapters over a quantized base."""
    bits: Literal[4, 8] = 4
    """4 is NF4; 8 is LLM.int8."""
    double_quantization: bool = True
    """Quantize the quantization constants as well: 4.127 bits a weight instead of 4.5."""


class FullMethod(Section):
    """Every weight is trained."""

    kind: Literal["full"] = "full"
    """Every weight."""


class ScratchMethod(Section):
    """A new model from a configuration, with a tokenizer trained on the rows; every weight is trained."""

    kind: Literal["scratch"] = "scratch"
    """A new model."""
    model_type: Literal["qwen2", "llama"] = "qwen2"
    """The architecture."""
    hidden_size: Count = 256
    """Width of the residual stream."""
    layers: Count = 8
    """Decoder layers."""
    heads: Count = 4
    """Query heads."""
    kv_heads: Count = 2
    """Key and value heads; query heads share them."""
    intermediate_size: Count = 768
    """Width of the feed-forward layer."""
    context_tokens: Count = 2048
    """Longest context the model is told of."""
    vocabulary_size: Annotated[Count, Field(ge=260)] = 4096
    """Tokens of the vocabulary, the special ones included."""
    tokenizer: PathOrId | None = None
    """A folder with a ready tokenizer, instead of training one."""
    tie_embeddings: bool = True
    """Use one matrix for input and output embeddings."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.hidden_size % self.heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not divisible by heads {self.heads}")
        if self.heads % self.kv_heads:
            raise ValueError(f"heads {self.heads} is not divisible by kv_heads {self.kv_heads}")
        return self


Method = Annotated[LoraMethod | QloraMethod | FullMethod | ScratchMethod, Field(discriminator="kind")]
