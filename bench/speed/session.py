"""One call of the bench on one row: material, contenders in turn and in rounds, and the results file rewritten after each of them.

Contenders take turns (all of them once, then again), so that a machine that slows down slows all of them, and a call that is
stopped has a figure of each.
"""

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from speed.flops import flops_per_token
from speed.material import MEDIAN_TOKENS
from speed.outcome import WORDS
from speed.processes import need, work
from speed.results import keep, summary
from speed.workloads import Contender, Workload

ROOT = Path(__file__).parents[2]
# Another try would end as this one did.
FINAL = ("missing", "out_of_memory", "timed_out", "failed")
MEAN_TOKENS = 1.4 * MEDIAN_TOKENS  # of a log-normal of spread 0.8: exp(0.8^2 / 2)
MOST_TOKENS = 8_000_000


@dataclass(frozen=True)
class Options:
    """What the command line says, beside the row."""

    scratch: Path
    out: Path
    command: str
    repeat: int = 3
    limit_seconds: float = 300.0
    dropout: float = 0.0
    luthier_settings: dict[str, Any] = field(default_factory=dict)


class Budget:
    """Seconds that the whole call may take, and whether one more process fits."""

    def __init__(self, seconds: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._started = seconds, clock, clock()
        self._longest: dict[str, float] = {}

    def left(self) -> float:
        """Seconds, infinite without a budget."""
        if self._seconds is None:
            return float("inf")
        return self._seconds - (self._clock() - self._started)

    def note(self, name: str, seconds: float) -> None:
        """So long took a process of this contender."""
        self._longest[name] = max(seconds, self._longest.get(name, 0.0))

    def fits(self, name: str) -> bool:
        """Whether it would be done in time: as its longest so far, or as the longest of all where it has not run."""
        expected = self._longest.get(name, max(self._longest.values(), default=0.0))
        return self.left() > expected


class Session:
    """One row's entry of the results, filled contender by contender."""

    def __init__(
        self,
        workload: Workload,
        contenders: Sequence[Contender],
        options: Options,
        budget: Budget,
        probed: dict[str, Any],
    ) -> None:
        self.workload, self.contenders, self.options, self.budget = workload, contenders, options, budget
        self.folder = options.scratch / workload.name
        self.rows = self.folder / "rows.jsonl"
        self.runs: dict[str, list[dict[str, Any]]] = {each.name: [] for each in contenders}
        now = datetime.now(UTC)
        self.probed = probed
        self.entry: dict[str, Any] = {
            "id": f"{workload.name} {now.isoformat(timespec='microseconds')}",
            "row": workload.name,
            "date": now.isoformat(timespec="seconds"),
            "command": options.command,
            **probed,
            "steps": workload.steps,
            "warmup": workload.warmup,
            "repeat": options.repeat,
            "dropout": options.dropout,
            "contenders": {},
        }

    def run(self) -> dict[str, Any]:
        """Measure; the entry as it stands in the results file. Raises Refusal if there is nothing to work on."""
        facts = self.prepare()
        rounds = [each for _ in range(self.options.repeat) for each in self.contenders]
        for contender in rounds:
            runs = self.runs[contender.name]
            if runs and runs[-1]["status"] in FINAL:
                continue
            outcome = self.compete(contender, facts)
            if outcome is None:
                continue
            runs.append(outcome)
            self.record(contender)
            print(json.dumps({"row": self.workload.name, "contender": contender.name, **outcome}), flush=True)
        self.record_left_out()
        return self.entry

    def prepare(self) -> dict[str, Any]:
        """Base and rows; what the rows amount to."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        base = self.options.scratch / f"base-{self.workload.shape}"
        self.task = {
            "workload": self.workload.facts(),
            "base": str(base),
            "rows": str(self.rows),
            "scratch": str(self.folder),
            "demo": str(ROOT / "data"),
            "threads": self.workload.threads,
            "dropout": self.options.dropout,
            # Repeats need not compile again; only the row of the first step tells what that takes.
            "caches": "" if self.workload.kind == "first_step" else str(self.options.scratch / "caches"),
            "tokens": min(MOST_TOKENS, 1.1 * max(map(self.tokens_needed, self.contenders))),
        }
        made = self.must("base")
        config = made["config"]
        rows = self.must("rows")
        self.flops = flops_per_token(
            config, kind=self.workload.kind, method=self.workload.method, rank=self.workload.rank
        )
        facts = {name: rows[name] for name in ("rows", "tokens", "median_tokens", "longest_tokens")}
        source = Path(self.workload.data).name
        self.entry |= {"data": {"source": source, **facts}, "flops_per_token": self.flops}
        return facts

    def must(self, library: str) -> dict[str, Any]:
        """Work that every contender stands on."""
        limit = min(self.options.limit_seconds, self.budget.left())
        return need(work(self.task | {"library": library}, folder=self.folder / library, limit_seconds=limit))

    def tokens_needed(self, contender: Contender) -> float:
        """Tokens of all steps, so that no row is seen much more than once."""
        settings = contender.settings
        if "train.tokens_per_step" in settings:
            step = settings["train.tokens_per_step"]
        elif "pack" in settings:
            step = settings["batch"] * settings["accumulate"] * settings["pack"]
        else:
            batch = settings.get("batch") or settings.get("train.batch_size", 4)
            accumulate = settings.get("accumulate") or settings.get("train.gradient_accumulation_steps", 2)
            step = batch * accumulate * MEAN_TOKENS
        return float((self.workload.warmup + self.workload.steps) * step)

    def compete(self, contender: Contender, facts: dict[str, Any]) -> dict[str, Any] | None:
        """One repeat of one contender; None if it would not fit into the budget."""
        if contender.missing:
            return {"status": "missing", "why": contender.missing, "load": []}
        if not self.budget.fits(contender.name):
            return None
        left, limit = self.budget.left(), self.options.limit_seconds
        settings = contender.settings
        if contender.library == "luthier":
            settings = settings | self.options.luthier_settings
        task = self.task | {"library": contender.library, "settings": settings, "rows_facts": facts}
        folder = self.folder / contender.name
        outcome = work(task, folder=folder, limit_seconds=min(left, limit))
        shutil.rmtree(folder, ignore_errors=True)
        if outcome["status"] == "timed_out" and left < limit:
            return None
        self.budget.note(contender.name, outcome["process_seconds"])
        return outcome

    def record(self, contender: Contender) -> None:
        """Put what is known of a contender into the results file at once: a call that is killed loses nothing."""
        runs = self.runs[contender.name]
        found = summary(runs, flops_per_token=self.flops, limit=self.probed["matmul_flops"])
        settings = contender.settings | (
            self.options.luthier_settings if contender.library == "luthier" else {}
        )
        self.entry["contenders"][contender.name] = {**found, "settings": settings, "runs": runs}
        keep(self.options.out, [self.entry])

    def record_left_out(self) -> None:
        """Name what the budget left no time for, whole contenders and repeats."""
        for contender in self.contenders:
            runs = self.runs[contender.name]
            lacking = self.options.repeat - len(runs)
            if lacking and not (runs and runs[-1]["status"] in FINAL):
                told = self.entry["contenders"].setdefault(contender.name, {"status": "left_out", "runs": []})
                told["repeats_left_out"] = lacking
                print(
                    json.dumps(
                        {
                            "row": self.workload.name,
                            "contender": contender.name,
                            "status": "left_out",
                            "why": WORDS["left_out"],
                            "repeats": lacking,
                        }
                    ),
                    flush=True,
                )
        keep(self.options.out, [self.entry])
