"""`luthier verify`: hold a file or a server against a run's model, or show every link that was proven so far."""

from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson
from luthier.cli.server_key import KeyFrom, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from luthier.cli.screen import Screen
    from luthier.config.compose import Resolved
    from luthier.floor.rundir import RunDir
    from luthier.reports.verify import Link, VerifyReport

Target = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[FILE|FOLDER|URL] [verify.KEY=VALUE]...",
        help="A GGUF file, a model or adapter folder, or the address of a server; without one, the links that were proven so far "
        "are shown. And settings, such as verify.most_kl=0.1.",
        show_default=False,
    ),
]
Against = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="RUN",
        help="The run whose model is right: its folder, its timestamp, or `latest`. Without it, the newest finished one.",
        show_default=False,
    ),
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        min=1,
        help="Compare on the first N held-out rows, and one of every further shape.",
        show_default=False,
    ),
]
Model = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="Which of a server's models is meant.", show_default=False),
]


def verify(
    words: Target = None,
    against: Against = None,
    limit: Limit = None,
    model: Model = None,
    key_from: KeyFrom = None,
    as_json: AsJson = False,
) -> None:
    """Compare anyone's file or server with a run's model, on the run's held-out rows; exit code 1 if they are too far apart.

    Prompts token by token, probabilities, perplexity, greedy answers and their metrics. What is verified is only read.
    """
    from luthier.cli.choose import finished_run
    from luthier.cli.output import show, show_json, tell
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    target, overrides = split_target(words)
    run = finished_run(against, screen)
    resolved = recipe_to_verify(run, overrides, limit)
    if target is None:
        return show_chain(run, resolved, screen, as_json=as_json)
    key = key_of(key_from)
    with listen_for_stop(StopFlag()) as stop:
        from luthier.export.parity.stage import refusal
        from luthier.export.parity.stage import verify as verify_stage

        report = verify_stage(resolved.recipe, run, target, key=key, model=model, listener=screen, stop=stop)
    if as_json:
        show_json({"run": str(run.path), **report.model_dump(mode="json")})
    else:
        show(verified_text(run, report))
    if not report.passed:
        tell(refusal(run, report).render())
        raise typer.Exit(1)
    return None


def split_target(words: "Sequence[str] | None") -> tuple[str | None, list[str]]:
    """What is verified, if it is named, and the overrides. An address may hold `=`."""
    from luthier.cli.choose import split_words

    listed = list(words or ())
    if listed and listed[0].startswith(("http://", "https://")):
        return listed[0], listed[1:]
    return split_words(listed)


def recipe_to_verify(run: "RunDir", overrides: "Sequence[str]", limit: int | None) -> "Resolved":
    """The run's own recipe with what the command line changes."""
    from luthier.cli.choose import recipe_of_run

    rows = [f"verify.rows={limit}"] if limit is not None else []
    return recipe_of_run(run, None, [*overrides, *rows])


def verified_text(run: "RunDir", report: "VerifyReport") -> str:
    """What was compared, how far apart the two are, and what the verdict rests on."""
    from luthier.cli.choose import shown_path
    from luthier.floor.units import format_duration

    verdict = "answers as the model does" if report.passed else "is too far from the model"
    lines = [
        f"{shown_subject(report.subject)} {verdict}",
        "",
        f"kind        {kind_text(report)}",
        f"against     the {report.reference} model of {shown_path(run)}, {report.rows_checked:,} held-out rows",
        f"tokens      {tokens_text(report)}",
        *_figures(report),
        *(f"note        {note}" for note in report.notes),
        f"report      {report_place(run, report)}",
        f"took        {format_duration(report.seconds)}",
    ]
    return "\n".join(lines)


def kind_text(report: "VerifyReport") -> str:
    """What the subject is."""
    from luthier.floor.units import format_bytes

    if report.subject_bytes is not None:
        return f"{report.type}, {format_bytes(report.subject_bytes)}"
    return f"{report.kind}, {report.type} by its name" if report.type else report.kind


def shown_subject(subject: str) -> str:
    """A subject as short as it can be typed."""
    from pathlib import Path

    path = Path(subject)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else subject


def tokens_text(report: "VerifyReport") -> str:
    """How many prompts are read as the model was trained to read them, who told, and of which shapes."""
    tokens = report.tokens
    if not tokens.shapes and not tokens.texts:
        return "not compared: the held-out rows are kept as tokens, without questions to send; name some: evaluate.path=FILE.jsonl"
    if tokens.told == "nothing":
        return "the server tells nothing of what it reads"
    total = tokens.prompts + tokens.texts
    same = "the same ids" if tokens.told == "ids" else "as many tokens"
    shapes = ", ".join(f"{name} {count:,}" for name, count in tokens.shapes.items())
    of = "prompts and texts" if tokens.texts else "prompts"
    text = f"{same} for {total - tokens.differ:,} of {total:,} {of}, told by {tokens.by}"
    return f"{text}\nprompts     {shapes}" if shapes else text


