"""Many prompts answered at once get, token for token, what Transformers' own `generate` answers to each alone."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Gemma2Config, Gemma2ForCausalLM, Qwen2Config, Qwen2ForCausalLM

from luthier.floor.log import Silent
from luthier.floor.stop import StopFlag
from luthier.modelling.attention import SEGMENTS, register_attention
from luthier.modelling.decoders import PaddedDecoder, decoding, sees_every_token
from luthier.modelling.generate import generate_answers
from luthier.modelling.row_cache import ROWS
from luthier.modelling.slot_decoder import Limits, SlotDecoder
from luthier.modelling.slots import Slots
from tests.tiny import make_tiny

NEW_TOKENS = 24
PAD = 297
# One token in thirteen: rows end early and late, at times together.
STOP_IDS = list(range(0, 300, 13))
LENGTHS = (1, 37, 4, 12, 90, 2, 4, 61, 23, 5)
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 300,
}


def prompts() -> list[list[int]]:
    generator = torch.Generator().manual_seed(11)
    return [torch.randint(0, 290, (length,), generator=generator).tolist() for length in LENGTHS]


def sharpen(model: Any) -> Any:
    """Weights whose answers wander: as initialised, a model repeats one token for ever."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.15)
    return model.eval()


def adapted(family: Any) -> PeftModel:
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=32, target_modules=["q_proj", "v_proj"])
    model = get_peft_model(make_tiny(family, tie_embeddings=False), config)
    generator = torch.Generator().manual_seed(4)
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    model.eval()
    assert isinstance(model, PeftModel)
    return model


def windowed() -> Any:
    shape = SHAPE | {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1}
    return sharpen(Qwen2ForCausalLM(Qwen2Config(**shape)))


def capped() -> Any:
    shape = SHAPE | {
        "head_dim": 8,
        "sliding_window": 8,
        "query_pre_attn_scalar": 8,
        "tie_word_embeddings": False,
    }
    return sharpen(Gemma2ForCausalLM(Gemma2Config(**shape, attn_implementation="eager")))


MODELS = {
    "qwen2": lambda: make_tiny("qwen2", tie_embeddings=False),
    "llama": lambda: make_tiny("llama", tie_embeddings=False),
    "qwen2 with an adapter": lambda: adapted("qwen2"),
    "llama with an adapter": lambda: adapted("llama"),
    "a window": windowed,
    "capped scores": capped,
}


def one_at_a_time(model: Any) -> list[list[int]]:
    """Transformers' greedy answer to each prompt alone, up to and with its stop token."""
    answers = []
    for prompt in prompts():
        ids = torch.tensor([prompt])
        whole = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=NEW_TOKENS,
            eos_token_id=STOP_IDS,
            pad_token_id=PAD,
        )
        answers.append(whole[0, len(prompt) :].tolist())
    return answers


@cache
def oracle(kind: str) -> tuple[Any, list[list[int]]]:
    """The model and the true answers. Shared: nothing changes them."""
    model = MODELS[kind]()
    answers = one_at_a_time(model)
    lengths = {len(answer) for answer in answers}
    assert len(lengths) > 2, f"rows must end at different times, or the test proves little: {lengths}"
    return model, answers


def answered(model: Any, **settings: Any) -> list[list[int]]:
    known = {
        "stop_ids": STOP_IDS,
        "pad_id": PAD,
        "max_new_tokens": NEW_TOKENS,
        "batch_tokens": 10_000,
    } | settings
    return generate_answers(model, prompts(), **known)


@pytest.mark.oracle
@pytest.mark.parametrize("batch_tokens", [10_000, 400, 1])
@pytest.mark.parametrize("kind", MODELS)
def test_answers_are_those_of_transformers_one_prompt_at_a_time(kind: str, batch_tokens: int) -> None:
    model, truth = oracle(kind)
    assert answered(model, batch_tokens=batch_tokens) == truth


def test_a_stop_token_ends_its_row_and_is_part_of_the_answer() -> None:
    model, _ = oracle("qwen2")
    ended = [answer for answer in answered(model) if len(answer) < NEW_TOKENS]
    assert ended
    for answer in ended:
        assert answer[-1] in STOP_IDS
        assert not set(answer[:-1]) & set(STOP_IDS)


@pytest.mark.parametrize("new_tokens", [1, 2, 7])
def test_no_answer_is_longer_than_it_may_be(new_tokens: int) -> None:
    model, truth = oracle("qwen2")
    answers = answered(model, max_new_tokens=new_tokens)
    assert answers == [answer[:new_tokens] for answer in truth]


def test_no_prompts_have_no_answers() -> None:
    assert generate_answers(make_tiny(), [], stop_ids=[0], pad_id=PAD, max_new_tokens=4, batch_tokens=9) == []


