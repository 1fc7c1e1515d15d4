"""What the trained model says of the held-out rows: its logits, and its answers to some of the questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.export.check_rows import CheckRow, CheckRows
from luthier.export.logits import ATTENTION, KeptLogits, choose_positions, keep_logits
from luthier.export.room import choose_place
from luthier.export.save import DTYPES
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.knowledge.model_folder import ModelFacts
from luthier.measure.metrics import score_rows
from luthier.measure.parity import same_share
from luthier.modelling.device import choose_device
from luthier.modelling.generate import generate_answers
from luthier.modelling.load import load_base

SHARE_TOKENS = 48
"""How much of an answer is asked for the share that is the same: far on, two models that part once are no longer comparable."""


@dataclass(frozen=True)
class Truth:
    """The trained model's side of every comparison."""

    rows: tuple[CheckRow, ...]
    stop_ids: tuple[int, ...]
    """Where an answer ends: the tokenizer's end of text, its ends of a turn, and those of generation_config.json."""
    logits: KeptLogits
    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    """Without the token that ends them."""
    expected: tuple[str, ...] = ()
    """The right answers to the prompts."""
    answer_end: str = ""
    """The text that ends an answer, and is no part of it."""
    new_tokens: int = 0
    """The longest answer that was asked for."""

    def same_share(self, theirs: Sequence[Sequence[int]]) -> float | None:
        """The share of the longer of both answers' first tokens that both begin with; None of no answers."""
        firsts = [[answer[:SHARE_TOKENS] for answer in answers] for answers in (self.answers, theirs)]
        return same_share(*firsts)

    def spoken(self, answer: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
        """An answer as text."""
        text = str(tokenizer.decode(list(answer), skip_special_tokens=True))
        return text.partition(self.answer_end)[0] if self.answer_end else text

    def task_metrics(
        self, theirs: Sequence[str], tokenizer: PreTrainedTokenizerBase
    ) -> dict[str, tuple[float, float]]:
        """Every metric of an evaluation over the answers: ours, and the texts `theirs` to the same prompts."""
        if not self.prompts:
            return {}
        ours = [self.spoken(answer, tokenizer) for answer in self.answers]
        before, after = (score_rows(self.expected, texts).values() for texts in (ours, theirs))
        return {name: (value, after[name]) for name, value in before.items() if name in after}


def load_merged(folder: Path, facts: ModelFacts, recipe: Recipe) -> PreTrainedModel:
    """The merged model, in fp32 where memory allows. Raises EnvironmentFault if memory is short."""
    stored = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}.get(facts.dtype, "fp32")
    place = choose_place(
        facts.parameters, device=choose_device(recipe.model.device), stored=stored, must_be_exact=False
    )
    return load_base(folder, dtype=DTYPES[place.dtype], device=place.device, attention=ATTENTION)


def ask(
    model: Any,
    recipe: Recipe,
    rows: CheckRows,
    tokenizer: PreTrainedTokenizerBase,
    *,
    whose: str,
    answers: int | None = None,
    work: Path,
    listener: Listener,
    stop: StopFlag | None,
) -> Truth:
    """Keep the logits of a model that is in memory, whole or with adapters, in `work`, and let it answer.

    `answers` is how many questions are asked, `export.gguf.answers` unless it is given.
    """
    vocabulary = int(model.get_output_embeddings().weight.shape[0])
    compared = choose_positions([row.ids for row in rows.rows], vocabulary=vocabulary)
    logits = keep_logits(
        model, compared, work / "truth.f32", label=f"logits of {whose}", listener=listener, stop=stop
    )
    most = recipe.evaluate.max_prompt_tokens
    ends = tuple(dict.fromkeys([*rows.stop_ids, *_generation_ends(model)]))
    questions = rows.questions[: recipe.export.gguf.answers if answers is None else answers]
    prompts = tuple(row.prompt[-most:] for row in questions)
    given: list[list[int]] = []
    if prompts:
        with torch.inference_mode():
            given = generate_answers(
                model,
                prompts,
                stop_ids=ends,
                pad_id=tokenizer.pad_token_id or 0,
                max_new_tokens=recipe.evaluate.max_new_tokens,
                batch_tokens=recipe.evaluate.batch_tokens,
                listener=listener,
                stop=stop,
                label=f"answers of {whose}",
            )
    spoken = tuple(tuple(token for token in answer if token not in ends) for answer in given)
    return Truth(
        tuple(row for row in rows.rows if row.ids),
        ends,
        logits,
        prompts,
        spoken,
        tuple(row.expected for row in questions),
        rows.answer_end,
        recipe.evaluate.max_new_tokens,
    )


def _generation_ends(model: Any) -> tuple[int, ...]:
    """The end-of-text ids of the folder's generation_config.json: none, one or several."""
    ids = model.generation_config.eos_token_id if model.generation_config is not None else None
    if ids is None:
        return ()
    return (ids,) if isinstance(ids, int) else tuple(ids)
