"""Which fast paths a training takes: joined projections, compiled layers, CUDA graphs, and how long its packs are.

Chosen from the device, the method and the length of the run, and said in the log; none of them changes what is trained.
"""

import os
from pathlib import Path

import torch
from torch import nn

from luthier.config.method import LoraMethod, QloraMethod
from luthier.config.recipe import Recipe
from luthier.floor.log import Listener
from luthier.modelling.device import Precision
from luthier.modelling.joined import join_projections
from luthier.modelling.losses import causal_model, has_plain_head
from luthier.tokens.row_order import RowOrder
from luthier.train.batches import BatchMaker

# Compiling a decoder layer takes about half a minute; a run shorter than this many steps does not earn it back.
LEAST_STEPS_TO_COMPILE = 200
# Lengths of packs are rounded up to this, a multiple of what matrix units take at once.
LENGTH_QUANTUM = 128


def take_fast_paths(
    model: nn.Module,
    recipe: Recipe,
    batches: BatchMaker,
    *,
    precision: Precision,
    total_steps: int,
    listener: Listener,
) -> bool:
    """Join and compile what pays on this machine; returns whether the step is to run as CUDA graphs."""
    if isinstance(recipe.method, LoraMethod):
        groups = join_projections(model)
        if groups:
            listener.say(f"training the adapters' projections as {groups} joined products")
    if not should_compile(recipe, batches.device, total_steps):
        return False
    compile_layers(model)
    listener.say("compiling the decoder layers: the first steps take longer")
    return can_capture(model, recipe, batches, precision)


def should_compile(recipe: Recipe, device: torch.device, total_steps: int) -> bool:
    """Compilation pays on CUDA for runs long enough to earn it back."""
    if recipe.train.compile == "auto":
        has_few_shapes = recipe.train.packing or recipe.train.padding == "fixed"
        return device.type == "cuda" and has_few_shapes and total_steps >= LEAST_STEPS_TO_COMPILE
    return recipe.train.compile == "on"


def compile_layers(model: nn.Module) -> None:
    """Compile each decoder layer by itself: one graph serves them all, and the loop around stays plain Python."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "luthier" / "inductor"
    # torch keeps what it compiled in the temporary folder, which a restart empties.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache))
    for layer in causal_model(model).get_decoder().layers:
        layer.compile(dynamic=False)


def can_capture(model: nn.Module, recipe: Recipe, batches: BatchMaker, precision: Precision) -> bool:
    """Whether every step has the shapes of the one before, and nothing in it asks the host.

    Loss scaling does, the 8-bit optimizer does, checkpointing asks for the state of the random generator, and a quantized base may;
    models that scale their logits compute all of them. Trainings of every weight were never captured on a card, so they are not.
    """
    has_one_shape = batches.is_packed and batches.fixed_tokens > 0 and not batches.may_grow
    is_plain_lora = isinstance(recipe.method, LoraMethod) and not isinstance(recipe.method, QloraMethod)
    return (
        has_one_shape
        and is_plain_lora
        and recipe.train.cuda_graphs
        and not recipe.train.gradient_checkpointing
        and not precision.needs_scaler
        and recipe.train.optimizer.name == "adamw"
        and has_plain_head(model)
    )


def fixed_pack_tokens(recipe: Recipe, order: RowOrder, longest_row: int) -> int:
    """The one length that packs are filled up to, so that compiled code sees one shape.

    With the tokens dial packs are nearly full. With the rows dial they hold what their rows have, which may be far less than
    batch_size x max_length: then the fullest pack of the run decides, where the rows are tokenized already.
    """
    most = max(recipe.pack_tokens(), longest_row)
    if recipe.train.tokens_per_step or not order.lengths_are_known:
        return most
    rounded = -(-order.most_tokens_in_pack() // LENGTH_QUANTUM) * LENGTH_QUANTUM
    return min(most, max(rounded, longest_row))
