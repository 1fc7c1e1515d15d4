"""Luthier beside what people use today, on one machine: tokens a second, peak memory, time to the first step.

    python bench/train_speed.py --list
    python bench/train_speed.py --row llama8b-lora --repeat 3
    python bench/train_speed.py --row demo-cpu --contenders luthier,trl
    python bench/train_speed.py --all --budget-seconds 3600
    python bench/train_speed.py --merge FILE
    python bench/train_speed.py --table

Every contender runs in a process of its own, on the same random weights and the same rows; each prints one JSON line, and the
results (bench/results/train_speed.json) are rewritten behind it. A library that is missing, memory that runs out and time that
is up are results too. Weights are written to a scratch folder: 15 GiB for 8B. docs/explanation/speed.md says how to read it.
"""

import argparse
import dataclasses
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Luthier need not be installed: what is measured is what lies beside this file.
sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from speed.machine import installed
from speed.outcome import Refusal
from speed.page import write_page
from speed.processes import need, work
from speed.results import keep, read_results
from speed.session import Budget, Options, Session
from speed.workloads import GIB, NOT_SHOWN, WORKLOADS, Contender, Workload

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "bench" / "results" / "train_speed.json"
PAGE = ROOT / "docs" / "explanation" / "speed.md"
NEEDS = {
    "luthier": (), "hf_trainer": ("transformers", "peft"), "trl": ("trl", "datasets"), "unsloth": ("unsloth", "trl"),
    "generate": ("transformers",),
}  # fmt: skip


def main() -> None:
    # A call that is ended takes its contender along and clears its scratch folder, as Ctrl-C does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    arguments = parser().parse_args()
    out = arguments.out.resolve()
    if arguments.list:
        show_rows()
        return
    if arguments.merge or arguments.table:
        try:
            told = merge(arguments.merge, out) if arguments.merge else table(out)
        except ValueError as fault:
            sys.exit(str(fault))
        print(told)
        return
    if not (arguments.row or arguments.all):
        sys.exit(
            "name a row (--row demo-cpu), or every row that fits this machine (--all); --list tells them"
        )
    measure_rows(arguments, out)


def merge(theirs: Path, out: Path) -> str:
    """Take another machine's entries. Raises ValueError if there are none, or the file is another's."""
    entries = read_results(theirs)
    if not entries:
        raise ValueError(f"{theirs.name} is not there, or has no entry")
    keep(out, entries)
    return f"{len(entries)} entries of {theirs.name} are in {out.name}; write the page: python bench/train_speed.py --table"


def table(out: Path) -> str:
    """Write the page."""
    entries = read_results(out)
    write_page(PAGE, entries)
    return f"docs/explanation/{PAGE.name} says what the {len(entries)} entries of {out.name} say"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Luthier beside its peers: one row of the table, or all.")
    made.add_argument("--row", action="append", choices=list(WORKLOADS), metavar="ROW", default=[])
    made.add_argument("--all", action="store_true", help="every row that this machine's GPU can hold")
    made.add_argument("--list", action="store_true", help="rows, contenders, and what each needs")
    made.add_argument("--contenders", metavar="A,B", help="only these")
    made.add_argument("--repeat", type=count, default=3, metavar="N")
    made.add_argument("--steps", type=count, metavar="N", help="timed steps, instead of the row's own")
    made.add_argument("--warmup", type=count, metavar="N", help="steps before them, at least 1")
    made.add_argument(
        "--data", metavar="drawn|FILE", help="real rows of a file of JSON lines instead of drawn ones"
    )
    made.add_argument("--dropout", type=float, default=0.0, metavar="P", help="of the adapters")
    made.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of Luthier's recipe"
    )
    made.add_argument(
        "--budget-seconds", type=float, metavar="N", help="start no contender that would end later"
    )
    made.add_argument(
        "--limit-seconds", type=float, default=300.0, metavar="N", help="the most of one process"
    )
    made.add_argument("--scratch", type=Path, metavar="DIR", help="keep the weights here for a later call")
    made.add_argument("--out", type=Path, default=RESULTS, metavar="FILE")
    made.add_argument(
        "--merge", type=Path, metavar="FILE", help="take the entries of another machine's results"
    )
    made.add_argument("--table", action="store_true", help="write the results into the page")
    return made