class Watch:
    """What a decoder did: the slots and columns of each step, and how many prompts it read at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[tuple[int, int]] = []
        self.starts: list[int] = []
        self.room = 0
        step, start, resize = Slots.step, SlotDecoder.start, Slots.resize

        def watched_step(slots: Slots, rows: int, columns: int) -> None:
            assert rows <= slots.cache.slots
            assert columns <= slots.cache.columns
            self.steps.append((rows, columns))
            step(slots, rows, columns)

        def watched_start(decoder: SlotDecoder, indices: Sequence[int], prompts: Any) -> None:
            self.starts.append(len(prompts))
            start(decoder, indices, prompts)

        def watched_resize(slots: Slots, rows: int, columns: int) -> None:
            self.room = max(self.room, rows * columns)
            resize(slots, rows, columns)

        monkeypatch.setattr(Slots, "step", watched_step)
        monkeypatch.setattr(SlotDecoder, "start", watched_start)
        monkeypatch.setattr(Slots, "resize", watched_resize)


@pytest.mark.parametrize("batch_tokens", [120, 300, 500])
def test_rows_times_tokens_never_pass_the_bound(batch_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, truth = oracle("qwen2")
    watch = Watch(monkeypatch)
    assert answered(model, batch_tokens=batch_tokens) == truth
    assert max(rows * columns for rows, columns in watch.steps) <= watch.room <= batch_tokens
    assert max(rows for rows, _ in watch.steps) > 1, "the bound is used"


def test_a_prompt_larger_than_the_bound_is_answered_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, truth = oracle("qwen2")
    watch = Watch(monkeypatch)
    assert answered(model, batch_tokens=1) == truth
    assert {rows for rows, _ in watch.steps} == {1}


def test_rows_that_end_leave_and_waiting_ones_take_their_place(monkeypatch: pytest.MonkeyPatch) -> None:
    model, truth = oracle("qwen2")
    watch = Watch(monkeypatch)
    answered(model)
    rows = [rows for rows, _ in watch.steps]
    assert rows == sorted(rows, reverse=True)
    assert rows[0] == len(truth)
    assert rows[-1] < rows[0], "what has ended is not carried to the end"
    watch.starts.clear()
    answered(model, batch_tokens=400)
    assert len(watch.starts) > 2
    assert sum(watch.starts) == len(truth), "each prompt is read once"


def test_a_stop_in_the_middle_ends_the_work_at_once_and_leaves_finished_rows_whole() -> None:
    model, truth = oracle("qwen2")

    class StopsAtTheFirstAnswer(Silent):
        calls = 0

        def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
            self.calls += 1
            assert not stop.is_set, "no work after the stop"
            if done:
                stop.set(15)

    stop = StopFlag()
    answers = answered(model, batch_tokens=400, stop=stop, listener=StopsAtTheFirstAnswer())
    assert [] in answers
    assert any(answers)
    assert all(answer in ([], right) for answer, right in zip(answers, truth, strict=True))


def test_a_stop_before_the_start_reads_no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, stop = Watch(monkeypatch), StopFlag()
    stop.set(2)
    assert answered(make_tiny(), stop=stop) == [[]] * len(LENGTHS)
    assert not watch.starts


def test_progress_counts_every_answer_once_up_to_all_of_them() -> None:
    model, truth = oracle("qwen2")
    seen: list[tuple[str, int, int]] = []

    class Counts(Silent):
        def progress(self, label: str, done: int, total: int, detail: str = "") -> None:
            seen.append((label, done, total))

    answered(model, batch_tokens=400, listener=Counts(), label="samples")
    assert {(label, total) for label, _, total in seen} == {("samples", len(truth))}
    done = [count for _, count, _ in seen]
    assert done == sorted(done)
    assert done[-1] == len(truth)


def decode_with(model: Any) -> Any:
    return decoding(model, Limits(STOP_IDS, NEW_TOKENS), prompts=prompts(), pad_id=PAD, listener=Silent())


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_as_before_after_it_answered_or_failed(fails: bool) -> None:
    register_attention()
    model = make_tiny()
    model.set_attn_implementation(SEGMENTS)
    model.train()
    with pytest.raises(KeyError) if fails else torch.no_grad(), decode_with(model) as decoder:
        assert isinstance(decoder, SlotDecoder)
        assert not model.training
        assert model.config._attn_implementation == ROWS
        if fails:
            raise KeyError
    assert model.training
    assert model.config._attn_implementation == SEGMENTS


def test_only_models_whose_layers_all_see_every_token_have_rows_that_join() -> None:
    assert sees_every_token(make_tiny("qwen2").config)
    assert sees_every_token(make_tiny("llama").config)
    for kind in ("a window", "capped scores"):
        model = MODELS[kind]()
        assert not sees_every_token(model.config)
        with decode_with(model) as decoder:
            assert isinstance(decoder, PaddedDecoder)
            assert not decoder.can_join
