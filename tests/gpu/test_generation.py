"""Answers on a CUDA device: recorded steps give what steps launched kernel by kernel give, and leave nothing behind.

Run on a machine with a GPU: make test-gpu. Elsewhere every test skips.
"""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from luthier.floor.log import Recorder
from luthier.modelling.attention import SEGMENTS, register_attention
from luthier.modelling.generate import fitting_tokens, generate_answers
from luthier.modelling.slots import Slots
from tests.modelling.test_generate import MODELS, NEW_TOKENS, PAD, SHAPE, STOP_IDS, prompts, sharpen
from tests.modelling.test_generate_slots import Replay, with_prefix

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]

BATCHES = [10_000, 400]


def on_card(kind: str, dtype: torch.dtype) -> Any:
    return MODELS[kind]().to("cuda", dtype).eval()


def answer(model: Any, asked: list[list[int]], *, batch_tokens: int = 10_000, **settings: Any) -> Any:
    known = {"stop_ids": STOP_IDS, "pad_id": PAD, "max_new_tokens": NEW_TOKENS} | settings
    return generate_answers(model, asked, batch_tokens=batch_tokens, **known)


def launched_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of the same shapes without a recording: in bf16 another shape may round another way."""

    def record(slots: Slots) -> None:
        slots._graph = Replay(slots)  # type: ignore[assignment]

    monkeypatch.setattr(Slots, "record_step", record)


@pytest.mark.parametrize("batch_tokens", BATCHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["qwen2", "llama", "llama with an adapter"])
def test_recorded_steps_answer_as_launched_ones(
    kind: str, dtype: torch.dtype, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = on_card(kind, dtype)
    listener = Recorder()
    recorded = answer(model, prompts(), batch_tokens=batch_tokens, listener=listener)
    assert not listener.warnings, "the step could be recorded"
    launched_one_by_one(monkeypatch)
    assert recorded == answer(model, prompts(), batch_tokens=batch_tokens)
    assert len(set(map(len, recorded))) > 2, "rows end at different times"


@pytest.mark.parametrize("batch_tokens", BATCHES)
@pytest.mark.parametrize("kind", ["qwen2", "llama", "a window", "capped scores"])
def test_fp32_answers_are_those_of_the_cpu(kind: str, batch_tokens: int) -> None:
    truth = answer(MODELS[kind](), prompts(), batch_tokens=batch_tokens)
    assert answer(on_card(kind, torch.float32), prompts(), batch_tokens=batch_tokens) == truth


def test_a_shared_prefix_changes_no_fp32_answer() -> None:
    model = on_card("qwen2", torch.float32)
    few_shot = with_prefix(100)
    truth = [answer(model, [prompt])[0] for prompt in few_shot]
    assert answer(model, few_shot) == truth


def test_autocast_answers_without_copies_that_are_freed_too_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    model = on_card("llama", torch.float32)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        recorded = answer(model, prompts())
        launched_one_by_one(monkeypatch)
        assert recorded == answer(model, prompts())


def test_a_model_that_waits_in_a_step_is_told_and_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 10_000.0}
    config = LlamaConfig(**SHAPE, rope_parameters=rope, max_position_embeddings=512)
    model = sharpen(LlamaForCausalLM(config)).to("cuda")
    listener = Recorder()
    answers = answer(model, prompts(), listener=listener)
    assert len(listener.warnings) == 1
    assert "kernel by kernel" in listener.warnings[0]
    assert answers == answer(sharpen(LlamaForCausalLM(config)), prompts())
    # A failed recording must not spoil random numbers for the training that goes on.
    assert torch.nn.functional.dropout(torch.ones(64, device="cuda"), 0.5).sum() > 0


def test_memory_is_given_back() -> None:
    model = on_card("qwen2", torch.bfloat16)
    answer(model, prompts())  # libraries take their workspaces once
    torch.cuda.synchronize()
    before, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for _ in range(3):
        answer(model, prompts())
        assert torch.cuda.memory_allocated() == before
        assert torch.cuda.memory_reserved() <= reserved + 2**25


def test_a_compiled_model_in_training_goes_on_as_before() -> None:
    register_attention()
    model = on_card("qwen2", torch.float32)
    model.set_attn_implementation(SEGMENTS)
    model.train()
    ids = torch.randint(0, 290, (1, 40), device="cuda")

    def loss() -> torch.Tensor:
        value: torch.Tensor = model(input_ids=ids, labels=ids, use_cache=False).loss
        value.backward()
        return value.detach()

    plain = answer(model, prompts())
    for layer in model.get_decoder().layers:
        layer.compile()
    before = loss()
    assert answer(model, prompts()) == plain
    assert model.training
    assert model.config._attn_implementation == SEGMENTS
    torch.testing.assert_close(loss(), before)


def test_a_free_card_takes_more_at_once_than_a_cpu() -> None:
    assert fitting_tokens(on_card("qwen2", torch.bfloat16)) > 16_384
    assert fitting_tokens(MODELS["qwen2"]()) == 16_384