def count(text: str) -> int:
    """A whole number above 0."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is below 1")
    return number


def show_rows() -> None:
    """The table as it can be asked for; what is not installed is said."""
    there = installed()
    for workload in WORKLOADS.values():
        needs = f"a GPU of {workload.least_gpu_gib:.0f} GiB" if workload.least_gpu_gib else "a CPU"
        goal = f"; to reach: {workload.reach}" if workload.reach else ""
        print(f"{workload.name}: {workload.title}. Needs {needs}{goal}")
        for contender in workload.contenders:
            lacking = [name for name in libraries(workload, contender) if name not in there]
            notes = f"  (not installed: {', '.join(lacking)})" if lacking else ""
            notes += f"  ({contender.missing})" if contender.missing else ""
            settings = " ".join(f"{name}={value}" for name, value in contender.settings.items())
            print(f"  {contender.name:<26}{settings}{notes}")


def libraries(workload: Workload, contender: Contender) -> list[str]:
    """What a contender imports beside torch, by the names of the packages."""
    named = [*NEEDS[contender.library]]
    if contender.settings.get("liger"):
        named.append("liger_kernel")
    if workload.method == "qlora":
        named.append("bitsandbytes")
    return named


def measure_rows(arguments: argparse.Namespace, out: Path) -> None:
    """Every row that was asked for, one after the other."""
    budget = Budget(arguments.budget_seconds)
    refused = False
    with tempfile.TemporaryDirectory(prefix="train-speed-", ignore_cleanup_errors=True) as temporary:
        scratch = (arguments.scratch or Path(temporary)).resolve()
        options = Options(
            scratch=scratch,
            out=out,
            command=command_line(arguments),
            repeat=arguments.repeat,
            limit_seconds=arguments.limit_seconds,
            dropout=arguments.dropout,
            luthier_settings=dict(map(setting, arguments.set)),
        )
        probed: dict[int, dict[str, Any]] = {}
        for workload in chosen_rows(arguments):
            threads = workload.threads
            try:
                if threads not in probed:
                    probed[threads] = probe(scratch, threads)
                if arguments.all and not fits_gpu(workload, probed[threads]):
                    continue
                contenders = chosen_contenders(workload, arguments.contenders)
                Session(workload, contenders, options, budget, probed[threads]).run()
            except Refusal as refusal:
                refused = True
                told = {"row": workload.name, "status": refusal.status, "why": refusal.why}
                print(json.dumps(told), flush=True)
    sys.exit(1 if refused else 0)


def chosen_rows(arguments: argparse.Namespace) -> list[Workload]:
    """The rows, with the steps and the data of the command line."""
    names = [name for name in WORKLOADS if name not in NOT_SHOWN] if arguments.all else arguments.row
    changes = {name: getattr(arguments, name) for name in ("steps", "warmup") if getattr(arguments, name)}
    if arguments.data and arguments.data != "drawn":
        file = Path(arguments.data).resolve()
        if not file.is_file():
            sys.exit(f"--data {arguments.data}: there is no such file of rows")
        changes["data"] = str(file)
    return [dataclasses.replace(WORKLOADS[name], **changes) for name in names]


def chosen_contenders(workload: Workload, names: str | None) -> Sequence[Contender]:
    """All, or those that were named; raises Refusal if the row has no such."""
    if names is None:
        return workload.contenders
    try:
        return [workload.contender(name) for name in names.split(",")]
    except KeyError as fault:
        raise Refusal("failed", str(fault.args[0])) from fault


def setting(text: str) -> tuple[str, Any]:
    """`train.lr=1e-4` as the key and the value, read as JSON where it is some."""
    name, _, value = text.partition("=")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def probe(scratch: Path, threads: int) -> dict[str, Any]:
    """The machine and its limit, measured in a process of its own."""
    found = need(work({"library": "probe", "threads": threads}, folder=scratch / "probe", limit_seconds=300))
    return {name: found[name] for name in ("hardware", "versions", "matmul_flops", "matmul_width", "load")}


def fits_gpu(workload: Workload, probed: dict[str, Any]) -> bool:
    """Whether --all tries a row on this machine; one that is not tried is said."""
    held = probed["hardware"]["gpu_bytes"] or 0
    if workload.least_gpu_gib * GIB <= held:
        return True
    why = f"needs a GPU of {workload.least_gpu_gib:.0f} GiB"
    print(json.dumps({"row": workload.name, "status": "not_tried", "why": why}), flush=True)
    return False


def command_line(arguments: argparse.Namespace) -> str:
    """The command as it can be repeated elsewhere: files by their names alone, folders of this machine left out."""
    words, left_out = [], {"--scratch", "--out"}
    given = iter(sys.argv[1:])
    for word in given:
        name, _, value = word.partition("=")
        if name in left_out:
            if not value:
                next(given, None)
            continue
        words.append(Path(word).name if word == arguments.data else word)
    return shlex.join(["python", "bench/train_speed.py", *words])


if __name__ == "__main__":
    main()
