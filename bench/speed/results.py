"""The results file: one entry a row and call, newest last. Medians are of the repeats; the noise is the least and the most of them."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.floor.files import read_json, write_json

FORMAT = "luthier-train-speed/1"
# Of these the noise is told; of the other figures the median.
NOISY = ("tokens_per_second", "first_step_seconds", "cold_first_step_seconds")
PLAIN = ("tokens", "seconds", "steps", "peak_bytes", "peak_reserved_bytes", "first_loss", "last_loss")


def read_results(file: Path) -> list[dict[str, Any]]:
    """Every entry of the file, none if it is not there yet."""
    if not file.is_file():
        return []
    found = read_json(file)
    if found.get("format") != FORMAT:
        raise ValueError(f"{file.name} is no {FORMAT}: it says {found.get('format')!r}")
    entries: list[dict[str, Any]] = found["entries"]
    return entries


def keep(file: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Put these entries into the file: one of the same id is replaced, others stay, the oldest is first."""
    found = {entry["id"]: entry for entry in read_results(file)}
    found |= {entry["id"]: entry for entry in entries}
    ordered = sorted(found.values(), key=lambda entry: (entry["date"], entry["id"]))
    write_json(file, {"format": FORMAT, "entries": ordered})


def summary(runs: Sequence[Mapping[str, Any]], *, flops_per_token: float, limit: float) -> dict[str, Any]:
    """What a contender's repeats say together.

    `limit` is FLOPs a second of the measured product. A contender of which no repeat was measured has the status of its last.
    """
    measured = [run for run in runs if run["status"] == "measured"]
    found: dict[str, Any] = {"status": "measured" if measured else runs[-1]["status"]}
    refused = [run for run in runs if run["status"] != "measured"]
    if refused:
        found["why"] = refused[-1]["why"]
        found["repeats_refused"] = len(refused)
    for name in NOISY:
        values = [run[name] for run in measured if run.get(name) is not None]
        if values:
            found[name] = {
                "median": statistics.median(values),
                "least": min(values),
                "most": max(values),
            }
    for name in PLAIN:
        values = [run[name] for run in measured if run.get(name) is not None]
        if values:
            found[name] = statistics.median(values)
    if "tokens_per_second" in found:
        found["share_of_limit"] = found["tokens_per_second"]["median"] * flops_per_token / limit
    return found


def has_rival(entry: Mapping[str, Any]) -> bool:
    """Whether Luthier and a peer were measured together."""
    measured = {name for name, found in entry["contenders"].items() if found["status"] == "measured"}
    return "luthier" in measured and len(measured) > 1


def shown(entries: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The entry that stands for each row: the newest with Luthier beside a peer, or else the newest with any figure."""
    found: dict[str, dict[str, Any]] = {}
    for entry in sorted(entries, key=lambda entry: (has_rival(entry), entry["date"])):
        if any(contender["status"] == "measured" for contender in entry["contenders"].values()):
            found[entry["row"]] = entry
    return found
