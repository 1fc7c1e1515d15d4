"""How much memory a training takes, estimated from config.json and the recipe, and what makes it less.

An estimate, to compare ways of fitting with each other: libraries, fragmentation and kernels' workspaces come on top. Weights, gradients
and moments are counted exactly for dense decoders of the usual kind (projections of attention, two or three of the feed-forward part).
Activations are the tensors that the backward pass keeps of a decoder layer, a token: held against bench figures of an 8B and a 0.5B
model they come out a quarter to a half too high where layers are compiled, which fuses some of them away.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.config.method import LoraMethod, QloraMethod, ScratchMethod
from luthier.config.recipe import Recipe
from luthier.knowledge.families import find_family
from luthier.knowledge.model_config import text_config

# Dettmers et al. 2023, section 3: 4 bits, and 8 + 32 / 256 bits a block of 64 with double quantization; 32 bits a block without.
NF4_BITS, NF4_BITS_PLAIN, INT8_BITS = 4.127, 4.5, 8.03
GRADIENT_BYTES, MOMENTS_BYTES, MOMENTS_8BIT_BYTES = 4, 8, 2
LEAST_SHARE_SAVED = 0.03  # the estimate is not that exact
LOGITS_BYTES = 10  # of one number: 16 bits as the head gives it, fp32, and its fp32 gradient


@dataclass(frozen=True)
class DecoderShape:
    """The sizes of a dense decoder that its memory depends on."""

    width: int
    layers: int
    intermediate: int
    query_width: int
    key_width: int
    vocabulary: int
    is_tied: bool
    feed_forward_matrices: int = 3
    heads: int = 1
    """Of queries."""

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "DecoderShape | None":
        """From a config.json that was judged; None if it does not name the usual sizes."""
        text = text_config(dict(config))
        names = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "vocab_size")
        if any(not isinstance(text.get(name), int) for name in names):
            return None
        heads = text["num_attention_heads"]
        head_width = text.get("head_dim") or text["hidden_size"] // heads
        family = find_family(str(text.get("model_type")))
        is_gated = family is None or len(family.feed_forward) != 2 or "gate_up_proj" in family.feed_forward
        tied_by_default = family.ties_embeddings_by_default if family else False
        return cls(
            width=text["hidden_size"],
            layers=text["num_hidden_layers"],
            intermediate=text["intermediate_size"],
            query_width=heads * head_width,
            key_width=(text.get("num_key_value_heads") or heads) * head_width,
            vocabulary=text["vocab_size"],
            is_tied=bool(text.get("tie_word_embeddings", tied_by_default)),
            feed_forward_matrices=3 if is_gated else 2,
            heads=heads,
        )

    @classmethod
    def of_scratch(cls, method: ScratchMethod) -> "DecoderShape":
        """Of the model that `method.kind: scratch` makes."""
        head_width = method.hidden_size // method.heads
        return cls(
            method.hidden_size,
            method.layers,
            method.intermediate_size,
            method.heads * head_width,
            method.kv_heads * head_width,
            method.vocabulary_size,
            method.tie_embeddings,
            heads=method.heads,
        )

    @property
    def head_width(self) -> int:
        return self.query_width // self.heads

    @property
    def layer_matrices(self) -> dict[str, tuple[int, int]]:
        """Inputs and outputs of the linear modules of one layer, by the name that most families use."""
        feed_forward = {
            "gate_proj": (self.width, self.intermediate),
            "up_proj": (self.width, self.intermediate),
            "down_proj": (self.intermediate, self.width),
        }
        if self.feed_forward_matrices == 2:
            del feed_forward["gate_proj"]
        return {
            "q_proj": (self.width, self.query_width),
            "k_proj": (self.width, self.key_width),
            "v_proj": (self.width, self.key_width),
            "o_proj": (self.query_width, self.width),
            **feed_forward,
        }

    @property
    def linear_weights(self) -> int:
        """Numbers in the linear modules of all layers, the head left out."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.layer_matrices.values())

    @property
    def embedding_weights(self) -> int:
        return self.vocabulary * self.width * (1 if self.is_tied else 2)

    def activation_numbers(self) -> int:
        """Numbers that the backward pass keeps of one layer, a token.

        Both norms' inputs and outputs and the residual's sum (6 widths), queries and keys before and after the rotation, values, what
        attention gives, and the gate, its activation, the other branch and their product.
        """
        attention = 2 * self.query_width + 2 * self.key_width + self.key_width + self.query_width
        return 6 * self.width + attention + (self.feed_forward_matrices + 1) * self.intermediate


