"""What `luthier bench serve` found: how long people waited at each rate, and whether a server keeps the level that was asked of it."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from luthier.reports.base import Figure
from luthier.reports.provenance import Provenance

SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
LATENCIES = ("first_token", "request", "token_gap")
LEVEL_NAMES = (*(f"{kind}_{share}" for kind in LATENCIES for share in SHARES), "errors")
# Fewer answers than so many beyond a percentile, and one slow answer more or less moves it.
ENOUGH_BEYOND = 5
# Of requests, where a level names none: an answer that does not come keeps no level, however fast the others are.
MOST_ERRORS = 0.01
AMOUNT = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|%)?")


class Frozen(BaseModel):
    """A part of the report."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Waits(Frozen):
    """Seconds that shares of the answers did not exceed (nearest rank); null without an answer."""

    p50: Figure
    p95: Figure
    p99: Figure


class RateResult(Frozen):
    """One rate of requests."""

    rate: float
    """Requests a second, on average."""
    requests: int
    answered: int
    failures: dict[str, int]
    """Requests without a whole answer, by reason."""
    first_token: Waits
    """From when a request was due to the first text of its answer."""
    request: Waits
    """From when it was due to its end."""
    token_gap: Waits
    """Between two tokens of an answer, on average over it."""
    late: Waits
    """How much later than due requests were sent: the program that measures, not the server."""
    answers_per_second: float
    new_tokens_per_second: float
    prompt_tokens: int
    new_tokens: int
    missed: tuple[str, ...]
    """What of the level was not kept, each with its figure."""

    def figures(self) -> dict[str, float]:
        """The figures by the names of a level."""
        found = {
            f"{kind}_{share}": getattr(getattr(self, kind), share) for kind in LATENCIES for share in SHARES
        }
        return found | {"errors": 1 - self.answered / self.requests if self.requests else math.nan}

    def unsure(self) -> list[str]:
        """The percentiles for which there are too few answers."""
        return [name for name, share in SHARES.items() if self.answered * (1 - share) < ENOUGH_BEYOND]


class LoadReport(Frozen):
    """A load test of a server."""

    url: str
    model: str
    prompts: str
    """Where the prompts come from."""
    seconds: float
    """How long each rate was sent."""
    max_tokens: int
    temperature: float
    seed: int
    level: dict[str, float]
    """The most that each figure may be: seconds, and a share of the requests for errors. Empty if nothing was asked."""
    rates: tuple[RateResult, ...]
    highest_kept: float | None
    """The highest rate measured that keeps the level; null if none does, or nothing was asked."""
    provenance: Provenance


def waits_of(values: Sequence[float]) -> Waits:
    """Percentiles by nearest rank: the smallest value that at least the share of all does not exceed."""
    ordered = sorted(values)
    return Waits(
        **{
            name: ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else math.nan
            for name, share in SHARES.items()
        }
    )


def missed_of(result: RateResult, level: Mapping[str, float]) -> tuple[str, ...]:
    """What a rate did not keep of a level. A figure without an answer behind it is not kept."""
    found = result.figures()
    return tuple(
        f"{name} {show_amount(name, found[name])}, allowed {show_amount(name, most)}"
        for name, most in level.items()
        if not found[name] <= most
    )


def parse_level(words: Sequence[str]) -> dict[str, float]:
    """`first_token_p95=500ms` and the like, in seconds; errors as a share. Raises ValueError with what is wrong."""
    level = dict[str, float]()
    for word in words:
        name, is_given, amount = word.partition("=")
        if name not in LEVEL_NAMES or not is_given:
            raise ValueError(f"{word!r} is not FIGURE=MOST with a FIGURE of {', '.join(LEVEL_NAMES)}")
        matched = AMOUNT.fullmatch(amount.strip())
        is_share = name == "errors"
        if not matched or (matched[2] in ("ms", "s") if is_share else matched[2] == "%"):
            form = "a share, such as 0.01 or 1%" if is_share else "a time, such as 0.5, 0.5s or 500ms"
            raise ValueError(f"{amount!r} is not {form}")
        level[name] = float(matched[1]) * {"ms": 1e-3, "%": 1e-2}.get(matched[2] or "", 1.0)
    return {**level, "errors": level.get("errors", MOST_ERRORS)} if level else {}


def show_amount(name: str, value: float) -> str:
    """A figure of a level as people read it."""
    if math.isnan(value):
        return "none"
    if name == "errors":
        return f"{value:.1%}"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"


def count_failures(failures: Sequence[str]) -> dict[str, int]:
    """How many of each, the most frequent first."""
    return dict(Counter(failures).most_common())
