"""Every family that Luthier writes as GGUF, tiny: two or four layers of random weights, made by Transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from tests.tiny import make_tiny_tokenizer

SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
    "max_position_embeddings": 256,
    "tie_word_embeddings": False,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 64,
}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "original_max_position_embeddings": 256,
    "long_factor": [2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
    "short_factor": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
TIED = {"tie_word_embeddings": True}
# Name of the case: model type, and what is otherwise than in SHAPE.
CASES: dict[str, tuple[str, Mapping[str, Any]]] = {
    "llama": ("llama", {}),
    "llama tied": ("llama", TIED),
    "llama3 rope": ("llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama wide heads": ("llama", {"head_dim": 32}),
    "llama linear": ("llama", {"rope_parameters": LINEAR}),
    "mistral": ("mistral", {"sliding_window": None, "head_dim": 16}),
    "qwen2": ("qwen2", {}),
    "qwen2 yarn": ("qwen2", {"rope_parameters": YARN}),
    "qwen3": ("qwen3", {"head_dim": 32, **TIED}),
    "gemma": ("gemma", {"head_dim": 16, **TIED}),
    "gemma2": (
        "gemma2",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 3, **TIED},
    ),
    "gemma3": (
        "gemma3_text",
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8, "num_hidden_layers": 7, **TIED},
    ),
    "phi3": ("phi3", {"num_key_value_heads": 4}),
    "phi3 longrope": ("phi3", {"rope_parameters": LONGROPE, "original_max_position_embeddings": 256}),
    "smollm3": ("smollm3", {"num_hidden_layers": 4, **TIED}),
    "olmo": ("olmo", {"clip_qkv": 8.0}),
    "olmo2": ("olmo2", {}),
    "olmo3": ("olmo3", {"sliding_window": 8, "num_hidden_layers": 4}),
    "granite": (
        "granite",
        {
            "attention_multiplier": 0.3,
            "embedding_multiplier": 2.0,
            "residual_multiplier": 0.5,
            "logits_scaling": 3.0,
        },
    ),
}


def make_family(case: str, folder: Path) -> Path:
    """Write the case's model and a tokenizer to `folder`; norms and biases are random too, so that none can be left out unseen."""
    model_type, changes = CASES[case]
    config = AutoConfig.for_model(model_type, **{**SHAPE, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation="eager")
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn(parameter.shape))
                else:
                    parameter.mul_(4.0)
    model.eval().save_pretrained(folder)
    make_tiny_tokenizer().save_pretrained(folder)
    return folder
