"""Slots of fixed number and size, looked at now and then, and prefixes read once: the same answers as rows one by one.

What CUDA replays from a recording is here stepped by itself, over all slots and columns as a replay is; tests/gpu has the recordings.
"""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.floor.log import Recorder, Silent
from luthier.modelling import slot_decoder
from luthier.modelling.generate import generate_answers
from luthier.modelling.slot_decoder import LEAST_PREFIX, Limits, SlotDecoder, shared_prefix
from luthier.modelling.slots import Slots
from tests.modelling.test_generate import NEW_TOKENS, PAD, STOP_IDS, answered, oracle, prompts
from tests.tiny import make_tiny

pytestmark = pytest.mark.slow


class Replay:
    """Does what a replayed recording does: a step of all slots over all columns, whoever is under way."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots

    def replay(self) -> None:
        self.slots._graph = None
        self.slots.step(self.slots.cache.slots, self.slots.cache.columns)
        self.slots._graph = self  # type: ignore[assignment]

    def reset(self) -> None:
        """Nothing was recorded."""


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Steps are taken as on CUDA; returns the shapes for which one was recorded, as they come."""
    shapes: list[tuple[int, int]] = []

    def record(slots: Slots) -> None:
        shapes.append((slots.cache.slots, slots.cache.columns))
        slots._graph = Replay(slots)  # type: ignore[assignment]

    monkeypatch.setattr(Slots, "can_record", True)
    monkeypatch.setattr(Slots, "record_step", record)
    monkeypatch.setattr(slot_decoder, "STEPS_BETWEEN_LOOKS", {"cpu": 4})
    return shapes


@pytest.mark.oracle
@pytest.mark.parametrize("batch_tokens", [10_000, 400, 1])
@pytest.mark.parametrize("kind", ["qwen2", "llama", "qwen2 with an adapter"])
def test_slots_of_fixed_number_answer_as_rows_alone(
    kind: str, batch_tokens: int, replays: list[tuple[int, int]]
) -> None:
    model, truth = oracle(kind)
    assert answered(model, batch_tokens=batch_tokens) == truth
    assert replays, "steps were replayed"


def test_one_recording_serves_rows_that_leave_and_join(replays: list[tuple[int, int]]) -> None:
    model, truth = oracle("qwen2")
    # Four slots beside a prompt of 90 tokens; the short ones that come later would fit more, but not twice as many.
    assert answered(model, batch_tokens=4 * (90 + NEW_TOKENS)) == truth
    assert replays == [(4, 128)]


def test_twice_the_rows_are_worth_another_recording(replays: list[tuple[int, int]]) -> None:
    model, truth = oracle("qwen2")
    assert answered(model, batch_tokens=1 * (90 + NEW_TOKENS)) == truth
    assert replays == [(1, 128), (2, 64), (4, 64)], "one long row first, then ever more short ones"


def test_short_answers_are_not_worth_a_recording(replays: list[tuple[int, int]]) -> None:
    model, truth = oracle("qwen2")
    assert answered(model, max_new_tokens=4) == [answer[:4] for answer in truth]
    assert not replays


def test_a_step_that_cannot_be_recorded_is_told_and_taken_all_the_same(
    replays: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, truth = oracle("qwen2")

    def refuse(slots: Slots) -> None:
        raise RuntimeError("called a synchronizing CUDA operation\nand more")

    monkeypatch.setattr(Slots, "record_step", refuse)
    listener = Recorder()
    assert answered(model, batch_tokens=400, listener=listener) == truth
    assert listener.warnings == [
        "each step of the answers is launched kernel by kernel, which is slower: called a synchronizing CUDA operation"
    ]


@pytest.mark.parametrize("steps", [2, 4, 7, 100])
def test_looking_seldom_changes_no_answer(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_decoder, "STEPS_BETWEEN_LOOKS", {"cpu": steps})
    model, truth = oracle("qwen2")
    assert answered(model) == truth
    assert answered(model, batch_tokens=400) == truth


def test_prompts_longer_than_a_pass_are_read_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slot_decoder, "READ_TOGETHER", {"cpu": 40})
    model, truth = oracle("llama")
    assert answered(model) == truth


