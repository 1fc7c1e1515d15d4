"""`luthier publish`: a run's adapter, merged model or GGUF files on the Hugging Face hub, with a card written from the run."""

import enum
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson, RunName, Words

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.publish import PublishPlan, PublishReport


class What(enum.StrEnum):
    """What goes up."""

    ADAPTER = "adapter"
    MERGED = "merged"
    GGUF = "gguf"


Kind = Annotated[
    What | None,
    typer.Option(
        "--what",
        help="What goes up. Without it, publish.what: what the run trained, its adapter or its whole model.",
        show_default=False,
    ),
]
Repo = Annotated[
    str | None,
    typer.Option(
        "--repo",
        metavar="OWNER/NAME",
        help="The repository of the hub, for publish.repo.",
        show_default=False,
    ),
]
Public = Annotated[
    bool, typer.Option("--public", help="Make the repository open to all; it is private otherwise.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="List the files and write the card for reading; nothing is sent and the hub is not asked.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", help="Publish without asking.")]


def publish(
    words: Words = None,
    run: RunName = None,
    what: Kind = None,
    repo: Repo = None,
    public: Public = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Publish a run on the Hugging Face hub, private unless said otherwise.

    The card is written from the run. Licences that do not fit, keys, personal data and paths of this machine stop it before
    anything is sent; what was sent is read back and compared. The token is HF_TOKEN, or that of `hf auth login`.
    """
    from luthier.cli.choose import finished_run, recipe_of_run, split_words
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    name, overrides = split_words(words)
    chosen = finished_run(run, screen)
    recipe = recipe_of_run(chosen, name, [*overrides, *_said_by_flags(what, repo, public)]).recipe
    with listen_for_stop(StopFlag()) as stop:
        from luthier.publish.stage import prepare_publication
        from luthier.publish.stage import publish as publish_stage

        prepared = prepare_publication(recipe, chosen, listener=screen, stop=stop)
        plan = prepared.plan()
        if dry_run:
            show_json({"run": str(chosen.path), **plan.model_dump(mode="json")}) if as_json else show(
                plan_text(plan)
            )
            if plan.objections:
                raise typer.Exit(1)
            return None
        if not plan.objections and not yes:
            _ask(plan)
        report = publish_stage(prepared, listener=screen, stop=stop)
    if as_json:
        return show_json({"run": str(chosen.path), **report.model_dump(mode="json")})
    return show(published_text(chosen, report))


def _said_by_flags(what: What | None, repo: str | None, public: bool) -> list[str]:
    """The settings that the flags stand for. Raises UsageError for a repository without its owner."""
    import json

    from luthier.floor.errors import UsageError

    words = [] if what is None else [f"publish.what={what.value}"]
    if repo is not None:
        from luthier.knowledge.model_folder import HUB_ID

        if not HUB_ID.fullmatch(repo):
            raise UsageError(
                "usage",
                f"{repo!r} is no repository of the hub: it has the form OWNER/NAME",
                where="--repo",
                fix="For example: luthier publish --repo you/your-model",
            )
        words.append(f"publish.repo={json.dumps(repo)}")
    return [*words, *(["publish.private=false"] if public else [])]


def _ask(plan: "PublishPlan") -> None:
    """Let the person say yes. Raises UsageError where nobody can be asked."""
    from luthier.cli.output import tell
    from luthier.floor.errors import UsageError

    if not sys.stdin.isatty():
        raise UsageError(
            "usage",
            f"publishing {len(plan.files)} files to {plan.repo} wants a yes, and there is no terminal to ask on",
            where="the command line",
            fix="Look with --dry-run, then say it: luthier publish --yes",
        )
    tell(plan_text(plan, was_dry=False))
    try:
        says_yes = typer.confirm("Publish?", err=True)
    except typer.Abort as fault:
        raise KeyboardInterrupt from fault
    if not says_yes:
        tell("Nothing was sent.")
        raise typer.Exit(1)


def plan_text(plan: "PublishPlan", *, was_dry: bool = True) -> str:
    """The files, the card, and what stands against it."""
    from luthier.cli.output import table
    from luthier.floor.units import format_bytes

    rows = [("file", "bytes", "sha256")]
    rows += [(file.path, f"{file.bytes:,}", file.sha256) for file in plan.files]
    lines = [
        f"to      {plan.repo or '(not named)'}, {'private' if plan.private else 'public'}: {plan.what}, "
        f"{len(plan.files)} files, {format_bytes(plan.bytes)}",
        "",
        table(rows, right=(1,)),
        "",
    ]
    changed = [(file.path, file.rewritten) for file in plan.files if file.rewritten]
    lines += [f"changed {path}: {'; '.join(notes)}" for path, notes in changed]
    lines += _listed("stays", plan.left_here)
    lines.append(f"card    {plan.card}")
    for each in plan.objections:
        lines += [f"against {each.what} [{each.word}]", f"        {each.fix}"]
    if was_dry:
        lines.append("Nothing was sent, and the hub was not asked.")
    return "\n".join(lines)


def _listed(what: str, names: Sequence[str]) -> list[str]:
    return [f"{what.ljust(7)} {', '.join(names)}"] if names else []


def published_text(run: "RunDir", report: "PublishReport") -> str:
    """Where it is, what was sent, and that it was read back."""
    from luthier.cli.choose import shown_path
    from luthier.floor.units import format_bytes, format_duration

    made = "in one commit" if report.commits else "and every file was there already"
    lines = [
        f"published  {report.url} ({'private' if report.private else 'public'})",
        f"revision   {report.revision}",
        f"files      {len(report.files)}, {format_bytes(report.bytes)}, {made}; sizes and SHA-256 there are those here",
        f"sent       {format_bytes(report.bytes_sent)} in {format_duration(report.seconds)}",
    ]
    if report.files_kept:
        lines.append(
            f"kept       {len(report.files_kept)} other files of the repository: {', '.join(report.files_kept[:10])}"
        )
    if report.files_deleted:
        lines.append(f"deleted    {', '.join(report.files_deleted[:10])}")
    return "\n".join([*lines, f"run        {shown_path(run)}"])
