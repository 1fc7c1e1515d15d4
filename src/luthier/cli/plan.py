"""`luthier plan`: whether a recipe fits, how long it takes and what it costs, before any weight is loaded."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson, Words

if TYPE_CHECKING:
    from luthier.config.train import TrainConfig
    from luthier.plan.compute import MeasuredSpeed
    from luthier.reports.data import DataReport
    from luthier.reports.plan import PlanReport

RunName = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="A run whose recipe and counted tokens are taken, instead of a recipe.",
        show_default=False,
    ),
]
GpuName = Annotated[
    str | None,
    typer.Option(
        "--gpu",
        metavar="NAME",
        help="Plan for this GPU (A10G, L40S, H100, 'RTX 4090' ...), or for the `cpu`; this machine's unless named.",
        show_default=False,
    ),
]
Price = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour",
        metavar="P",
        help="What an hour of the machine costs, for the cost.",
        show_default=False,
    ),
]
Bench = Annotated[
    Path | None,
    typer.Option(
        "--bench",
        metavar="FILE",
        help="What `luthier bench train RECIPE --out FILE` measured, for the time.",
        show_default=False,
    ),
]
Page = Annotated[
    Path | None,
    typer.Option(
        "--html",
        metavar="FILE.html",
        help="Write the plan as one page, to look at and to send.",
        show_default=False,
    ),
]


def plan(
    words: Words = None,
    run: RunName = None,
    gpu: GpuName = None,
    fit: Annotated[bool, typer.Option("--fit", help="Show what would make it fit, way by way.")] = False,
    price_per_hour: Price = None,
    bench: Bench = None,
    html: Page = None,
    as_json: AsJson = False,
) -> None:
    """Foresee memory, time, disk and cost of a recipe, and judge its settings. Nothing is loaded or fetched, and nothing written but a page that was asked for.

    The exit code is 1 if it does not fit the device.
    """
    from luthier.cli.output import show, show_json, tell
    from luthier.cli.plan_text import plan_text
    from luthier.config.compose import load_recipe
    from luthier.floor.errors import UsageError
    from luthier.plan.stage import plan as plan_stage

    if price_per_hour is not None and not 0 <= price_per_hour < float("inf"):
        raise UsageError("usage", f"{price_per_hour:g} an hour is no price", where="--price-per-hour", fix="For example: --price-per-hour 2.5")  # fmt: skip
    name, overrides, prepared = _what(words, run)
    resolved = load_recipe(name, overrides)
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    report = plan_stage(
        resolved.recipe,
        name=str(name),
        gpu=gpu,
        price_per_hour=price_per_hour,
        prepared=prepared,
        prepared_by=run or "",
        measured=_measured(bench) if bench else None,
        with_ladder=fit,
    )
    if html is not None:
        _write_page(html, report, resolved.recipe.train)
    if as_json:
        show_json(report.model_dump(mode="json"))
    else:
        show(plan_text(report))
    check_fits(report)


def _write_page(path: Path, report: "PlanReport", train: "TrainConfig") -> None:
    from importlib.metadata import version

    from luthier.cli.output import tell
    from luthier.cli.plan_text import verdict_of
    from luthier.floor.errors import UsageError
    from luthier.floor.files import write_text
    from luthier.plan.page import make_page

    if path.is_dir() or path.suffix.lower() not in (".html", ".htm"):
        raise UsageError("usage", f"{path} is no name of a page", where="--html", fix="For example: --html plan.html")  # fmt: skip
    page = make_page(report, train, verdict=verdict_of(report), version=version("luthier"), command=f"luthier plan {report.recipe}")  # fmt: skip
    write_text(path, page)
    tell(f"written to {path}")


def _what(words: list[str] | None, run: str | None) -> "tuple[str | Path, list[str], DataReport | None]":
    """The recipe, its overrides, and the tokens that a run prepared."""
    from luthier.cli.choose import need_recipe, split_words
    from luthier.floor.errors import UsageError
    from luthier.floor.rundir import open_run
    from luthier.reports.data import DataReport

    if run is None:
        name, overrides = need_recipe(words, verb="plan")
        return name, list(overrides), None
    found, (named, settings) = open_run(run), split_words(words)
    if named is not None:
        raise UsageError(
            "usage",
            f"the run {run} has a recipe of its own, and {named} is another",
            where="the command line",
            fix="Keep one of them.",
        )
    report = found.path / "data" / "report.json"
    return found.config_used, list(settings), DataReport.read(report) if report.is_file() else None


def _measured(path: Path) -> "MeasuredSpeed":
    """The speed in a file of `luthier bench train`."""
    from pydantic import ValidationError

    from luthier.floor.errors import UsageError
    from luthier.plan.compute import MeasuredSpeed
    from luthier.reports.bench import BenchReport

    fix = "Make one: luthier bench train RECIPE --out FILE"
    try:
        found = BenchReport.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as fault:
        why = fault.strerror if isinstance(fault, OSError) else fault.errors()[0]["msg"]
        raise UsageError("usage", f"{path} is no result of bench train: {why}", where="--bench", fix=fix) from fault  # fmt: skip
    if found.kind != "train":
        raise UsageError("usage", f"{path} measured {found.kind}, not train", where="--bench", fix=fix)
    return MeasuredSpeed(found.tokens_per_second, f"{path}, {found.device}")


def check_fits(report: "PlanReport") -> None:
    """Raise GateError (gate-fit) for a recipe that may not fit the device or the disk."""
    from luthier.floor.errors import GateError
    from luthier.floor.units import format_bytes

    disk = report.disk
    if report.fits is False:
        ways = [rung for rung in report.ladder[1:] if rung.fits]
        fix = f"luthier train {report.recipe} {ways[0].settings}" if ways else ""
        if report.ladder and not ways:
            fix = "Nothing here makes it fit: take a larger device (--gpu NAME), a smaller base, or shorter rows (data.max_length)."
        raise GateError(
            "gate-fit",
            f"{report.recipe} may not fit {report.gpu}: {report.tightest}",
            where="memory",
            fix=fix or f"See what would make it fit: luthier plan {report.recipe} --fit",
        )
    if disk.free_bytes is not None and disk.bytes + disk.download_bytes > disk.free_bytes:
        raise GateError(
            "gate-fit",
            f"the run writes {format_bytes(disk.bytes)} and fetches {format_bytes(disk.download_bytes)}, and {format_bytes(disk.free_bytes)} are free",
            where="disk",
            fix="Free some, or keep fewer checkpoints: train.checkpoint.keep_last=1 train.checkpoint.keep_best=0",
        )