def with_prefix(tokens: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(12)
    prefix = torch.randint(0, 290, (tokens,), generator=generator).tolist()
    return [[*prefix, *prompt] for prompt in prompts()]


def asked(model: Any, asked_prompts: list[list[int]], *, batch_tokens: int) -> list[list[int]]:
    return generate_answers(
        model,
        asked_prompts,
        stop_ids=STOP_IDS,
        pad_id=PAD,
        max_new_tokens=NEW_TOKENS,
        batch_tokens=batch_tokens,
    )


@pytest.mark.parametrize("batch_tokens", [10_000, 900, 1])
@pytest.mark.parametrize("kind", ["qwen2", "llama", "llama with an adapter"])
def test_a_shared_prefix_is_read_once_and_changes_no_answer(
    kind: str, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, _ = oracle(kind)
    read: list[int] = []
    whole, first = Slots.read_prompts, Slots.read_prefix

    def watched_whole(slots: Slots, some: Any, places: Any) -> None:
        read.extend(map(len, some))
        whole(slots, some, places)

    def watched_first(slots: Slots, prefix: Any) -> Any:
        read.append(len(prefix))
        return first(slots, prefix)

    monkeypatch.setattr(Slots, "read_prompts", watched_whole)
    monkeypatch.setattr(Slots, "read_prefix", watched_first)
    few_shot = with_prefix(100)
    shared = asked(model, few_shot, batch_tokens=batch_tokens)
    assert read == [100]
    monkeypatch.setattr("luthier.modelling.decoders.shared_prefix", lambda _: ())
    assert shared == asked(model, few_shot, batch_tokens=batch_tokens)
    assert sorted(read[1:]) == sorted(map(len, few_shot))


def test_a_shared_prefix_serves_replayed_steps_too(replays: list[tuple[int, int]]) -> None:
    model, _ = oracle("qwen2")
    few_shot = with_prefix(80)
    truth = [asked(model, [prompt], batch_tokens=1)[0] for prompt in few_shot]
    replays.clear()
    assert asked(model, few_shot, batch_tokens=900) == truth
    assert replays


def test_prompts_that_are_all_the_same_keep_a_token_to_answer_behind() -> None:
    model, _ = oracle("qwen2")
    same = with_prefix(100)[:1] * 3
    assert asked(model, same, batch_tokens=10_000) == [asked(model, same[:1], batch_tokens=1)[0]] * 3


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 2 * LEAST_PREFIX),
    st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5), min_size=1, max_size=6),
)
def test_a_shared_prefix_is_the_longest_that_leaves_a_token(common: int, rests: list[list[int]]) -> None:
    whole = [[7] * common + rest for rest in rests]
    prefix = list(shared_prefix(whole))
    longest = 0
    while len(whole) > 1 and all(
        len(row) > longest + 1 and row[longest] == whole[0][longest] for row in whole
    ):
        longest += 1
    assert prefix == (whole[0][:longest] if longest >= LEAST_PREFIX else [])


def test_rows_behind_gaps_move_forward_when_nobody_waits_for_the_gaps() -> None:
    model, truth = oracle("qwen2")
    decoder = SlotDecoder(model, Limits(STOP_IDS, NEW_TOKENS), listener=Silent())
    model.config._attn_implementation, before = "luthier_rows", model.config._attn_implementation
    answers: dict[int, list[int]] = {}
    most = 0
    try:
        with torch.no_grad():
            decoder.start(range(len(truth)), prompts())
            while decoder.prompt_lengths:
                answers |= dict(decoder.advance())
                most = max(most, len(decoder.rows) - len(decoder.prompt_lengths))
    finally:
        model.config._attn_implementation = before
    assert [answers[index] for index in range(len(truth))] == truth
    assert most > 0, "there were gaps"


def test_memory_is_given_back_at_the_end() -> None:
    slots = Slots(make_tiny(), stop_ids=[0], most_new_tokens=4)
    slots.resize(2, 8)
    slots.cache.layer(0, torch.zeros(1, 2, 1, 8), torch.zeros(1, 2, 1, 8))
    slots.close()
    assert not slots.cache.keys
