"""A measurement as people read it: the figures, a table of costs, and the largest of them with what would make it smaller."""

from pathlib import Path
from typing import TYPE_CHECKING

from luthier.cli.output import show, show_json, table, tell
from luthier.floor.units import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from luthier.modelling.step_costs import StepCosts
    from luthier.reports.bench import BenchReport

# What each cost is, on a GPU and on a CPU.
MEANING = {
    "data_wait": ("waiting for a batch to be put together", "putting a batch together"),
    "host_launch": ("waiting for the host to launch kernels", "Python around the operators"),
    "attention": ("attention", "attention"),
    "matmul": ("matrix products", "matrix products"),
    "logits": ("logits and loss", "logits and loss"),
    "optimizer": ("the optimizer", "the optimizer"),
    "elementwise": ("norms, activations, adapters' sums and other small kernels", "norms, activations and other small operators"),
    "copies": ("copies", "copies"),
    "idle": ("nothing, between the steps", "nothing, between the steps"),
}  # fmt: skip
ADVICE = {
    "train": {
        "data_wait": "raise train.pack_tokens, and keep data.cache_path on a local disk",
        "host_launch": "raise train.pack_tokens, or set train.compile=on",
        "attention": "shorter rows cost less of it (data.max_length); see that model.attention is auto",
        "matmul": "it is the arithmetic itself, and only fewer tokens, a smaller model or a faster machine make it less",
        "logits": "only tokens that carry loss cost it: data.train_on=last trains fewer",
        "optimizer": "raise train.gradient_accumulation_steps or train.tokens_per_step, so that it is needed less often",
        "elementwise": "set train.compile=on, which fuses them, and method.dropout=0",
        "copies": "raise train.pack_tokens, so that there are fewer of them",
        "idle": "raise train.log.logging_steps and train.checkpoint.save_steps",
    },
    "generate": {
        "host_launch": "raise evaluate.batch_tokens, so that each launch does more",
        "attention": "shorter prompts cost less of it (evaluate.max_prompt_tokens)",
        "matmul": "it is the arithmetic itself, and only a smaller model or a faster machine make it less",
        "elementwise": "raise evaluate.batch_tokens, so that each of them does more",
        "copies": "raise evaluate.batch_tokens, so that there are fewer of them",
    },
}


def show_bench(report: "BenchReport", out: Path | None, *, as_json: bool) -> None:
    """Print the result, and write it where that was asked for."""
    from luthier.floor.files import write_json

    found = report.model_dump(mode="json")
    if out is not None:
        write_json(out, found)
        tell(f"written to {out}")
    if as_json:
        return show_json(found)
    return show(bench_text(report))


def sentence(costs: "StepCosts", kind: str) -> str:
    """`38 % of a step is waiting for the host to launch kernels: raise train.pack_tokens`"""
    if not costs.wall_seconds:
        return "Nothing was traced."
    what = "a step" if kind == "train" else "the time"
    advice = ADVICE[kind].get(costs.largest, "")
    meaning = MEANING[costs.largest][0 if costs.on_device else 1]
    return f"{100 * costs.share(costs.largest):.0f} % of {what} is {meaning}" + (
        f": {advice}" if advice else ""
    )


def bench_text(report: "BenchReport") -> str:
    """One screen."""
    lines = [
        f"model    {report.model}" + (f", {report.method}" if report.method else ""),
        f"machine  {report.device}, {report.precision}, {report.attention}"
        + (", compiled" if report.compiled else ""),
        f"speed    {format_count(report.tokens_per_second)} {'tokens' if report.kind == 'train' else 'new tokens'}/s: {_counted(report)}",
        f"limit    {_limit(report)}",
        f"memory   {format_bytes(report.peak_bytes)} at most",
    ]
    if report.first_seconds is not None:
        what = (
            "from loading the model to the end of the first step"
            if report.kind == "train"
            else "to the first new token of every prompt"
        )
        lines.append(f"first    {format_duration(report.first_seconds)} {what}")
    costs = _costs(report)
    return "\n".join([*lines, "", *costs, *([""] if costs else []), report.largest])


def _counted(report: "BenchReport") -> str:
    """What the speed was measured over."""
    tokens = f"{report.tokens:,} tokens in {format_duration(report.seconds)}"
    if report.kind == "generate":
        return f"{report.steps:,} answers, {tokens}"
    return f"{report.steps:,} steps after {report.warmup} to warm up, {tokens}, padding not counted"


def _limit(report: "BenchReport") -> str:
    """Both limits by name."""
    measured = (
        f"{report.matmul_flops / 1e12:.3g} TFLOP/s of a {report.matmul_width:,}-wide square product here"
    )
    if report.share_of_matmul is None:
        return f"unknown, since no step was traced; {measured}"
    parts = [f"{report.share_of_matmul:.1%} of {measured}"]
    if report.spec_flops and report.share_of_spec is not None:
        parts.append(
            f"{report.share_of_spec:.1%} of {report.spec_flops / 1e12:.4g} TFLOP/s of the data sheet"
        )
    else:
        parts.append("no data sheet's peak is known for this machine")
    return "; ".join(parts)


def _costs(report: "BenchReport") -> list[str]:
    """The table of a step's time."""
    total = sum(report.breakdown.values())
    if not total:
        return []
    per = "ms a step" if report.kind == "train" else "ms traced"
    side = 1 if report.device.endswith("cores)") else 0
    rows = [("cost", per, "share", "")]
    for cost, seconds in sorted(report.breakdown.items(), key=lambda entry: -entry[1]):
        if seconds / total >= 0.0005:
            rows.append((cost.replace("_", " "), f"{seconds * 1e3:.1f}", f"{seconds / total:.1%}", MEANING[cost][side]))  # fmt: skip
    return table(rows, right=(1, 2)).splitlines()
