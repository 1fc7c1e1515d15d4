"""Facts about families of dense decoder models: one row a family, and nothing that a model's config.json says itself.

A row is what code may not guess from names. tests/knowledge builds every family with the installed Transformers, tiny and without
memory, and checks each fact; a new family is one row there and here. A family without a row still trains: the row only lets us say
more, sooner (which targets an adapter may have, before a base of many gigabytes is loaded).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """One `model_type` of config.json."""

    model_type: str
    attention: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """The linear modules of a layer's attention."""
    feed_forward: tuple[str, ...] = ("gate_proj", "up_proj", "down_proj")
    """The linear modules of a layer's feed-forward part."""
    layers: str = "model.layers"
    """Where the list of decoder layers lies in the causal language model."""
    head: str = "lm_head"
    """The output embedding."""
    normalizes_queries_and_keys: bool = False
    """Queries and keys pass a norm of their own before attention."""
    ties_embeddings_by_default: bool = False
    """Input and output embedding are one matrix unless config.json says otherwise."""
    caps_logits: bool = False
    """Attention scores and final logits pass a soft cap (tanh), which an attention kernel must know."""

    @property
    def targets(self) -> tuple[str, ...]:
        """Every module that an adapter usually goes on."""
        return self.attention + self.feed_forward


FAMILIES: dict[str, Family] = {
    family.model_type: family
    for family in (
        Family("llama"),
        Family("mistral"),
        Family("ministral"),
        Family("qwen2"),
        Family("qwen3", normalizes_queries_and_keys=True),
        Family("gemma", ties_embeddings_by_default=True),
        Family("gemma2", ties_embeddings_by_default=True, caps_logits=True),
        Family(
            "gemma3_text",
            ties_embeddings_by_default=True,
            normalizes_queries_and_keys=True,
        ),
        Family("smollm3", ties_embeddings_by_default=True),
        Family("olmo"),
        Family("olmo2", normalizes_queries_and_keys=True),
        Family("olmo3", normalizes_queries_and_keys=True),
        Family("granite"),
        Family("helium"),
        Family("stablelm"),
        Family("cohere", ties_embeddings_by_default=True),
        Family("cohere2", ties_embeddings_by_default=True),
        Family("exaone4", normalizes_queries_and_keys=True),
        Family("seed_oss"),
        Family("arcee", feed_forward=("up_proj", "down_proj")),
        Family("nemotron", feed_forward=("up_proj", "down_proj")),
        Family(
            "apertus",
            feed_forward=("up_proj", "down_proj"),
            normalizes_queries_and_keys=True,
        ),
        Family(
            "phi",
            attention=("q_proj", "k_proj", "v_proj", "dense"),
            feed_forward=("fc1", "fc2"),
        ),
        Family(
            "phi3",
            attention=("qkv_proj", "o_proj"),
            feed_forward=("gate_up_proj", "down_proj"),
        ),
        Family("glm", feed_forward=("gate_up_proj", "down_proj")),
        Family("glm4", feed_forward=("gate_up_proj", "down_proj")),
        Family(
            "starcoder2",
            feed_forward=("c_fc", "c_proj"),
            ties_embeddings_by_default=True,
        ),
        Family(
            "gpt_neox",
            attention=("query_key_value", "dense"),
            feed_forward=("dense_h_to_4h", "dense_4h_to_h"),
            layers="gpt_neox.layers",
        ),
    )
}


def find_family(model_type: str) -> Family | None:
    """The row of a `model_type`, or None for a family that we know nothing about."""
    return FAMILIES.get(model_type)
