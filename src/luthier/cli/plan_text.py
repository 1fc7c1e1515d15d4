"""A plan as people read it: does it fit, how long, how much disk, what looks odd, and where each number comes from."""

from typing import TYPE_CHECKING

from luthier.cli.output import table
from luthier.floor.units import format_bytes, format_count, format_duration
from luthier.reports.plan import PHASES

if TYPE_CHECKING:
    from luthier.reports.plan import Phase, PlanReport, Time

BAR_WIDTH = 40
FULL, PART = "#", "-"


def plan_text(report: "PlanReport") -> str:
    """One screen and a half."""
    parameters = report.parameters
    lines = [
        f"model    {report.model} ({report.family}), {format_count(parameters.total)} parameters, {parameters.source}",
        f"method   {report.method}, {format_count(parameters.trainable)} trained ({parameters.trainable / parameters.total:.2%}), {report.precision}",
        f"device   {report.gpu}" + (f", {format_bytes(report.gpu_bytes)}" if report.gpu_bytes else ""),
        f"fits     {verdict_of(report)}",
        *_time(report),
        f"disk     {format_bytes(report.disk.bytes)} at most"
        + (f" of {format_bytes(report.disk.free_bytes)} free" if report.disk.free_bytes is not None else "")
        + (
            f"; {format_bytes(report.disk.download_bytes)} to fetch first"
            if report.disk.download_bytes
            else ""
        ),
        "",
        *_memory(report),
        "",
        *_items("training's memory", report.memory["train"]),
        "",
        *table(
            [
                ("on disk", "bytes", "how"),
                *((item.name, format_bytes(item.bytes), item.how) for item in report.disk.items),
            ],
            right=(1,),
        ).splitlines(),
    ]
    if report.findings:
        lines += ["", *_findings(report)]
    if report.ladder:
        lines += ["", *_ladder(report)]
    return "\n".join(lines)


def verdict_of(report: "PlanReport") -> str:
    """Whether it fits, and the phase that decides it."""
    if report.fits is None:
        return f"unknown: the memory of {report.gpu} is not known; {report.tightest}"
    is_hopeless = any(phase.low_bytes > (report.gpu_bytes or 0) for phase in report.memory.values())
    verdict = "yes" if report.fits else "no" if is_hopeless else "not for certain"
    return f"{verdict}: {report.tightest}"


def _time(report: "PlanReport") -> list[str]:
    tokens, time = report.tokens, report.time
    rows = f"{tokens.rows:,} rows, " if tokens.rows else ""
    epoch = f"{rows}{format_count(tokens.epoch_tokens)} tokens an epoch; " if tokens.epoch_tokens else ""
    steps = f"{tokens.steps:,} steps of about {tokens.step_tokens:,} tokens" if tokens.steps and tokens.step_tokens else "steps unknown"  # fmt: skip
    return [
        f"tokens   {epoch}{steps} ({tokens.source})",
        f"time     {_duration(time)}",
        f"         {time.how}",
    ]


def _duration(time: "Time") -> str:
    if time.seconds is None or time.low_seconds is None or time.high_seconds is None:
        return "unknown"
    text = f"about {format_duration(time.seconds)}, {format_duration(time.low_seconds)} to {format_duration(time.high_seconds)}"
    if time.cost is not None:
        text += f"; {time.cost:,.2f} at the price given"
    if time.watt_hours is not None:
        text += f"; {time.watt_hours:,.0f} Wh at the board's full power"
    return text


def _memory(report: "PlanReport") -> list[str]:
    """A bar for each phase: what is expected, and up to where it may go, against the device's memory."""
    most = max(report.gpu_bytes or 0, *(phase.high_bytes for phase in report.memory.values()))
    rows: list[tuple[str, ...]] = [("phase", "peak", "between", "", "of the device's memory")]
    for name, phase in report.memory.items():
        full = round(BAR_WIDTH * phase.peak_bytes / most)
        upto = round(BAR_WIDTH * phase.high_bytes / most)
        bar = (FULL * full + PART * (upto - full)).ljust(BAR_WIDTH)
        if report.gpu_bytes:
            end = min(BAR_WIDTH - 1, round(BAR_WIDTH * report.gpu_bytes / most) - 1)
            bar = f"{bar[:end]}|{bar[end + 1 :]}"
        rows.append((PHASES[name], format_bytes(phase.peak_bytes), f"{format_bytes(phase.low_bytes)} and", format_bytes(phase.high_bytes), bar))  # fmt: skip
    return table(rows, right=(1, 2, 3)).splitlines()


def _items(title: str, phase: "Phase") -> list[str]:
    rows = [
        (title, "bytes", "how"),
        *((item.name, format_bytes(item.bytes), item.how) for item in phase.items),
    ]
    return table(rows, right=(1,)).splitlines()


def _findings(report: "PlanReport") -> list[str]:
    return [
        f"{each.severity:8} {each.setting} = {each.value}; usual: {each.usual} (impact: {each.impact}). "
        f"{each.consequence[:1].upper()}{each.consequence[1:]}. To change it: {each.fix}"
        for each in report.findings
    ]


def _ladder(report: "PlanReport") -> list[str]:
    rows: list[tuple[str, ...]] = [("way", "peak", "at most", "time", "fits", "price")]
    for rung in report.ladder:
        time = format_duration(rung.seconds) if rung.seconds is not None else "unknown"
        rows.append((rung.settings or "the recipe as it is", format_bytes(rung.peak_bytes), format_bytes(rung.high_bytes), time, "yes" if rung.fits else "no", rung.price))  # fmt: skip
    return table(rows, right=(1, 2, 3)).splitlines()
