"""The block of docs/explanation/speed.md that the results file writes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.floor.files import write_text
from speed.outcome import WORDS
from speed.results import shown
from speed.workloads import GIB, NOT_SHOWN, WORKLOADS, Workload

BEGIN = "<!-- written by: python bench/train_speed.py --table -->"
END = "<!-- end of what is written -->"
NOTHING = "Nothing has been measured yet."
MARKS = {"reached": "reached", "missed": "not reached"}


def block(entries: Sequence[dict[str, Any]]) -> str:
    """The block with its marks: a section a row, in the order of the table, or that nothing was measured."""
    found = shown(entries)
    names = [name for name in WORKLOADS if name in found and name not in NOT_SHOWN]
    parts = [section(WORKLOADS[name], found[name]) for name in names] or [NOTHING]
    unmeasured = [name for name in WORKLOADS if name not in found and name not in NOT_SHOWN]
    if names and unmeasured:
        parts.append(f"Not measured yet: {', '.join(unmeasured)}.")
    return "\n\n".join([BEGIN, *parts, END])


def section(workload: Workload, entry: Mapping[str, Any]) -> str:
    """One row: its machine, every contender, and what was to be reached."""
    versions = entry["versions"]
    machine = (
        f"{entry['date'][:10]}, {entry['hardware']['device']}, torch {versions['torch']}, "
        f"transformers {versions['transformers']}; a square product of {entry['matmul_width']:,} reached "
        f"{entry['matmul_flops'] / 1e12:.3g} TFLOP/s; {repeats(entry)}."
    )
    lines = [f"### {workload.title}", "", machine, "", *header(workload)]
    contenders = sorted(entry["contenders"].items(), key=lambda item: -figure(workload, item[1]))
    lines += [line(workload, name, found) for name, found in contenders]
    verdict = judged(workload, entry)
    return "\n".join([*lines, "", verdict] if verdict else lines)


def header(workload: Workload) -> list[str]:
    if workload.kind == "first_step":
        return ["| contender | warm, s | cold, s |", "| --- | --- | --- |"]
    return [
        "| contender | tokens/s | least to most | peak GiB | share of the limit |",
        "| --- | --- | --- | --- | --- |",
    ]


def figure(workload: Workload, found: Mapping[str, Any]) -> float:
    """What contenders are ordered by, the best highest; those without a figure are last."""
    if workload.kind == "first_step":
        return -found["first_step_seconds"]["median"] if "first_step_seconds" in found else -1e12
    return float(found["tokens_per_second"]["median"]) if "tokens_per_second" in found else -1.0


def line(workload: Workload, name: str, found: Mapping[str, Any]) -> str:
    """A contender's row of the table."""
    if found["status"] != "measured":
        cells = [WORDS[found["status"]], *[""] * (1 if workload.kind == "first_step" else 3)]
    elif workload.kind == "first_step":
        # A peer keeps no compiled code of its own between runs: every one of its starts is cold.
        warm, cold = found["first_step_seconds"], found.get("cold_first_step_seconds")
        cells = [f"{warm['median']:.1f}", f"{cold['median']:.1f}"] if cold else ["", f"{warm['median']:.1f}"]
    else:
        rate = found["tokens_per_second"]
        peak = f"{found['peak_bytes'] / GIB:.1f}" if found.get("peak_bytes") else ""
        cells = [
            f"{rate['median']:,.0f}",
            f"{rate['least']:,.0f} to {rate['most']:,.0f}",
            peak,
            f"{found['share_of_limit']:.1%}",
        ]
    return f"| {name} | {' | '.join(cells)} |"


def judged(workload: Workload, entry: Mapping[str, Any]) -> str:
    """What was to be reached, and the ratio to the best peer where both were measured."""
    rates = {
        name: found["tokens_per_second"]["median"]
        for name, found in entry["contenders"].items()
        if "tokens_per_second" in found
    }
    ours = rates.pop("luthier", None)
    said = []
    if workload.kind != "first_step" and ours is not None and rates:
        best = max(rates, key=lambda name: rates[name])
        said.append(f"Luthier is {ours / rates[best]:.2f} times as fast as {best}.")
    if workload.reach:
        said.append(f"To reach: {workload.reach}{verdict(workload, entry, ours, rates)}.")
    return " ".join(said)


def verdict(
    workload: Workload, entry: Mapping[str, Any], ours: float | None, rates: Mapping[str, float]
) -> str:
    """Whether it was reached, where that can be told."""
    if ours is None or not (workload.reach_rate or (workload.reach_ratio and rates)):
        return ""
    is_reached = ours >= (workload.reach_rate or workload.reach_ratio * max(rates.values()))  # type: ignore[operator]
    peak = entry["contenders"]["luthier"].get("peak_bytes")
    if workload.most_gib and peak and peak > workload.most_gib * GIB:
        is_reached = False
    return f" ({MARKS['reached' if is_reached else 'missed']})"


def write_page(page: Path, entries: Sequence[dict[str, Any]]) -> None:
    """Put the block in the place of the one that the page has. Raises ValueError if it has none."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} has no block between {BEGIN} and {END}")
    write_text(page, before + block(entries) + after)


def repeats(entry: dict[str, Any]) -> str:
    """How often the contenders ran, where a limit cut the call short as `1 of 2 repeats`."""
    asked = entry["repeat"]
    least = min(len(contender.get("runs", ())) for contender in entry["contenders"].values())
    words = f"{asked} repeat{'s' if asked != 1 else ''}"
    return words if least >= asked else f"{least} of {words}"
