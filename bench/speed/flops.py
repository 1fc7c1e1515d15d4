"""Arithmetic of a token, from a shape alone: for the limit that a measured product sets.

A frozen weight costs 4 FLOPs a token of training (forward, and the gradient of the input), a trained one 6, either 2 of generation
(Kaplan et al. 2020, section 2.1). The head counts, tied or not; the input embedding is only looked up; attention's own products are
left out.
"""

from collections.abc import Mapping
from typing import Any


def linears(config: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Inputs and outputs of the seven projections of a decoder layer."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    return [
        (hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden),
        (hidden, inner), (hidden, inner), (inner, hidden),
    ]  # fmt: skip


def base_weights(config: Mapping[str, Any]) -> int:
    """Weights that a token is multiplied with: the layers' projections and the head."""
    layer = sum(inputs * outputs for inputs, outputs in linears(config))
    return int(config["num_hidden_layers"] * layer + config["hidden_size"] * config["vocab_size"])


def lora_weights(config: Mapping[str, Any], rank: int) -> int:
    """Trained weights of adapters on the seven projections."""
    return int(config["num_hidden_layers"] * rank * sum(map(sum, linears(config))))


def flops_per_token(config: Mapping[str, Any], *, kind: str, method: str, rank: int) -> float:
    """FLOPs of one token of the row's work."""
    if kind == "generate":
        return 2.0 * base_weights(config)
    if method == "full":
        return 6.0 * base_weights(config)
    return 4.0 * base_weights(config) + 6.0 * lora_weights(config, rank)
