"""Codes become the very numbers they computed with, in every module, and a plain model is told from a quantized one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit

from luthier.config.method import QloraMethod
from luthier.modelling.dequantize import dequantize, is_quantized
from luthier.modelling.load import load_base

CPU = torch.device("cpu")


def quantized(folder: Path, dtype: torch.dtype, **settings: Any) -> Any:
    return load_base(
        folder, dtype=dtype, device=CPU, attention="sdpa", quantization=QloraMethod(rank=8, **settings)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("double", [True, False])
def test_every_nf4_layer_becomes_the_numbers_that_its_codes_stand_for(
    tiny_base: Path, dtype: torch.dtype, double: bool
) -> None:
    model = quantized(tiny_base, dtype, double_quantization=double)
    truth = {
        name: dequantize_4bit(parameter.data, parameter.quant_state)
        for name, parameter in model.named_parameters()
        if type(parameter).__name__ == "Params4bit"
    }
    assert len(truth) == 14
    plain = dequantize(model)
    assert not is_quantized(plain)
    for name, parameter in plain.named_parameters():
        assert parameter.dtype == torch.float32, name
        if name in truth:
            assert torch.equal(parameter, truth[name].float()), name


def test_plain_weights_are_not_touched(tiny_base: Path) -> None:
    original = load_base(tiny_base, dtype=torch.float32, device=CPU, attention="sdpa")
    assert not is_quantized(original)
    for bits in (4, 8):
        model = quantized(tiny_base, torch.float32, bits=bits)
        assert is_quantized(model)
        plain = dequantize(model)
        assert torch.equal(plain.model.norm.weight, original.model.norm.weight)
        assert torch.equal(plain.lm_head.weight, original.lm_head.weight)


def test_the_format_of_the_result_is_the_caller_s_choice(tiny_base: Path) -> None:
    plain = dequantize(quantized(tiny_base, torch.float32), dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in plain.parameters()} == {torch.bfloat16}
