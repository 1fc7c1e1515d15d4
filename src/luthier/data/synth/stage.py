"""Ask a model for rows: a prompt for each seed, answers into a journal, rows from the journal.

What can be wrong is looked for before the first token is paid for: every seed is read and every prompt rendered once.
"""

import asyncio
import hashlib
import json
import time
from typing import Any

from luthier.data.dedup.sketch import find_engine
from luthier.data.dedup.stage import check_threshold
from luthier.data.synth.asking import Session, guess_tokens, no_answers
from luthier.data.synth.endpoint import Endpoint, check_address, is_loopback, read_key
from luthier.data.synth.journal import Journal
from luthier.data.synth.judge import Judge
from luthier.data.synth.places import Places, one_file
from luthier.data.synth.prompts import Message, Prompts, load_prompts
from luthier.data.synth.seeds import read_askings, read_seeds
from luthier.data.synth.settle import Settled, settle
from luthier.data.synth.task import SynthTask
from luthier.floor.errors import DataError, UsageError
from luthier.floor.files import read_json, sha256_of
from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.floor.units import count_of
from luthier.reports.provenance import gather_provenance
from luthier.reports.synth import SynthPlan, SynthReport
from luthier.text.problems import LineFault, Problems
from luthier.text.row_files import find_row_files

__all__ = ["plan_synth", "synth"]

PROMPTS_SHOWN = 3


def plan_synth(task: SynthTask) -> SynthPlan:
    """What would be asked, without a word sent or a file written; raises what `synth` would before it asks."""
    prompts, journal, wanted = _prepare(task)
    there = prompt_tokens = 0
    if Places(task.out).journal.is_file() and not task.overwrite:
        journal.peek(_header(task, prompts))
    first: list[list[Message]] = []
    for asking in read_askings(task.seeds, rows=task.rows):
        messages = prompts.messages(asking.seed)
        if len(first) < PROMPTS_SHOWN:
            first.append(messages)
        if journal.wants(asking.key):
            prompt_tokens += guess_tokens(messages)
        else:
            there += 1
    return SynthPlan(
        model=task.model,
        endpoint=check_address(task.endpoint),
        format=prompts.form(task.form),
        answers_wanted=wanted,
        answers_there=there,
        prompt_tokens_guessed=prompt_tokens,
        answer_tokens_at_most=(wanted - there) * task.sampling.answer_tokens,
        first_prompts=first,
    )


def synth(task: SynthTask, *, listener: Listener | None = None, stop: StopFlag | None = None) -> SynthReport:
    """Ask for what the journal lacks, then write rows, ledger and report.

    Raises UsageError and DataError before anything is sent, EnvironmentFault (env-endpoint) if the endpoint answers nothing,
    Interrupted after a signal. What was answered is kept in every case, and the same call goes on from there.
    """
    listener, stop, started = listener or Silent(), stop or StopFlag(), time.perf_counter()
    prompts, journal, wanted = _prepare(task)
    key, places = read_key(task.key_variable), Places(task.out)
    if key and task.endpoint.startswith("http:") and not is_loopback(task.endpoint):
        listener.warn("the key travels over http, which anyone on the way can read; https hides it")
    _check_output(places, overwrite=task.overwrite)
    with journal.open(_header(task, prompts), anew=task.overwrite):
        session = Session(task, prompts, journal, read_askings(task.seeds, rows=task.rows), wanted)
        asyncio.run(_ask(session, key, listener, stop))
        if not journal.answers and session.unanswered:
            raise no_answers(task.endpoint, session.last_problem)
        if not journal.answers:
            raise _no_budget(task)
        askings = read_askings(task.seeds, rows=task.rows)
        form = prompts.form(task.form)
        books = settle(task, form, prompts, journal, askings, listener=listener, stop=stop)
        report = _report(task, prompts, session, books, time.perf_counter() - started)
        report.write(places.report)
    _warn(report, session, listener)
    return report


async def _ask(session: Session, key: str | None, listener: Listener, stop: StopFlag) -> None:
    task = session.task
    async with Endpoint(task.endpoint, key=key, patience=task.patience, say=listener.say) as endpoint:
        await session.run(endpoint, listener, stop)


