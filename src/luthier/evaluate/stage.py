"""The evaluate stage: one model answers the held-out rows, and every figure comes with its interval.

Writes <run>/evaluate/<subject>/: predictions.jsonl with every row, then report.json.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.evaluate.likelihood import measure_likelihoods
from luthier.evaluate.predictions import REPORT, Prediction, write_predictions
from luthier.evaluate.questions import REPEAT, STOPPED, QuestionSet, read_questions
from luthier.evaluate.score import estimate, likelihood_metrics
from luthier.evaluate.subject import Subject, find_subject
from luthier.floor.files import disk_faults
from luthier.floor.log import Listener, Silent
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.measure.metrics import Scores, score_rows
from luthier.measure.ngrams import bleu_signature, chrf_signature
from luthier.modelling.attention import choose_attention
from luthier.modelling.device import Precision, choose_device, choose_precision, describe_device
from luthier.modelling.generate import generate_answers
from luthier.reports.evaluate import EvaluateReport
from luthier.reports.provenance import gather_provenance
from luthier.text.tokenizer import hash_tokenizer, load_tokenizer


@dataclass(frozen=True)
class Exam:
    """What one evaluation works with."""

    recipe: Recipe
    subject: Subject
    tokenizer: PreTrainedTokenizerBase
    questions: QuestionSet
    most_new_tokens: int
    context_tokens: int
    device: torch.device
    precision: Precision
    attention: str
    listener: Listener
    stop: StopFlag


@dataclass(frozen=True)
class Answers:
    """What the model wrote, and how fast."""

    texts: tuple[str, ...]
    finished: tuple[bool, ...]
    new_tokens_per_second: float


def evaluate(
    recipe: Recipe,
    run: RunDir,
    *,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    again: bool = False,
    model_folder: Path | None = None,
    subject: str | None = None,
) -> EvaluateReport:
    """Judge the tuned model of a run, its base, its merged model, or any model folder, on the rows of `evaluate.path`.

    The same model on the same rows with the same settings is not judged twice, unless `again`.
    Raises UsageError, DataError, ModelError or EnvironmentFault before anything is generated, and nothing is left half-written.
    """
    started = time.perf_counter()
    found = find_subject(recipe, run, name=subject, model_folder=model_folder)
    exam = set_exam(recipe, run, found, listener or Silent(), stop or StopFlag())
    folder, inputs_hash = run.stage("evaluate") / found.name, hash_inputs(exam)
    if not again and (folder / REPORT).is_file():
        report = EvaluateReport.read(folder / REPORT)
        if report.inputs_hash == inputs_hash:
            return report
    predictions, scores, answers = sit(exam)
    metrics = (scores.corpus if scores else {}) | likelihood_metrics(predictions)
    with disk_faults(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # A report never stands beside predictions that are not its own.
        (folder / REPORT).unlink(missing_ok=True)
    write_predictions(folder, predictions)
    return EvaluateReport(
        inputs_hash=inputs_hash,
        seconds=time.perf_counter() - started,
        provenance=gather_provenance(device=describe_device(exam.device)),
        subject=found.name,
        model=str(found.folder),
        rows=len(predictions),
        prompts_cut=sum(question.prompt_is_cut for question in exam.questions.questions),
        answers_unfinished=sum(prediction.finished is False for prediction in predictions),
        metrics=estimate(metrics, recipe.evaluate, seed=recipe.train.seed),
        bleu_signature=bleu_signature(),
        chrf_signature=chrf_signature(),
        new_tokens_per_second=answers.new_tokens_per_second if answers else 0.0,
        data_sha256=exam.questions.sha256,
    ).write(folder / REPORT)


def set_exam(recipe: Recipe, run: RunDir, subject: Subject, listener: Listener, stop: StopFlag) -> Exam:
    """Read the rows and choose where to compute; no model is loaded yet."""
    if recipe.train.threads:
        torch.set_num_threads(recipe.train.threads)
    device = choose_device(recipe.model.device)
    precision = choose_precision("auto", device)
    context = subject.context_tokens()
    # Half the context at most is kept for the answer, so that a short context still sees the question.
    new_tokens = min(recipe.evaluate.max_new_tokens, context // 2)
    if new_tokens < recipe.evaluate.max_new_tokens:
        listener.warn(f"answers are cut at {new_tokens} tokens: the model looks at {context} tokens only")
    tokenizer = load_tokenizer(subject.tokenizer_folder)
    most_prompt_tokens = max(1, min(recipe.evaluate.max_prompt_tokens, context - new_tokens))
    questions = read_questions(recipe, run, tokenizer, most_prompt_tokens=most_prompt_tokens, stop=stop)
    attention = choose_attention(
        recipe.model.attention,
        device,
        computes_in_fp32=precision.name == "fp32",
        config=subject.config(),
    )
    return Exam(
        recipe,
        subject,
        tokenizer,
        questions,
        new_tokens,
        context,
        device,
        precision,
        attention,
        listener,
        stop,
    )


def hash_inputs(exam: Exam) -> str:
    """Hash of everything that decides the figures."""
    settings = exam.recipe.evaluate
    facts = {
        "model": exam.subject.fingerprint(),
        "rows": exam.questions.sha256,
        "tokenizer": hash_tokenizer(exam.tokenizer),
        "template": exam.questions.template,
        "computed": [exam.device.type, exam.precision.name],
        "tokens": [settings.max_prompt_tokens, settings.max_new_tokens],
        "intervals": [settings.bootstrap_samples, settings.confidence, exam.recipe.train.seed],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def sit(exam: Exam) -> tuple[list[Prediction], Scores | None, Answers | None]:
    """Load the model, let it answer and foretell every row, and score it."""
    questions = exam.questions.questions
    exam.listener.say(
        f"evaluating {exam.subject.name} on {len(questions):,} rows of {exam.recipe.evaluate.path}; "
        f"{describe_device(exam.device)}, {exam.precision.name}"
    )
    model = exam.subject.load(dtype=exam.precision.dtype, device=exam.device, attention=exam.attention)
    answers = answer(exam, model) if exam.questions.are_asked else None
    likelihoods = measure_likelihoods(
        model,
        questions,
        attention=exam.attention,
        context_tokens=exam.context_tokens,
        device=exam.device,
        listener=exam.listener,
        stop=exam.stop,
    )
    scores = score_rows([question.expected for question in questions], answers.texts) if answers else None
    predictions = [
        Prediction(
            row=row,
            origin=question.origin,
            prompt=question.prompt,
            expected=question.expected,
            generated=answers.texts[row] if answers else None,
            finished=answers.finished[row] if answers else None,
            nll_nats=float(likelihoods.nll_N[row]),
            tokens=int(likelihoods.tokens_N[row]),
            bytes=question.expected_bytes,
            scores=scores.rows[row].as_dict() if scores else {},
        )
        for row, question in enumerate(questions)
    ]
    return predictions, scores, answers


def answer(exam: Exam, model: PreTrainedModel) -> Answers:
    """Greedy answers to every question."""
    tokenizer = exam.tokenizer
    started = time.perf_counter()
    answers = generate_answers(
        model,
        [question.prompt_ids for question in exam.questions.questions],
        stop_ids=exam.questions.stop_ids,
        pad_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
        max_new_tokens=exam.most_new_tokens,
        batch_tokens=exam.recipe.evaluate.batch_tokens,
        listener=exam.listener,
        stop=exam.stop,
        label=f"answers of {exam.subject.name}",
    )
    seconds = time.perf_counter() - started
    exam.stop.check(STOPPED, fix=REPEAT)
    read = [
        read_answer(tokenizer, ids, exam.questions.stop_ids, exam.questions.answer_end) for ids in answers
    ]
    return Answers(
        texts=tuple(text for text, _ in read),
        finished=tuple(finished for _, finished in read),
        new_tokens_per_second=sum(len(ids) for ids in answers) / max(seconds, 1e-9),
    )


def read_answer(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], stop_ids: Sequence[int], answer_end: str = ""
) -> tuple[str, bool]:
    """An answer as text, and whether it came to its end by itself; what ends it is no part of the text.

    The text is just what the tokens spell: some tokenizers would otherwise tidy spaces before commas away.
    """
    finished = bool(ids) and ids[-1] in stop_ids
    spoken = list(ids[:-1] if finished else ids)
    text = str(tokenizer.decode(spoken, skip_special_tokens=True, clean_up_tokenization_spaces=False))
    if answer_end and answer_end in text:
        return text[: text.index(answer_end)], True
    return text, finished
