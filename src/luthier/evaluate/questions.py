"""The held-out rows as questions: what the model is asked, what it should answer, and the tokens of both.

A question's prompt is what generation starts from; its ids are prompt and expected answer as training renders them, for the loss.
Plain texts have no prompt: nothing is generated for them, their whole text is foretold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from transformers import PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.evaluate.predictions import hash_rows
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.text.problems import LineFault, Problems
from luthier.text.render import RenderedBlock, Renderer, Template, choose_template
from luthier.text.rows import Row, read_held_out

ROWS_A_BLOCK = 1000
STOPPED = "the evaluation was stopped; nothing of it is kept"
REPEAT = "Repeat the command; it starts again from the first row."


@dataclass(frozen=True)
class Question:
    """One held-out row, ready to be asked."""

    origin: str
    prompt: str
    expected: str
    prompt_ids: tuple[int, ...]
    """Empty for a plain text."""
    ids: tuple[int, ...]
    is_target: npt.NDArray[np.bool_]
    """Which of `ids` the expected answer is made of."""
    prompt_is_cut: bool

    @property
    def expected_bytes(self) -> int:
        return len(self.expected.encode())


@dataclass(frozen=True)
class QuestionSet:
    """The questions of one evaluation."""

    questions: tuple[Question, ...]
    template: Template
    stop_ids: tuple[int, ...]
    answer_end: str = ""
    """The text that ends an answer before the token that does, and is no part of it."""

    @property
    def are_asked(self) -> bool:
        """Whether there is something to generate; plain texts are only foretold."""
        return bool(self.questions[0].prompt_ids)

    @property
    def sha256(self) -> str:
        """Hash of what is asked and expected, by which two evaluations are told to be of the same rows."""
        return hash_rows((question.prompt, question.expected) for question in self.questions)


def read_questions(
    recipe: Recipe,
    run: RunDir,
    tokenizer: PreTrainedTokenizerBase,
    *,
    most_prompt_tokens: int,
    stop: StopFlag,
) -> QuestionSet:
    """The rows of `evaluate.path`, rendered as the run's training rows were; prompts keep their last `most_prompt_tokens`.

    Raises DataError if there are none, if they cannot be read, or if one has no answer to compare with.
    """
    settings = recipe.evaluate
    rows = read_held_out(Path(settings.path), recipe.data, settings.format)
    listed = list(islice(rows, settings.most_rows or None))
    refuse_rows_without_answer(listed)
    template = choose_run_template(recipe, run, listed[0])
    renderer = Renderer(tokenizer, template=template, train_on="last")
    questions: list[Question] = []
    for start in range(0, len(listed), ROWS_A_BLOCK):
        stop.check(STOPPED, fix=REPEAT)
        block = listed[start : start + ROWS_A_BLOCK]
        questions += make_questions(renderer, block, tokenizer, most_prompt_tokens=most_prompt_tokens)
    return QuestionSet(tuple(questions), template, renderer.stop_ids, renderer.answer_end)


def choose_run_template(recipe: Recipe, run: RunDir, first: Row) -> Template:
    """The template that the run's rows were prepared with, where it prepared some; else what the recipe says.

    Plain texts have but one rendering, so a run on conversations can still be asked to foretell a text.
    """
    if first.kind == "text":
        return "guide"
    if run.report("data").is_file() and first.kind != "preference":
        template = DataReport.read(run.report("data")).template
        if template == "guide_chat":
            return "guide_chat"
        return "chat" if first.kind == "messages" or template == "chat" else "guide"
    return choose_template(recipe.data.template, first.kind)


def refuse_rows_without_answer(rows: Sequence[Row]) -> None:
    """Raise DataError listing the conversations that no assistant answers."""
    problems = Problems()
    for row in rows:
        if row.kind == "messages" and not any(message.role == "assistant" for message in row.messages):
            fault = LineFault(
                "data-field", "has no answer of the assistant, so there is nothing to compare with"
            )
            problems.add(row.origin, fault)
    problems.raise_if_any()


def make_questions(
    renderer: Renderer, rows: Sequence[Row], tokenizer: PreTrainedTokenizerBase, *, most_prompt_tokens: int
) -> Iterator[Question]:
    """The questions of rows of one kind, in order."""
    asks = rows[0].kind != "text"
    prompts = renderer.render_prompts(rows) if asks else [[] for _ in rows]
    for row, prompt, (ids, is_target) in zip(
        rows, prompts, split_block(renderer.render_block(rows)), strict=True
    ):
        prompt_tokens = int(np.argmax(is_target)) if asks else 0
        too_long = max(0, prompt_tokens - most_prompt_tokens)
        yield Question(
            origin=row.origin,
            prompt=spell_prompt(row, prompt, tokenizer),
            expected=renderer.expected(row) if asks else row.text,
            prompt_ids=tuple(prompt[-most_prompt_tokens:]),
            ids=tuple(ids[too_long:]),
            is_target=is_target[too_long:],
            prompt_is_cut=len(prompt) > most_prompt_tokens,
        )


def spell_prompt(row: Row, prompt: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    """The prompt as a person reads it: the row's own, or the conversation as the template writes it."""
    if row.kind == "prompt_completion":
        return row.prompt
    return str(tokenizer.decode(list(prompt), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def split_block(block: RenderedBlock) -> Iterator[tuple[list[int], npt.NDArray[np.bool_]]]:
    """Ids and mask of each row of a block."""
    ends = np.cumsum(block.lengths_N)
    for start, end in zip(ends - block.lengths_N, ends, strict=True):
        yield block.ids_T[start:end].tolist(), block.trained_T[start:end]