def _figures(report: "VerifyReport") -> list[str]:
    lines = []
    if report.tokens_checked:
        over = (
            ""
            if report.candidates is None
            else f", over {report.candidates:.0f} candidates a token (a lower bound)"
        )
        lines += [
            f"mean KL     {report.mean_kl:.2e} nats a token, allowed {report.allowed_kl:g}; {report.tokens_checked:,} tokens{over}",
            f"same first  {report.top1_agreement:.1%}",
        ]
    else:
        lines.append("mean KL     not told: the server gives no log probabilities")
    if report.perplexity_tokens:
        lines.append(
            f"perplexity  {report.perplexity_before:.3f} -> {report.perplexity_after:.3f}, {report.perplexity_tokens:,} tokens"
        )
    if report.same_answer_share is not None:
        lines.append(
            f"answers     {report.same_answer_share:.0%} of the {report.answers_in} of {report.answers_checked:,} greedy answers "
            "are the same from their start"
        )
    if report.metrics:
        changes = [
            f"{name} {found.before:.3f} -> {found.after:.3f}" for name, found in report.metrics.items()
        ]
        rows = ["; ".join(changes[start : start + 4]) for start in range(0, len(changes), 4)]
        lines += [f"{'metrics' if number == 0 else '':<12}{row}" for number, row in enumerate(rows)]
    if report.worst:
        lines.append(f"worst       {report.worst}")
    return lines


def report_place(run: "RunDir", report: "VerifyReport") -> str:
    """Where the report lies, as short as it can be typed."""
    from luthier.cli.choose import shown_path
    from luthier.export.parity.stage import STAGE, report_path

    return f"{shown_path(run)}/{STAGE}/{report_path(run, report.subject).name}"


def show_chain(run: "RunDir", resolved: "Resolved", screen: "Screen", *, as_json: bool) -> None:
    """Every link with its figures; exit code 1 if one is broken."""
    from luthier.cli.choose import shown_path
    from luthier.cli.output import show, show_json
    from luthier.export.parity.chain import read_chain

    links = read_chain(resolved.recipe, run, listener=screen)
    if as_json:
        show_json({"run": str(run.path), "links": [link.model_dump(mode="json") for link in links]})
    elif not links:
        show(f"No link was made of {shown_path(run)} yet.\nnext: luthier merge, luthier export gguf")
    else:
        show(chain_text(run, links))
    if any(link.is_broken for link in links):
        raise typer.Exit(1)


def chain_text(run: "RunDir", links: "Sequence[Link]") -> str:
    """One line a link, then where each lies and what stands against it."""
    from luthier.cli.choose import shown_path
    from luthier.cli.output import table

    head = ("", "link", "state", "mean KL", "allowed", "same first", "perplexity", "same answers", "metric")
    rows: list[tuple[str, ...]] = [head]
    rows += [(str(number), *_chain_row(link)) for number, link in enumerate(links, 1)]
    lines = [f"{shown_path(run)}: {len(links)} links", "", table(rows, right=(3, 4, 5)), ""]
    for number, link in enumerate(links, 1):
        lines.append(f"{number}  {shown_subject(link.name)}; tokens: {link.tokens}")
        lines += [f"   {problem}" for problem in link.problems]
    return "\n".join(lines)


def _chain_row(link: "Link") -> tuple[str, ...]:
    has_logits, has_perplexity = link.tokens_checked > 0, link.perplexity_before == link.perplexity_before
    found = link.metrics.get(link.gate_metric)
    return (
        f"{link.source} -> {link.target}{', verified' if link.is_verified else ''}",
        link.state,
        f"{link.mean_kl:.2e}" if has_logits else "-",
        "-" if not has_logits else "exact" if link.allowed_kl is None else f"{link.allowed_kl:g}",
        f"{link.top1_agreement:.1%}" if has_logits else "-",
        f"{link.perplexity_before:.3f} -> {link.perplexity_after:.3f}" if has_perplexity else "-",
        "-" if link.same_answer_share is None else f"{link.same_answer_share:.0%}",
        f"{link.gate_metric} {found.before:.3f} -> {found.after:.3f}" if found else "-",
    )
