"""The plan as one HTML file: memory by phase against the device's, the ladder, the learning rate, settings. It asks the network for nothing.

There is no script, and a Content-Security-Policy that names the style by its hash; Jinja escapes what a recipe says.
"""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from luthier.config.train import TrainConfig
from luthier.floor.units import format_bytes, format_count, format_duration
from luthier.knowledge.schedule import learning_rate
from luthier.reports.plan import PHASES, Phase, PlanReport

PARTS = Path(__file__).with_name("page")
COLORS = 10
BAR = 1000.0
CURVE_POINTS, CURVE_LEFT, CURVE_RIGHT, CURVE_TOP, CURVE_BOTTOM = 200, 60, 630, 14, 170
FEW_STEPS = 1000


@dataclass(frozen=True)
class Part:
    """A segment of a bar, in thousandths of the longest."""

    color: str
    start: float
    width: float
    title: str


@dataclass(frozen=True)
class Bar:
    """A phase's memory as a bar."""

    name: str
    text: str
    parts: tuple[Part, ...]
    upto: float


@dataclass(frozen=True)
class Curve:
    """The learning rate over the run."""

    points: str
    highest: str
    steps: str
    label: str


def make_page(plan: PlanReport, train: TrainConfig, *, verdict: str, version: str, command: str) -> str:
    """The whole page as text."""
    style = (PARTS / "plan.css").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"size": format_bytes, "short": format_count, "duration": _duration}
    names = list(dict.fromkeys(item.name for phase in plan.memory.values() for item in phase.items))
    colors = {name: f"f{number % COLORS}" for number, name in enumerate(names)}
    # A little room at the end, so that a line there is seen.
    most = 1.02 * max(plan.gpu_bytes or 0, *(phase.high_bytes for phase in plan.memory.values()))
    hashed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.from_string((PARTS / "plan.html").read_text(encoding="utf-8")).render(
        plan=plan,
        verdict=verdict,
        bars=[_bar(PHASES[name], phase, colors, most) for name, phase in plan.memory.items()],
        legend=list(colors.items()),
        limit=None if plan.gpu_bytes is None else round(BAR * plan.gpu_bytes / most, 1),
        curve=curve_of(train, plan.tokens.steps or FEW_STEPS),
        time=_duration(plan.time.seconds),
        tokens=_tokens(plan),
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'",
        version=version,
        command=command,
    )


def curve_of(train: TrainConfig, steps: int) -> Curve:
    """The rate at some two hundred steps, as points of a line."""
    chosen = sorted({round(number * (steps - 1) / CURVE_POINTS) for number in range(CURVE_POINTS + 1)})
    width, height = CURVE_RIGHT - CURVE_LEFT, CURVE_BOTTOM - CURVE_TOP
    points = []
    for step in chosen:
        rate = learning_rate(step, train.schedule, highest=train.lr, total_steps=steps)
        x = CURVE_LEFT + width * step / max(1, steps - 1)
        points.append(f"{x:.1f},{CURVE_BOTTOM - height * rate / train.lr:.1f}")
    label = f"{train.schedule.kind}, highest {train.lr:g}, warm-up over {train.schedule.warmup_fraction:.0%} of the steps"
    return Curve(" ".join(points), f"{train.lr:g}", f"{steps:,}", label)


def _bar(name: str, phase: Phase, colors: dict[str, str], most: float) -> Bar:
    parts, start = [], 0.0
    for item in phase.items:
        width = BAR * item.bytes / most
        parts.append(
            Part(
                colors[item.name],
                round(start, 2),
                round(width, 2),
                f"{item.name}: {format_bytes(item.bytes)}",
            )
        )
        start += width
    text = f"{format_bytes(phase.peak_bytes)}, {format_bytes(phase.low_bytes)} to {format_bytes(phase.high_bytes)}"
    return Bar(name, text, tuple(parts), round(BAR * phase.high_bytes / most, 1))


def _tokens(plan: PlanReport) -> str:
    tokens = plan.tokens
    epoch = f"{tokens.epoch_tokens:,} tokens an epoch, " if tokens.epoch_tokens else ""
    return f"{epoch}{tokens.source}."


def _duration(seconds: float | None) -> str:
    return "unknown" if seconds is None else format_duration(seconds)
