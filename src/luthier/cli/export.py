"""`luthier export`: files for other programs, proven to answer as the trained model does."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli.export_ollama import ollama
from luthier.cli.options import Again, AsJson, RunName, Words

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.gguf import GgufFile, GgufReport

export = typer.Typer(help="Files for other programs.", no_args_is_help=True)

Quant = Annotated[
    list[str] | None,
    typer.Option(
        "--quant",
        metavar="TYPE",
        help="A type, such as F16, Q8_0 or Q5_K_M; several times for several files.",
    ),
]
Imatrix = Annotated[
    bool,
    typer.Option(
        "--imatrix",
        help="Weigh columns by their use on training rows, so that few bits go where they matter.",
    ),
]
Adapter = Annotated[
    bool,
    typer.Option("--adapter", help="The run's adapter alone, to be loaded over a GGUF file of its base."),
]
Base = Annotated[
    Path | None,
    typer.Option(
        "--base", metavar="FILE", help="With --adapter: a GGUF file of the base; else one is written in F16."
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be written; write nothing.")]


@export.callback()
def _group() -> None:
    """Files for other programs."""


@export.command("gguf", short_help="GGUF files, for llama.cpp, Ollama and LM Studio.")
def gguf(
    words: Words = None,
    run: RunName = None,
    quant: Quant = None,
    imatrix: Imatrix = False,
    adapter: Adapter = False,
    base: Base = None,
    again: Again = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write a run's merged model as GGUF files.

    llama.cpp loads each file and is compared with the merged model on held-out rows; one that disagrees is deleted. A run that is not
    merged yet is merged first. With --adapter the adapter becomes a file of its own, compared with the adapter model.
    """
    from luthier.cli.choose import finished_run, recipe_of_run, split_words
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    if adapter or base is not None:
        from luthier.cli.export_adapter import gguf_adapter, refuse_mixtures

        refuse_mixtures(quant, base, is_asked=adapter, imatrix=imatrix)
        return gguf_adapter(words, run, base, again=again, dry_run=dry_run, as_json=as_json)
    screen = Screen()
    name, overrides = split_words(words)
    chosen = finished_run(run, screen)
    resolved = recipe_of_run(chosen, name, [*overrides, *flag_overrides(quant, imatrix=imatrix)])
    with listen_for_stop(StopFlag()) as stop:
        from luthier.export.gguf.plan import needs_merge, plan_export
        from luthier.export.gguf.stage import export_gguf
        from luthier.export.stage import merge

        if needs_merge(resolved.recipe, chosen) and not dry_run:
            screen.say("The run has no merged model of these inputs yet: merging first")
            merge(resolved.recipe, chosen, listener=screen, stop=stop)
        if dry_run:
            facts = plan_facts(plan_export(resolved.recipe, chosen, again=again))
            return show_json(facts) if as_json else show(plan_text(facts))
        report = export_gguf(resolved.recipe, chosen, listener=screen, stop=stop, again=again)
    if as_json:
        return show_json({"run": str(chosen.path), **report.model_dump(mode="json")})
    return show(exported_text(chosen, report))


def flag_overrides(quant: list[str] | None, *, imatrix: bool) -> list[str]:
    """The flags as settings."""
    types = [f"export.gguf.types=[{','.join(type.upper() for type in quant)}]"] if quant else []
    return [*types, *(["export.gguf.imatrix=true"] if imatrix else [])]


def plan_facts(plan: Any) -> dict[str, Any]:
    """What an export would write, for people and programs."""
    return {
        "run": str(plan.run.path),
        "folder": str(plan.folder),
        "source": str(plan.source.architecture.folder),
        "tokenizer": plan.source.vocabulary.rule,
        "there": [shown_type(file) for file in plan.kept],
        "calibration_rows": plan.calibration.rows if any(map(plan.weighs, plan.missing)) else None,
        "to_write": {type.name: plan.bytes_of(type) for type in plan.missing},
        "needed_bytes": plan.needed_bytes if plan.missing else 0,
    }


def plan_text(facts: dict[str, Any]) -> str:
    """The plan as a terminal shows it."""
    from luthier.floor.units import format_bytes

    lines = [f"from    {facts['source']}", f"into    {facts['folder']}", f"tokens  {facts['tokenizer']}"]
    lines += [f"write   {type}  about {format_bytes(size)}" for type, size in facts["to_write"].items()]
    lines += [f"there   {type}" for type in facts["there"]]
    if facts["calibration_rows"] is not None:
        lines.append(f"weigh   columns, by at most {facts['calibration_rows']:,} training rows")
    return "\n".join([*lines, f"disk    {format_bytes(facts['needed_bytes'])} while it works"])


def shown_type(file: "GgufFile") -> str:
    """A file's type, and whether its columns were weighed."""
    return f"{file.type} imatrix" if file.importance else file.type


def weighed_lines(report: "GgufReport") -> list[str]:
    """By what the columns were weighed."""
    draws = {file.importance for file in report.files if file.importance is not None}
    return [
        f"weighed {each.rows:,} training rows, {each.tokens:,} tokens, seed {each.seed}"
        for each in sorted(draws, key=lambda each: each.drawn_from)
    ]


def exported_text(run: "RunDir", report: "GgufReport") -> str:
    """Where the files lie and the figures that prove each."""
    from luthier.cli.choose import shown_path
    from luthier.cli.output import table
    from luthier.floor.units import format_bytes, format_duration

    metric = report.gate_metric if report.gate_metric in report.files[0].metrics else "exact_match"
    rows = [("type", "size", "mean KL", "allowed", "same first", "perplexity", "same answers", metric)]
    rows += [
        (
            shown_type(file),
            format_bytes(file.file_bytes),
            f"{file.mean_kl:.2e}",
            f"{file.allowed_kl:g}",
            f"{file.top1_agreement:.1%}",
            f"{file.perplexity_before:.3f} -> {file.perplexity_after:.3f}",
            "-" if file.same_answer_share is None else f"{file.same_answer_share:.0%}",
            metric_change(file, metric),
        )
        for file in report.files
    ]
    texts = max(file.texts_checked for file in report.files)
    return "\n".join(
        [
            table(rows),
            "",
            *(f"file    {file.path}" for file in report.files),
            *weighed_lines(report),
            f"proof   llama.cpp {report.llama_cpp}: the same ids for {texts:,} texts ({report.tokenizer}), logits on "
            f"{report.rows_checked:,} held-out rows",
            f"took    {format_duration(report.seconds)}",
            f"run     {shown_path(run)}",
            "next    luthier export ollama, luthier verify, luthier advise deploy",
        ]
    )


def metric_change(file: "GgufFile", name: str) -> str:
    """A metric of the greedy answers: the merged model's, and the file's."""
    found = file.metrics.get(name)
    return "-" if found is None else f"{found.before:.3f} -> {found.after:.3f}"


export.command("ollama", short_help="A Modelfile for Ollama, its template proven.")(ollama)
