"""Families whose attention is more than causal: windows, capped scores. Packs must compute what the model itself computes."""

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.models.gemma2 import Gemma2Config
from transformers.models.gemma3 import Gemma3TextConfig
from transformers.models.llama import LlamaConfig
from transformers.models.mistral import MistralConfig
from transformers.models.olmo2 import Olmo2Config
from transformers.models.phi3 import Phi3Config
from transformers.models.qwen2 import Qwen2Config
from transformers.models.qwen3 import Qwen3Config

from luthier.floor.errors import EnvironmentFault
from luthier.modelling.attention import SEGMENTS, choose_attention, plan_segments
from luthier.modelling.joined import join_projections
from luthier.modelling.losses import summed_loss

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
LENGTHS = [37, 3, 19, 7, 30]
WINDOW = 8
SHAPE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 120,
    "pad_token_id": 0,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "llama": LlamaConfig(**SHAPE),
    "qwen3": Qwen3Config(**SHAPE),
    "olmo2": Olmo2Config(**SHAPE),
    "phi3": Phi3Config(**SHAPE),
    "mistral with a window": MistralConfig(**SHAPE, sliding_window=WINDOW),
    "qwen2 with a window in its last layer": Qwen2Config(
        **SHAPE, use_sliding_window=True, sliding_window=WINDOW, max_window_layers=1
    ),
    "gemma2": Gemma2Config(**SHAPE, sliding_window=WINDOW, attn_logit_softcapping=1.0),
    "gemma3": Gemma3TextConfig(**SHAPE, sliding_window=WINDOW),
}


def make(name: str, attention: str) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIGS[name], attn_implementation=attention)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                # As drawn, scores are so flat that a window hardly shows.
                parameter.mul_(6)
    return model


def apart(model: nn.Module, ids: torch.Tensor, starts: list[int]) -> float:
    """The judge: every row by itself, through the model's own forward."""
    total = 0.0
    for start, length in zip(starts, LENGTHS, strict=True):
        row = ids[:, start : start + length]
        logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
        total += nn.functional.cross_entropy(logits, row[0, 1:], reduction="sum").item()
    return total


def material() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    ids = torch.randint(1, 120, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(1))
    positions = torch.cat([torch.arange(length) for length in LENGTHS])[None]
    starts = [sum(LENGTHS[:index]) for index in range(len(LENGTHS))]
    keep = torch.cat([torch.arange(s, s + n - 1) for s, n in zip(starts, LENGTHS, strict=True)])
    return ids, positions, keep, starts


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_pack_computes_what_the_models_own_attention_computes(name: str) -> None:
    ids, positions, keep, starts = material()
    attention = choose_attention("auto", CPU, config=CONFIGS[name].to_dict())
    assert attention == ("eager" if name == "gemma2" else SEGMENTS)
    judge = apart(make(name, "eager"), ids, starts)
    extra = {"segments": plan_segments(LENGTHS, device=CPU)} if attention == SEGMENTS else {}
    ours = summed_loss(make(name, attention), ids, positions, keep, ids[0, keep + 1], **extra)
    assert ours.item() == pytest.approx(judge, rel=1e-5)


def test_the_windows_of_these_models_matter() -> None:
    ids, _, _, starts = material()
    judge = apart(make("mistral with a window", "eager"), ids, starts)
    CONFIGS["without"] = MistralConfig(**SHAPE, sliding_window=None)
    try:
        assert abs(apart(make("without", "eager"), ids, starts) - judge) > 1e-3 * judge
    finally:
        del CONFIGS["without"]


def test_a_kernel_refuses_what_it_would_leave_out() -> None:
    ids, positions, keep, _ = material()
    choose_attention("segments", CPU)
    with pytest.raises(EnvironmentFault, match="softcap") as caught:
        summed_loss(make("gemma2", SEGMENTS), ids, positions, keep, ids[0, keep + 1])
    assert "model.attention=eager" in caught.value.fix


@pytest.mark.parametrize("name", list(CONFIGS))
def test_joined_projections_compute_the_same_in_every_family(name: str) -> None:
    ids, positions, keep, _ = material()
    losses = []
    for is_joined in (False, True):
        model = get_peft_model(
            make(name, "eager"), LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        )
        torch.manual_seed(2)
        for weight_name, parameter in model.named_parameters():
            if "lora_B" in weight_name:
                nn.init.normal_(parameter, std=0.1)
        if is_joined:
            assert join_projections(model) >= 2
        loss = summed_loss(model, ids, positions, keep, ids[0, keep + 1])
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        losses.append((loss.item(), sum(gradient.norm().item() for gradient in gradients)))
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