@dataclass(frozen=True)
class TrainingMemory:
    """What a training holds, in bytes."""

    weights: float
    states: float
    """Trained copies, gradients and the optimizer's moments."""
    activations: float
    logits: float

    @property
    def total(self) -> float:
        return self.weights + self.states + self.activations + self.logits


@dataclass(frozen=True)
class WayToFit:
    """One change of the recipe, and the memory that it is estimated to save."""

    settings: str
    """What to type."""
    saved_bytes: float
    price: str
    """What it costs."""


def estimate_training(
    shape: DecoderShape, recipe: Recipe, *, compute_bytes: int, most_logits: int
) -> TrainingMemory:
    """The memory of a step; `compute_bytes` a number of the computation (2 or 4), `most_logits` the numbers of a chunk of logits."""
    trained = trained_numbers(shape, recipe)
    is_adapted = isinstance(recipe.method, LoraMethod)
    moments = MOMENTS_8BIT_BYTES if recipe.train.optimizer.name == "adamw_8bit" else MOMENTS_BYTES
    return TrainingMemory(
        weights=weight_bytes(shape, recipe, compute_bytes=compute_bytes),
        states=trained * (GRADIENT_BYTES + moments + (4 if is_adapted else 0)),
        activations=training_activations(shape, recipe, compute_bytes=compute_bytes)[0],
        logits=min(most_logits, micro_batch_tokens(recipe) * shape.vocabulary) * LOGITS_BYTES,
    )


def training_activations(shape: DecoderShape, recipe: Recipe, *, compute_bytes: int) -> tuple[float, str]:
    """Bytes that the backward pass keeps of a micro-batch, where layers are not compiled, and the arithmetic."""
    tokens = micro_batch_tokens(recipe)
    kept = shape.activation_numbers() * compute_bytes
    how = f"{shape.activation_numbers():,} numbers of a layer a token x {compute_bytes} bytes"
    if isinstance(recipe.method, LoraMethod) and recipe.method.dropout:
        # Each adapter keeps its input as dropout left it, and which numbers it kept.
        kept += sum(shape.layer_matrices[name][0] for name in recipe.method.targets if name in shape.layer_matrices) * (compute_bytes + 1)  # fmt: skip
        how += " and the adapters' inputs as dropout left them"
    if recipe.train.gradient_checkpointing:
        inputs = shape.layers * shape.width * compute_bytes
        return tokens * (inputs + kept), f"{tokens:,} tokens x (inputs of {shape.layers} layers, and of one layer {how})"  # fmt: skip
    return tokens * shape.layers * kept, f"{tokens:,} tokens x {shape.layers} layers x {how}"


def weight_bytes(shape: DecoderShape, recipe: Recipe, *, compute_bytes: int) -> float:
    """The base's weights as the method keeps them."""
    method = recipe.method
    if isinstance(method, QloraMethod):
        bits = INT8_BITS if method.bits == 8 else NF4_BITS if method.double_quantization else NF4_BITS_PLAIN
        return shape.linear_weights * bits / 8 + shape.embedding_weights * compute_bytes
    per_number = compute_bytes if isinstance(method, LoraMethod) else 4
    return float((shape.linear_weights + shape.embedding_weights) * per_number)


