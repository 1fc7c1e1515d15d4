"""The base as a quantized run's adapter saw it, in plain numbers.

bitsandbytes keeps a weight as codes and scales; the forward pass turns them back into numbers. Written out, those numbers are
the base that the adapter was trained over, and the only one into which it merges exactly.
"""

import torch
from torch import nn
from transformers import PreTrainedModel

QUANTIZED_WEIGHTS = ("Params4bit", "Int8Params")


def is_quantized(model: nn.Module) -> bool:
    """Whether a weight of the model is kept in codes."""
    return any(type(parameter).__name__ in QUANTIZED_WEIGHTS for parameter in model.parameters())


def dequantize(model: PreTrainedModel, *, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Replace every quantized module of a freshly loaded model by a linear one that holds the numbers it computed with.

    Everything becomes `dtype`; fp32 loses nothing.

    NF4 codes become the number format they were quantized from and then fp32, so a run in bf16 gets the rounding it saw.
    LLM.int8 codes become fp32 directly: its kernel multiplies integers and scales the sums in fp32. LLM.int8 also rounds the
    activations, which no weight can hold, so such a model answers slightly differently from this one.
    Do it before the first forward pass: on some CPUs bitsandbytes repacks the codes then.
    """
    dequantized: PreTrainedModel = model.dequantize(dtype=dtype).to(dtype)
    assert not is_quantized(dequantized), "a module stayed quantized"
    return dequantized
