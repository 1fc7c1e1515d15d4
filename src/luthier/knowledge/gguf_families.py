"""Facts about what llama.cpp computes for a family: one row each, and nothing that a model's configuration says itself.

From llama.cpp 0.5.0 (src/models) and Transformers 5 (models/*/modeling_*.py). tests/export/gguf builds every family tiny, writes it and
compares the logits of both programs; a new family is one row here and one there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class GgufFamily:
    """One `model_type` of config.json, and what its GGUF form needs."""

    model_type: str
    architecture: str
    """llama.cpp's name, `general.architecture` of the file."""
    permutes_queries_and_keys: bool = False
    """llama.cpp rotates neighbouring numbers of a head where Transformers rotates its halves: rows of Q and K change places."""
    adds_one_to_norms: bool = False
    """Transformers multiplies by 1 + weight, llama.cpp by the weight."""
    may_part_head: bool = True
    """False where llama.cpp always takes the input embedding as the head."""
    has_windows: bool = False
    """Some layers attend to the last `sliding_window` tokens only, and llama.cpp knows it."""
    rope_dimensions_are_named: bool = True
    """False where llama.cpp works the rotated width out itself."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further keys of the file, below the architecture's name, and the setting of config.json that each takes."""
    constants: Mapping[str, float] = field(default_factory=dict)
    """Keys whose value stands in Transformers' code and not in config.json."""
    required: Mapping[str, object] = field(default_factory=dict)
    """Settings that llama.cpp takes for granted: any other value would be computed wrongly."""


_GRANITE = {
    "attention.scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
}

GGUF_FAMILIES: dict[str, GgufFamily] = {
    family.model_type: family
    for family in (
        GgufFamily("llama", "llama", permutes_queries_and_keys=True, required={"hidden_act": "silu"}),
        GgufFamily("mistral", "llama", permutes_queries_and_keys=True, required={"hidden_act": "silu"}),
        GgufFamily("qwen2", "qwen2", required={"hidden_act": "silu"}),
        GgufFamily("qwen3", "qwen3", required={"hidden_act": "silu"}),
        GgufFamily("gemma", "gemma", adds_one_to_norms=True, may_part_head=False),
        GgufFamily(
            "gemma2",
            "gemma2",
            adds_one_to_norms=True,
            may_part_head=False,
            has_windows=True,
            settings={
                "attn_logit_softcapping": "attn_logit_softcapping",
                "final_logit_softcapping": "final_logit_softcapping",
            },
        ),
        GgufFamily(
            "gemma3_text",
            "gemma3",
            adds_one_to_norms=True,
            has_windows=True,
            settings={"final_logit_softcapping": "final_logit_softcapping"},
            required={"attn_logit_softcapping": None},
        ),
        GgufFamily("phi3", "phi3", required={"hidden_act": "silu"}),
        GgufFamily("smollm3", "smollm3", permutes_queries_and_keys=True, required={"hidden_act": "silu"}),
        GgufFamily(
            "olmo",
            "olmo",
            permutes_queries_and_keys=True,
            settings={"attention.clamp_kqv": "clip_qkv"},
            constants={"attention.layer_norm_epsilon": 1e-5},  # OlmoLayerNorm's own
            required={"hidden_act": "silu"},
        ),
        GgufFamily("olmo2", "olmo2", required={"hidden_act": "silu"}),
        GgufFamily("olmo3", "olmo2", has_windows=True, required={"hidden_act": "silu"}),
        GgufFamily(
            "granite",
            "granite",
            permutes_queries_and_keys=True,
            settings=_GRANITE,
            required={"hidden_act": "silu"},
        ),
    )
}
