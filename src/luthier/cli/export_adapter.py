"""`luthier export gguf --adapter`: a run's adapter as a file that llama.cpp loads over a file of its base."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from luthier.floor.errors import UsageError

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir
    from luthier.reports.gguf_adapter import GgufAdapterReport


def gguf_adapter(
    words: list[str] | None,
    run: str | None,
    base: Path | None,
    *,
    again: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write and prove the adapter, or say what would be written."""
    from luthier.cli.choose import finished_run, recipe_of_run, split_words
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.floor.stop import StopFlag, listen_for_stop

    screen = Screen()
    name, overrides = split_words(words)
    chosen = finished_run(run, screen)
    recipe = recipe_of_run(chosen, name, overrides).recipe
    with listen_for_stop(StopFlag()) as stop:
        from luthier.export.gguf.adapter import export_adapter
        from luthier.export.gguf.adapter_plan import plan_adapter_export

        if dry_run:
            facts = plan_facts(plan_adapter_export(recipe, chosen, base=base, again=again))
            return show_json(facts) if as_json else show(plan_text(facts))
        report = export_adapter(recipe, chosen, base=base, listener=screen, stop=stop, again=again)
    if as_json:
        return show_json({"run": str(chosen.path), **report.model_dump(mode="json")})
    return show(exported_text(chosen, report))


def refuse_mixtures(quant: list[str] | None, base: Path | None, *, is_asked: bool, imatrix: bool) -> None:
    """Raise UsageError for flags that do not go together."""
    if base is not None and not is_asked:
        raise UsageError(
            "usage",
            f"--base {base} names the base of an adapter, and no adapter is asked for",
            where="--base",
            fix=f"Add --adapter: luthier export gguf --adapter --base {base}",
        )
    if quant or imatrix:
        flag = f"--quant {quant[0]}" if quant else "--imatrix"
        raise UsageError(
            "usage",
            f"{flag} is for whole models; an adapter is written in F32, over a base in any type",
            where=flag.partition(" ")[0],
            fix="Leave it out; to load the adapter over a smaller base, name that file: --base FILE",
        )


def plan_facts(plan: Any) -> dict[str, Any]:
    """What an export would write, for people and programs."""
    return {
        "run": str(plan.inputs.run.path),
        "folder": str(plan.folder),
        "adapter": str(plan.adapter),
        "base": str(plan.base),
        "base_is_named": plan.source is None,
        "modules": plan.form.modules,
        "is_there": plan.there is not None,
        "needed_bytes": 0 if plan.there is not None else plan.needed_bytes,
    }


def plan_text(facts: dict[str, Any]) -> str:
    """The plan as a terminal shows it."""
    from luthier.floor.units import format_bytes

    return "\n".join(
        [
            f"{'there' if facts['is_there'] else 'write':<8}{facts['adapter']}  {facts['modules']} matrices",
            f"{'over' if facts['base_is_named'] or facts['is_there'] else 'write':<8}{facts['base']}",
            f"disk    {format_bytes(facts['needed_bytes'])}",
        ]
    )


def exported_text(run: "RunDir", report: "GgufAdapterReport") -> str:
    """Where the files lie, the figures that prove them, and how they are loaded."""
    from luthier.cli.choose import shown_path
    from luthier.cli.output import table
    from luthier.floor.units import format_bytes, format_duration

    answers = "-" if report.same_answer_share is None else f"{report.same_answer_share:.0%}"
    rows = [
        ("over", "size", "mean KL", "allowed", "base alone", "same first", "perplexity", "same answers"),
        (
            report.base_type,
            format_bytes(report.adapter_bytes),
            f"{report.mean_kl:.2e}",
            f"{report.allowed_kl:g}",
            f"{report.kl_of_base_alone:.2e}",
            f"{report.top1_agreement:.1%}",
            f"{report.perplexity_before:.3f} -> {report.perplexity_after:.3f}",
            answers,
        ),
    ]
    return "\n".join(
        [
            table(rows),
            "",
            f"file    {report.adapter}",
            f"base    {report.base}  ({format_bytes(report.base_bytes)})",
            f"proof   llama.cpp {report.llama_cpp}: the same ids for {report.texts_checked:,} texts, logits on "
            f"{report.rows_checked:,} held-out rows",
            f"load    llama-server -m {report.base} --lora {report.adapter}",
            f"took    {format_duration(report.seconds)}",
            f"run     {shown_path(run)}",
        ]
    )
