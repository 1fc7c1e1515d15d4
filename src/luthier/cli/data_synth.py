"""`luthier data synth`: ask a model for rows, one prompt a seed."""

import enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.data.synth.task import SynthTask
    from luthier.reports.synth import SynthPlan, SynthReport

PROMPT_CHARACTERS = 2000


class SynthForm(enum.StrEnum):
    """What answers can become."""

    MESSAGES = "messages"
    PROMPT_COMPLETION = "prompt_completion"


def synth(
    template: Annotated[Path, typer.Argument(metavar="TEMPLATE", help="A text with fields such as {{ topic }}, or YAML with system and user.")],
    seeds: Annotated[Path, typer.Option("--seeds", metavar="FILE", help="What fills the template: JSON lines, a CSV or TSV table, or plain lines ({{ seed }}).")],
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help="An OpenAI-compatible address, such as http://127.0.0.1:8080/v1.")],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help="The model, as the endpoint knows it.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Where the rows go; journal, ledger and report lie beside it.")],
    rows: Annotated[int | None, typer.Option("--n", metavar="N", min=1, help="Ask for so many answers, from the first seed again where they end. Without it, one a seed.", show_default=False)] = None,
    form: Annotated[SynthForm | None, typer.Option("--to", help="What the rows become: messages where a system message is sent, else prompt and completion.", show_default=False)] = None,
    key_from: Annotated[str | None, typer.Option("--key-from", metavar="VARIABLE", help="The environment variable that holds the key.", show_default=False)] = None,
    temperature: Annotated[float, typer.Option("--temperature", min=0.0, help="How freely the model chooses.")] = 0.7,
    answer_tokens: Annotated[int, typer.Option("--answer-tokens", min=1, help="The most tokens of an answer; one that is cut there is left out.")] = 1024,
    setting: Annotated[list[str] | None, typer.Option("--setting", metavar="KEY=VALUE", help="A further field of the request, such as top_p=0.9. May be repeated.", show_default=False)] = None,
    schema: Annotated[Path | None, typer.Option("--schema", metavar="FILE", help="Keep answers that are JSON of this schema.", show_default=False)] = None,
    match: Annotated[str | None, typer.Option("--match", metavar="REGEX", help="Keep answers in which this is found.", show_default=False)] = None,
    attempts: Annotated[int, typer.Option("--attempts", min=1, help="Ask so often for an answer that is not empty and passes the check.")] = 3,
    against: Annotated[list[Path] | None, typer.Option("--against", metavar="FILE", help="Leave out rows that this file or folder has, exactly or nearly. May be repeated.", show_default=False)] = None,
    threshold: Annotated[float, typer.Option("--threshold", help="The Jaccard from which two rows are near, 0.3 to 1.")] = 0.8,
    exact_only: Annotated[bool, typer.Option("--exact-only", help="Leave out exact repeats only.")] = False,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Requests on their way at a time.")] = 4,
    retries: Annotated[int, typer.Option("--retries", min=0, max=20, help="Ask again so often after a fault that may pass.")] = 5,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds that an answer may take.")] = 120.0,
    most_tokens: Annotated[int | None, typer.Option("--most-tokens", metavar="N", min=1, help="Stop asking before prompts and answers together take more tokens.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew: throw away the rows and answers that are there.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the first prompts and what they would cost; send and write nothing.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Ask a model for rows: a prompt for each seed, answers checked, repeats left out, provenance in every row.

    Killed or stopped, the same line typed again goes on; no answer that came is asked for twice.
    """
    from luthier.data.synth.task import Checks, Patience, Sampling, SynthTask

    task = SynthTask(
        template=template, seeds=seeds, endpoint=endpoint, model=model, out=out, rows=rows,
        form=form.value if form else None,
        key_variable=key_from,
        sampling=Sampling(temperature, answer_tokens, settings_of(setting or [])),
        patience=Patience(concurrency, retries, timeout),
        checks=Checks(schema, match, attempts),
        against=tuple(against or ()), threshold=threshold, exact_only=exact_only,
        most_tokens=most_tokens, overwrite=overwrite,
    )  # fmt: skip
    run_task(task, dry_run=dry_run, as_json=as_json)


def run_task(task: "SynthTask", *, dry_run: bool, as_json: bool) -> None:
    """Ask, or show what would be asked."""
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.data.synth.stage import plan_synth
    from luthier.data.synth.stage import synth as synth_stage
    from luthier.floor.stop import StopFlag, listen_for_stop

    if dry_run:
        plan = plan_synth(task)
        return show_json(plan.model_dump(mode="json")) if as_json else show(plan_text(plan, task))
    with listen_for_stop(StopFlag()) as stop:
        report = synth_stage(task, listener=Screen(), stop=stop)
    return show_json(report.model_dump(mode="json")) if as_json else show(report_text(report))


def settings_of(words: list[str]) -> dict[str, Any]:
    """`top_p=0.9` as a field of the request: JSON where it is, else text. Raises UsageError for what the command sets itself."""
    import json

    from luthier.floor.errors import UsageError

    found: dict[str, Any] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign or not name or name in ("model", "messages", "stream", "n") or name in found:
            what = f"--setting {word}: " + (
                "no KEY=VALUE" if not sign or not name else f"{name} is set already"
            )
            raise UsageError("usage", what, where="--setting", fix="For example: --setting top_p=0.9")
        try:
            found[name] = json.loads(value)
        except (ValueError, RecursionError):
            found[name] = value
    return found


def plan_text(plan: "SynthPlan", task: "SynthTask") -> str:
    """The first prompts, and what all of them would take."""
    lines = []
    for number, messages in enumerate(plan.first_prompts, start=1):
        lines.append(f"prompt {number}")
        lines += [f"  {message['role']}: {_cut(message['content'])}" for message in messages]
    to_ask = plan.answers_wanted - plan.answers_there
    there = f", {plan.answers_there:,} of them there already" if plan.answers_there else ""
    lines.append(f"answers    {plan.answers_wanted:,} wanted{there}; {to_ask:,} requests to {plan.endpoint}")
    lines.append(
        f"tokens     about {plan.prompt_tokens_guessed:,} of prompts (four bytes a token), "
        f"at most {plan.answer_tokens_at_most:,} of answers"
    )
    if task.most_tokens is not None:
        lines.append(f"budget     {task.most_tokens:,} tokens")
    lines.append(f"rows       {plan.format}, into {task.out}")
    lines.append("Nothing was sent: this was a dry run.")
    return "\n".join(lines)


def _cut(text: str) -> str:
    shown = (
        text
        if len(text) <= PROMPT_CHARACTERS
        else f"{text[:PROMPT_CHARACTERS]} ... ({len(text):,} characters)"
    )
    return shown.replace("\n", "\n    ")


def report_text(report: "SynthReport") -> str:
    """The books, the tokens, and where everything lies."""
    from luthier.floor.units import format_duration

    left_out = sum(report.dropped.values())
    missing = report.unanswered + report.not_asked
    parts = [
        f"{report.rows:,} rows",
        f"{left_out:,} left out",
        *([f"{missing:,} without an answer"] if missing else []),
    ]
    lines = [f"answers    {report.answers_wanted:,} wanted = {' + '.join(parts)}"]
    lines += [f"           {count:,}  {reason}" for reason, count in report.dropped.items()]
    if report.unanswered:
        lines.append(f"           {report.unanswered:,}  no answer; the same line asks for them again")
    if report.not_asked:
        lines.append(f"           {report.not_asked:,}  not sent: the budget is spent")
    lines.append(
        f"asked      {report.requests:,} requests in {format_duration(report.seconds)}; {report.answers:,} answers in all"
    )
    guessed = f", {report.answers_without_usage:,} answers guessed" if report.answers_without_usage else ""
    lines.append(
        f"tokens     {report.prompt_tokens:,} of prompts + {report.completion_tokens:,} of answers{guessed}"
    )
    lines.append(f"rows       {report.output} ({report.format})")
    lines.append(f"left out   {report.dropped_file}")
    lines.append(f"journal    {report.journal}")
    lines.append(f"next       luthier train RECIPE data.path={report.output} data.format={report.format}")
    return "\n".join(lines)
