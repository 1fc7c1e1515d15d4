"""The results in a model card: base against tuned with intervals, and a few held-out rows if the author wants them seen."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from luthier.floor.errors import UsageError
from luthier.publish.facts import Facts, shown_name
from luthier.publish.markdown import code, fenced, plain, table

BASE = "base"
LOWER_IS_BETTER = frozenset({"loss", "perplexity", "bits_per_byte"})
MOST_LINE_CHARACTERS = 10 * 2**20


@dataclass(frozen=True)
class Sample:
    """A held-out row with the answers of both models; None where one was not asked."""

    prompt: str
    expected: str
    tuned: str | None
    base: str | None


def read_samples(facts: Facts, count: int) -> list[Sample]:
    """The first held-out rows as they were answered. Raises UsageError if the tuned model was not evaluated."""
    if not count:
        return []
    folder = facts.run.stage("evaluate")
    tuned = folder / "tuned" / "predictions.jsonl"
    if not tuned.is_file():
        raise UsageError(
            "run-unfinished",
            "the card is to show held-out rows, and there are no answers to them yet",
            where=f"publish.card.sample_rows = {count}",
            fix=f"Evaluate first: luthier eval --run {facts.run.path}",
        )
    base = folder / BASE / "predictions.jsonl"
    others = {row["row"]: row for row in islice(_rows(base), count)} if base.is_file() else {}
    return [
        Sample(row["prompt"], row["expected"], row["generated"], others.get(row["row"], {}).get("generated"))
        for row in islice(_rows(tuned), count)
    ]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with open(path, encoding="utf-8") as file:
        for line in iter(lambda: file.readline(MOST_LINE_CHARACTERS), ""):
            yield json.loads(line)


def headline(facts: Facts) -> str:
    """The gate metric in one line."""
    compare = facts.compare
    if compare is not None and compare.gate_metric in compare.metrics:
        found = compare.metrics[compare.gate_metric]
        return (
            f"{code(compare.gate_metric)} {_figure(found.base)} → **{_figure(found.tuned)}** on {compare.rows:,} held-out rows "
            f"({_percent(facts)} interval of the difference {found.low:+.3f} to {found.high:+.3f})"
        )
    if facts.tuned is not None:
        name = facts.recipe.evaluate.gate_metric
        estimate = facts.tuned.metrics.get(name)
        if estimate is not None:
            return f"{code(name)} {_figure(estimate.value)} on {facts.tuned.rows:,} held-out rows; not compared with the base"
    return "not measured"


def results_section(facts: Facts, samples: list[Sample]) -> list[str]:
    """The lines of the section, without its heading."""
    return [*_figures(facts), *_samples(samples)]


def _figures(facts: Facts) -> list[str]:
    if facts.compare is None and facts.tuned is None:
        return ["The model was not evaluated."]
    return _compared(facts) if facts.compare is not None else _alone(facts)


def _compared(facts: Facts) -> list[str]:
    compare = facts.compare
    assert compare is not None, "checked by the caller"
    other = BASE if compare.base_name == BASE else plain(compare.base_name)
    rows: list[tuple[str, ...]] = [
        ("metric", other, "this model", "difference", f"{_percent(facts)} interval")
    ]
    rows += [
        (
            _name(name),
            _figure(found.base),
            f"**{_figure(found.tuned)}**",
            f"{found.delta:+.3f}",
            f"{found.low:+.3f} to {found.high:+.3f}",
        )
        for name, found in compare.metrics.items()
    ]
    verdict = "It passed its gate" if compare.passed else "It did not pass its gate"
    return [
        f"{compare.rows:,} held-out rows of {code(shown_name(facts.recipe.evaluate.path))}, each answered by both models, greedily; "
        "the intervals are of the paired difference, by bootstrap.", "",
        *table(rows, right=(1, 2, 3, 4)), "",
        "↓ marks what is better when it is lower; metrics run from 0 to 1, losses are in nats a token. "
        f"{verdict}, {code(compare.gate_metric)}: {len(compare.rows_won):,} rows won, {len(compare.rows_lost):,} lost.",
        *_digest(facts),
    ]  # fmt: skip


def _alone(facts: Facts) -> list[str]:
    tuned = facts.tuned
    assert tuned is not None, "checked by the caller"
    rows = [("metric", "this model", f"{_percent(facts)} interval")]
    rows += [
        (_name(name), f"**{_figure(found.value)}**", f"{_figure(found.low)} to {_figure(found.high)}")
        for name, found in tuned.metrics.items()
    ]
    return [
        f"{tuned.rows:,} held-out rows of {code(shown_name(facts.recipe.evaluate.path))}, answered greedily. The base was not "
        "measured on them, so these figures do not say what the training changed.", "",
        *table(rows, right=(1, 2)),
        *_digest(facts),
    ]  # fmt: skip


def _digest(facts: Facts) -> list[str]:
    return ["", f"SHA-256 of the rows: {code(facts.tuned.data_sha256)}."] if facts.tuned is not None else []


def _samples(samples: list[Sample]) -> list[str]:
    if not samples:
        return []
    lines = ["", "### Held-out rows", "", "The first ones, not chosen."]
    for number, sample in enumerate(samples, start=1):
        lines += [
            "",
            f"**{number}.** Prompt",
            "",
            *fenced(sample.prompt.strip()),
            "",
            "Expected",
            "",
            *fenced(sample.expected.strip()),
        ]
        if sample.tuned is not None:
            lines += ["", "This model", "", *fenced(sample.tuned.strip())]
        if sample.base is not None:
            lines += ["", "Base", "", *fenced(sample.base.strip())]
    return lines


def _name(metric: str) -> str:
    return f"{code(metric)} ↓" if metric in LOWER_IS_BETTER else code(metric)


def _figure(value: float) -> str:
    if value != value:
        return "undefined"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:.4g}"


def _percent(facts: Facts) -> str:
    return f"{facts.recipe.evaluate.confidence:.0%}"
