"""The demo's job: prepare, train, judge base and tuned model on the held-out rows, compare, and show it on one screen.

One process does it all, as the commands would one after the other; the run it leaves is a run like any other.
"""

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass

from luthier.cli.choose import shown_path
from luthier.cli.opening import open_training
from luthier.cli.output import figure, show, show_json, table
from luthier.cli.screen import Screen
from luthier.floor.memory import peak_resident_bytes
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag, listen_for_stop
from luthier.floor.units import format_bytes, format_duration
from luthier.reports.evaluate import CompareReport
from luthier.reports.train import TrainReport

RECIPE = "demo"
SHOWN_METRICS = ("exact_match", "slot_f1", "token_f1", "rouge1", "bleu", "loss")
SAMPLES = 3
WIDTH = 76


@dataclass(frozen=True)
class Sample:
    """One held-out row with both answers."""

    prompt: str
    expected: str
    base: str
    tuned: str
    outcome: str
    """`won`, `lost` or `tied` by the gate metric."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo did and found."""

    run: RunDir
    train: TrainReport
    comparison: CompareReport
    samples: tuple[Sample, ...]
    seconds: float
    peak_bytes: int


def run_demo(overrides: Sequence[str] = (), *, as_json: bool) -> None:
    """Run the demo and show its result; a recipe that is overridden is still the demo's own otherwise."""
    started = time.perf_counter()
    screen = Screen()
    opening = open_training([RECIPE, *overrides], verb="train", folder=None, resume=None, again=False)
    with listen_for_stop(StopFlag()) as stop, opening as work:
        from luthier.data.stage import prepare
        from luthier.evaluate.compare import compare
        from luthier.evaluate.stage import evaluate
        from luthier.train.stage import train

        recipe, run = work.recipe, work.run
        screen.say(f"run {shown_path(run)}")
        prepare(recipe, run, listener=screen, stop=stop)
        trained = train(recipe, run, listener=screen, stop=stop)
        for subject in ("base", "tuned"):
            screen.say(f"the {subject} model answers the held-out rows")
            evaluate(recipe, run, listener=screen, stop=stop, subject=subject)
        folder = run.stage("evaluate")
        comparison = compare(run, folder / "base", folder / "tuned", recipe)
    result = DemoResult(
        run=run,
        train=trained,
        comparison=comparison,
        samples=choose_samples(run, comparison),
        seconds=time.perf_counter() - started,
        peak_bytes=peak_resident_bytes(),
    )
    if as_json:
        return show_json(as_object(result))
    return show(result_text(result))


def choose_samples(run: RunDir, comparison: CompareReport) -> tuple[Sample, ...]:
    """One row won and one lost, if there are such, then more of the won and the tied, in the order of the file."""
    from luthier.evaluate.predictions import read_predictions

    base, tuned = (read_predictions(run.stage("evaluate") / name) for name in ("base", "tuned"))
    won, lost = list(comparison.rows_won), list(comparison.rows_lost)
    tied = [row for row in range(len(base)) if row not in {*won, *lost}]
    chosen = [*won[:1], *lost[:1], *tied[:1], *won[1:], *tied[1:], *lost[1:]][:SAMPLES]
    return tuple(
        Sample(
            prompt=base[row].prompt,
            expected=base[row].expected,
            base=base[row].generated or "",
            tuned=tuned[row].generated or "",
            outcome="won" if row in won else "lost" if row in lost else "tied",
        )
        for row in chosen
    )


def as_object(result: DemoResult) -> dict[str, object]:
    """The result for `--json`: metrics and rows as `luthier compare --json` has them, and the demo's own figures."""
    from dataclasses import asdict

    return {
        "run": str(result.run.path),
        "seconds": result.seconds,
        "peak_bytes": result.peak_bytes,
        "train": result.train.model_dump(mode="json"),
        "samples": [asdict(sample) for sample in result.samples],
        **result.comparison.model_dump(mode="json", exclude={"seconds", "provenance", "inputs_hash"}),
    }


def result_text(result: DemoResult) -> str:
    """One screen: the table, three answers, where the run lies, what to type next."""
    comparison = result.comparison
    run = shown_path(result.run)
    lines = [
        f"{comparison.rows:,} held-out rows, base against tuned, intervals of 95 % over paired rows",
        "",
        metrics_table(comparison),
        "",
        f"{comparison.gate_metric}: {len(comparison.rows_won):,} rows won, {len(comparison.rows_lost):,} lost",
        *[line for sample in result.samples for line in ("", *sample_lines(sample))],
        "",
        f"run     {run}",
        f"took    {format_duration(result.seconds)}, at most {format_bytes(result.peak_bytes)} of memory",
        "",
        "next    luthier merge                                one model out of base and adapter, with proof",
        f"        luthier train {RECIPE} train.most_steps=1132     the same for a whole epoch",
        "        luthier recipe show demo                     every setting and where it comes from",
        f"        tensorboard --logdir {run}/logs",
    ]
    return "\n".join(lines)


def metrics_table(comparison: CompareReport) -> str:
    """The metrics worth a line, base and tuned side by side."""
    rows = [("metric", "base", "tuned", "difference", "95 % interval")]
    for name in SHOWN_METRICS:
        found = comparison.metrics.get(name)
        if found is not None:
            interval = f"{found.low:+.3f} to {found.high:+.3f}"
            rows.append((name, figure(found.base), figure(found.tuned), f"{found.delta:+.3f}", interval))
    return table(rows, right=(1, 2, 3, 4))


def sample_lines(sample: Sample) -> list[str]:
    """A row and both answers, each cut to two lines."""
    parts = (
        (f"{sample.outcome}:", sample.prompt),
        ("  expected", sample.expected),
        ("  base", sample.base),
        ("  tuned", sample.tuned),
    )
    return [line for head, text in parts for line in _folded(head, text)]


def _folded(head: str, text: str) -> list[str]:
    flat = " ".join(text.split()) or "(nothing)"
    folded = textwrap.wrap(flat, WIDTH, max_lines=2, placeholder=" ...")
    return [f"{head if number == 0 else '':<12}{line}" for number, line in enumerate(folded)]
