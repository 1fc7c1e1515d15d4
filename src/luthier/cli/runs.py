"""`luthier runs`: what was trained here, and where each run stands."""

from typing import TYPE_CHECKING, Any

from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.floor.rundir import RunDir


def runs(as_json: AsJson = False) -> None:
    """List the runs below outputs/runs, oldest first."""
    from luthier.cli.output import show, show_json, table
    from luthier.floor.rundir import RUNS, list_runs

    found = [run_facts(run) for run in list_runs()]
    if as_json:
        return show_json({"folder": str(RUNS), "runs": found})
    if not found:
        return show(f"no run below {RUNS}; make one: luthier train demo")
    rows = [("run", "state", "method", "base", "loss", "evaluated", "merged")]
    rows += [
        (
            facts["name"],
            facts["state"],
            facts["method"] or "-",
            facts["base"] or "-",
            "-" if facts["loss"] is None else f"{facts['loss']:.4f}",
            ", ".join(facts["evaluated"]) or "-",
            "yes" if facts["is_merged"] else "-",
        )
        for facts in found
    ]
    return show(table(rows))


def run_facts(run: "RunDir") -> dict[str, Any]:
    """What a run's files say; a report that cannot be read counts as missing."""
    from luthier.cli.opening import has_checkpoint
    from luthier.floor.rundir import is_locked

    report = _json(run.report("train"))
    if is_locked(run):
        state = "working"
    elif report:
        state = "finished"
    else:
        state = "can be resumed" if has_checkpoint(run) else "not trained"
    evaluated = sorted(path.parent.name for path in run.stage("evaluate").glob("*/report.json"))
    return {
        "name": run.name,
        "path": str(run.path),
        "state": state,
        "method": report.get("method"),
        "base": report.get("base"),
        "loss": report.get("final_loss"),
        "evaluated": evaluated,
        "is_merged": run.report("merge").is_file(),
    }


def _json(path: Any) -> dict[str, Any]:
    from luthier.floor.files import read_json

    try:
        value = read_json(path)
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
