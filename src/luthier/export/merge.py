"""Add an adapter's change to the weights of its base, in the model that is in memory.

PEFT does the arithmetic (LoRA, rsLoRA, DoRA, modules trained whole). Here is what it leaves to its caller: fp32 whatever the
base is kept in, matrices that two modules share and only one of which is changed, and a config that says what the weights are.
"""

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from transformers import PreTrainedModel

from luthier.floor.errors import ModelError


def merge_adapter(model: PeftModel) -> PreTrainedModel:
    """The base with the adapter inside, made in place; each weight is computed in fp32 and keeps its number format.

    Raises ModelError mdl-nan if a merged weight is not finite.
    """
    was_tied = bool(model.config.get_text_config().tie_word_embeddings)
    with torch.no_grad(), _exact_products(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT warns of tied embeddings; _settle_tying deals with them
        _separate_shared_weights(model)
        for name, layer in _adapted_layers(model):
            _merge_layer(name, layer)
        merged: PreTrainedModel = model.merge_and_unload()
    if was_tied:
        _settle_tying(merged)
    return merged


def _settle_tying(model: PreTrainedModel) -> None:
    """Make the config say whether input and output embeddings, one matrix in the base, still are one.

    An adapter that trains one of the two parts them: without this a reader of the config would make them one again.
    """
    into: Any = model.get_input_embeddings()
    out: Any = model.get_output_embeddings()
    is_tied = into.weight.shape == out.weight.shape and torch.equal(into.weight, out.weight)
    if is_tied:
        out.weight = into.weight
    for config in (model.config, model.config.get_text_config()):
        config.tie_word_embeddings = is_tied


def _adapted_layers(model: PeftModel) -> Iterator[tuple[str, Any]]:
    """Every module that PEFT wrapped, by name; PEFT's classes share no typed base that has a merge."""
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            yield name, module


def _separate_shared_weights(model: PeftModel) -> None:
    """Give each adapted layer a weight of its own: a change to a tied head must not reach the input embeddings."""
    uses = Counter(id(parameter) for _, parameter in model.named_parameters(remove_duplicate=False))
    for _, layer in _adapted_layers(model):
        base: Any = layer.get_base_layer()
        if uses[id(base.weight)] > 1:
            base.weight = nn.Parameter(base.weight.detach().clone(), requires_grad=False)


def _merge_layer(name: str, layer: Any) -> None:
    weight = layer.get_base_layer().weight
    kept_in = weight.dtype
    weight.data = weight.data.float()
    try:
        layer.merge(safe_merge=True)
    except ValueError as fault:  # PEFT's word for a merged weight that is not finite
        raise ModelError(
            "mdl-nan",
            f"the merged weight of {name} is not finite",
            why="The adapter or its base holds numbers that are none.",
            fix="Merge an earlier checkpoint of the run, or train again with a lower train.lr.",
        ) from fault
    weight = layer.get_base_layer().weight
    weight.data = weight.data.to(kept_in)


@contextmanager
def _exact_products() -> Iterator[None]:
    """fp32 products in fp32: TF32 would round the factors to 10 bits."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