def trained_numbers(shape: DecoderShape, recipe: Recipe) -> int:
    """How many numbers are trained."""
    method = recipe.method
    if not isinstance(method, LoraMethod):
        return shape.linear_weights + shape.embedding_weights
    matrices = shape.layer_matrices
    targets = matrices if "all-linear" in method.targets else set(method.targets) & set(matrices)
    whole = sum(
        shape.vocabulary * shape.width
        for name in method.trained_modules
        if name in ("embed_tokens", "lm_head")
    )
    return whole + shape.layers * method.rank * sum(sum(matrices[name]) for name in targets)


def micro_batch_tokens(recipe: Recipe) -> int:
    """The most tokens of a micro-batch."""
    return recipe.pack_tokens() if recipe.train.packing else recipe.train.batch_size * recipe.data.max_length


def ways_to_fit(
    shape: DecoderShape, recipe: Recipe, *, compute_bytes: int, most_logits: int, only_weights: bool = False
) -> list[WayToFit]:
    """What would make the training smaller, the cheapest in speed first; ways that save nothing are left out.

    `only_weights` leaves out what changes nothing before the first step. The price of recomputation is that of a second forward
    pass: 2 FLOPs a weight a token beside the 4 of a frozen weight and the 6 of a trained one.
    """

    def needed(changed: Recipe) -> TrainingMemory:
        return estimate_training(shape, changed, compute_bytes=compute_bytes, most_logits=most_logits)

    before = needed(recipe)
    ways = []
    whole = before.weights if only_weights else before.total
    for settings, price, changed in changes(recipe):
        after = needed(changed)
        saved = whole - (after.weights if only_weights else after.total)
        if saved > LEAST_SHARE_SAVED * whole:
            ways.append(WayToFit(settings, saved, price))
    return ways


def changes(recipe: Recipe) -> list[tuple[str, str, Recipe]]:
    """Ways to make a training smaller: what to type, what it costs, and the recipe that it makes. The cheapest in speed come first."""
    train, data, method = recipe.train, recipe.data, recipe.method
    found: list[tuple[str, str, Recipe]] = []

    def add(settings: str, price: str, **sections: Any) -> None:
        found.append((settings, price, recipe.model_copy(update=sections)))

    tokens = micro_batch_tokens(recipe)
    if train.packing and tokens // 2 >= data.max_length:
        fewer = max(tokens // 2, data.max_length)
        add(
            f"train.pack_tokens={fewer}",
            "the same rows in a step, in more and smaller micro-batches",
            train=train.model_copy(update={"pack_tokens": fewer}),
        )
    if not train.packing and train.batch_size > 1:
        rows, times = train.batch_size // 2, train.gradient_accumulation_steps * 2
        add(
            f"train.batch_size={rows} train.gradient_accumulation_steps={times}",
            "the same rows in a step, in more and smaller micro-batches",
            train=train.model_copy(update={"batch_size": rows, "gradient_accumulation_steps": times}),
        )
    if train.optimizer.name == "adamw":
        eight = train.optimizer.model_copy(update={"name": "adamw_8bit"})
        add("train.optimizer.name=adamw_8bit", "moments in 8 bits", train=train.model_copy(update={"optimizer": eight}))  # fmt: skip
    if not train.gradient_checkpointing:
        add(
            "train.gradient_checkpointing=true",
            "a second forward pass, up to half more time"
            if isinstance(method, LoraMethod)
            else "a second forward pass, up to a third more time",
            train=train.model_copy(update={"gradient_checkpointing": True}),
        )
    if isinstance(method, LoraMethod) and not isinstance(method, QloraMethod):
        quantized = QloraMethod.model_validate({**method.model_dump(), "kind": "qlora"})
        add("method.kind=qlora", "the base in 4 bits, unpacked in every pass", method=quantized)
    elif not isinstance(method, LoraMethod | ScratchMethod):
        add("method.kind=lora", "adapters are trained instead of every weight", method=LoraMethod())
    if data.max_length >= 128:
        shorter = data.max_length // 2
        add(
            f"data.max_length={shorter}",
            "longer rows are cut or refused, as data.overlong says",
            data=data.model_copy(update={"max_length": shorter}),
        )
    return found
