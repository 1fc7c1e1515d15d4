"""Packed losses against the plainest way there is: every row by itself through the whole model."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from luthier.evaluate import likelihood
from luthier.evaluate.likelihood import Likelihoods, cut, measure_likelihoods
from luthier.evaluate.questions import Question
from luthier.floor.errors import Interrupted, ModelError
from luthier.floor.log import Silent
from luthier.floor.stop import StopFlag
from luthier.modelling.load import load_base

CPU = torch.device("cpu")


def random_questions(count: int, *, shortest: int = 4, longest: int = 30, seed: int = 0) -> list[Question]:
    generator = np.random.default_rng(seed)
    questions = []
    for row in range(count):
        length = int(generator.integers(shortest, longest + 1))
        prompt = int(generator.integers(1, length - 1))
        ids = tuple(generator.integers(0, 290, size=length).tolist())
        is_target = np.arange(length) >= prompt
        questions.append(Question(f"test.jsonl:{row + 1}", "p", "e", ids[:prompt], ids, is_target, False))
    return questions


def load(base: Path, attention: str) -> torch.nn.Module:
    return load_base(base, dtype=torch.float32, device=CPU, attention=attention)


def measure(model: torch.nn.Module, questions: list[Question], **changes) -> Likelihoods:
    arguments = {
        "attention": model.config._attn_implementation,
        "context_tokens": 512,
        "device": CPU,
        "listener": Silent(),
        "stop": StopFlag(),
    }
    return measure_likelihoods(model, questions, **(arguments | changes))


def losses_one_by_one(model: torch.nn.Module, questions: list[Question]) -> list[float]:
    sums = []
    with torch.no_grad():
        for question in questions:
            ids = torch.tensor([question.ids])
            logits = model(input_ids=ids, use_cache=False).logits[0]
            losses = functional.cross_entropy(logits[:-1].double(), ids[0, 1:], reduction="none")
            sums.append(float(losses[torch.from_numpy(question.is_target[1:])].sum()))
    return sums


@pytest.mark.parametrize("attention", ["luthier_segments", "sdpa", "eager"])
def test_packed_losses_are_those_of_rows_by_themselves(
    tiny_base: Path, attention: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "PACK_TOKENS", {"cpu": 64})
    monkeypatch.setattr(likelihood, "PACK_TOKENS_WITH_MASK", 64)
    questions = random_questions(12)
    found = measure(load(tiny_base, attention), questions)
    assert found.nll_N == pytest.approx(losses_one_by_one(load(tiny_base, "sdpa"), questions), rel=1e-5)
    assert found.tokens_N.tolist() == [int(question.is_target.sum()) for question in questions]


def test_a_row_longer_than_the_context_counts_every_target_once(tiny_base: Path) -> None:
    questions = random_questions(3, shortest=25, longest=40)
    found = measure(load(tiny_base, "luthier_segments"), questions, context_tokens=10)
    assert found.tokens_N.tolist() == [int(question.is_target.sum()) for question in questions]
    for question in questions:
        windows = cut(0, question, 10)
        targets = [
            token
            for window in windows
            for token, is_target in zip(window.ids, window.is_target, strict=True)
            if is_target
        ]
        assert targets == [
            token for token, is_target in zip(question.ids, question.is_target, strict=True) if is_target
        ]
        assert all(len(window.ids) <= 10 for window in windows)
        assert all(before.ids[-1] == after.ids[0] for before, after in itertools.pairwise(windows))


def test_a_row_that_fits_is_one_window(tiny_base: Path) -> None:
    question = random_questions(1)[0]
    (window,) = cut(7, question, 512)
    assert (window.row, window.ids) == (7, question.ids)


def test_a_row_of_one_token_has_nothing_to_foretell(tiny_base: Path) -> None:
    lone = Question("test.jsonl:1", "", "", (), (5,), np.array([False]), False)
    found = measure(load(tiny_base, "luthier_segments"), [lone, *random_questions(1)])
    assert found.tokens_N[0] == 0
    assert found.nll_N[0] == 0
    assert found.nll_N[1] > 0


def test_a_broken_model_is_named_with_the_row(tiny_base: Path) -> None:
    model = load(tiny_base, "luthier_segments")
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite on 2 of 2 rows") as caught:
        measure(model, random_questions(2))
    assert caught.value.code == "mdl-nan"
    assert caught.value.where == "test.jsonl:1"


def test_a_stop_ends_the_losses(tiny_base: Path) -> None:
    stop = StopFlag()
    stop.set(2)
    with pytest.raises(Interrupted):
        measure(load(tiny_base, "luthier_segments"), random_questions(2), stop=stop)