def _prepare(task: SynthTask) -> tuple[Prompts, Journal, int]:
    """Judge everything that can be judged without asking; returns how many answers are wanted too."""
    if task.out.is_dir():
        what = f"{task.out} is a folder"
        raise UsageError("usage", what, where="--out", fix="Name a file: --out rows.jsonl")
    check_address(task.endpoint)
    prompts = load_prompts(task.template)
    prompts.form(task.form)
    for path in task.against:
        if any(file.resolve() == task.out.resolve() for file in find_row_files(path, by_recipe=False)):
            what = f"{task.out} would be held against itself"
            raise UsageError("usage", what, where="--against", fix="Name the files apart from --out.")
    if not task.exact_only:
        check_threshold(task.threshold)
        find_engine()
    count, problems = 0, Problems()
    for seed in read_seeds(task.seeds):
        count += 1
        try:
            prompts.messages(seed)
        except DataError as fault:
            problems.add(seed.origin, LineFault(fault.code, fault.what, fix=fault.fix))
    problems.raise_if_any()
    journal = Journal(Places(task.out).journal, Judge(task.checks), task.checks.attempts)
    return prompts, journal, task.rows or count


def _header(task: SynthTask, prompts: Prompts) -> dict[str, Any]:
    """What answers belong together by."""
    return {
        "template": prompts.digest,
        "model": task.model,
        "endpoint": check_address(task.endpoint),
        "settings": task.sampling.fields(),
    }


def _check_output(places: Places, *, overwrite: bool) -> None:
    """Raise UsageError if the rows would replace something else than what this command wrote."""
    if overwrite or not places.rows.exists():
        return
    if not places.journal.exists():
        fix = "Name another file by --out, or replace this one: --overwrite"
        raise UsageError("usage", f"{places.rows} is there already", where="--out", fix=fix)
    written = read_json(places.report).get("output_sha256") if places.report.is_file() else None
    if written is not None and written != sha256_of(places.rows):
        raise UsageError(
            "usage",
            f"{places.rows} was changed since it was written",
            where="--out",
            fix=f"Keep your changes under another name, then type the same line again: mv {places.rows} FILE",
        )


def _report(
    task: SynthTask, prompts: Prompts, session: Session, books: Settled, seconds: float
) -> SynthReport:
    journal, places = session.journal, Places(task.out)
    assert books.missing == session.unanswered + session.not_asked, "what is missing was not answered"
    assert session.total == books.rows + books.dropped.total() + books.missing, "the books balance"
    seeds_sha256 = sha256_of(one_file(task.seeds, "--seeds"))
    inputs = [_header(task, prompts), seeds_sha256, task.rows]
    return SynthReport(
        inputs_hash=hashlib.sha256(json.dumps(inputs).encode()).hexdigest(),
        seconds=seconds,
        provenance=gather_provenance(),
        template=str(task.template),
        template_sha256=prompts.digest,
        seeds=str(task.seeds),
        seeds_sha256=seeds_sha256,
        endpoint=check_address(task.endpoint),
        model=task.model,
        settings=task.sampling.fields(),
        format=prompts.form(task.form),
        answers_wanted=session.total,
        rows=books.rows,
        dropped=dict(books.dropped.most_common()),
        unanswered=session.unanswered,
        not_asked=session.not_asked,
        answers=journal.answers,
        requests=session.requests,
        prompt_tokens=journal.spent.prompt_tokens,
        completion_tokens=journal.spent.completion_tokens,
        answers_without_usage=journal.spent.answers_without_usage,
        output=str(places.rows),
        output_sha256=sha256_of(places.rows),
        journal=str(places.journal),
        dropped_file=str(places.dropped),
    )


def _no_budget(task: SynthTask) -> UsageError:
    return UsageError(
        "usage",
        f"--most-tokens {task.most_tokens} allows no prompt: one answer may take {task.sampling.answer_tokens:,}",
        where="--most-tokens",
        fix="Allow more, or shorter answers: --answer-tokens. What all would cost: --dry-run",
    )


def _warn(report: SynthReport, session: Session, listener: Listener) -> None:
    if report.unanswered:
        listener.warn(
            f"{count_of(report.unanswered, 'prompt')} got no answer ({session.last_problem}); type the same line again"
        )
    if report.not_asked:
        listener.warn(
            f"{count_of(report.not_asked, 'prompt')} {'was' if report.not_asked == 1 else 'were'} not sent: --most-tokens {session.task.most_tokens:,} is spent"
        )
    if report.answers_without_usage:
        listener.warn(
            f"the endpoint did not count the tokens of {report.answers_without_usage:,} answers; they are guessed"
        )
