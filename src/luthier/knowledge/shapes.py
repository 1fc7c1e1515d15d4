"""Sizes of published models, for measuring a machine without fetching one: a model of the same shape with random weights.

Each is what the model's own config.json says; the source is the repository named beside it. `tiny` is nobody's: it is what a CPU trains in
seconds.
"""

from typing import Any

GIB = 2**30

SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {
        "model_type": "qwen2",
        "hidden_size": 256,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "vocab_size": 8192,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": True,
    },
    # Qwen/Qwen2.5-0.5B
    "qwen2.5-0.5b": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151936,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": True,
    },
    # meta-llama/Llama-3.2-1B
    "llama-3.2-1b": {
        "model_type": "llama",
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
    },
    # meta-llama/Llama-3.1-8B
    "llama-3.1-8b": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
}
# The repositories whose sizes they are, in lower case.
PUBLISHED: dict[str, str] = {
    "qwen/qwen2.5-0.5b": "qwen2.5-0.5b",
    "meta-llama/llama-3.2-1b": "llama-3.2-1b",
    "meta-llama/llama-3.1-8b": "llama-3.1-8b",
}
# Tokens of a pack that keep a large GPU busy and fit beside the weights (the bench of the peers: 16k of 0.5B, 8k of 8B).
PACK_TOKENS = {"tiny": 2048, "qwen2.5-0.5b": 16384, "llama-3.2-1b": 16384, "llama-3.1-8b": 8192}
# The least free memory of a GPU for each, its pack included.
LEAST_BYTES = {"llama-3.1-8b": 70 * GIB, "llama-3.2-1b": 40 * GIB, "qwen2.5-0.5b": 20 * GIB}


def default_shape(gpu_free_bytes: int | None) -> str:
    """The largest shape that fits; `tiny` on a CPU (None) and on a small GPU."""
    if gpu_free_bytes is None:
        return "tiny"
    return next((name for name, least in LEAST_BYTES.items() if gpu_free_bytes >= least), "tiny")
