"""One HTML file that holds everything: numbers, charts, rows, style and script. It asks the network for nothing.

A strict Content-Security-Policy names style and script by their hashes, so that nothing a row says can run or load, even if it
found a way through. Jinja escapes what is written into the page; rows travel as JSON in which no sign can end the script element,
and the script puts them in as text.
"""

import base64
import difflib
import hashlib
import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from luthier.data.survey.charts import bar, length_chart
from luthier.data.survey.script_json import SPELT, script_json
from luthier.floor.units import format_count
from luthier.reports.ledger import Account
from luthier.reports.survey import DataSurvey, LikePair

PARTS = Path(__file__).with_name("page")
GENERATOR = "luthier data report"
PIECE = re.compile(r"\s+|\w+|[^\w\s]")
MOST_PIECES = 500
Piece = tuple[str, bool]


def make_page(survey: DataSurvey, *, version: str, command: str) -> str:
    """The whole page as text."""
    style, script = (_part(name) for name in ("report.css", "report.js"))
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_spelt,
    )
    environment.filters |= {"count": _count, "percent": _percent, "short": format_count}
    template = environment.from_string(_part("report.html"))
    return template.render(
        survey=survey,
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'",
        rows=rows_json(survey),
        bar=bar,
        chart=length_chart(survey.lengths),
        reasons=reasons,
        differing=differing,
        generator=GENERATOR,
        version=version,
        command=command,
    )


def rows_json(survey: DataSurvey) -> Markup:
    """The sample rows as JSON for a script element: no `<`, `>` or `&` stands in it as itself."""
    return Markup(script_json([row.model_dump(mode="json") for row in survey.rows]))


def reasons(account: Account) -> list[tuple[str, int]]:
    """Why things were left out, the most frequent reason first."""
    return sorted(account.dropped.items(), key=lambda each: (-each[1], each[0]))


def differing(pair: LikePair) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, each with whether the other text lacks it; word by word, up to a bound."""
    left, right = (PIECE.findall(text)[:MOST_PIECES] for text in (pair.text, pair.other_text))
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    for kind, i, j, k, m in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        for side, words in zip(sides, (left[i:j], right[k:m]), strict=True):
            if words:
                side.append(("".join(words), kind != "equal"))
    return sides


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """A source of the policy, as CSP 3 writes it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _spelt(value: Any) -> Any:
    """Text with its hidden signs spelt out; what is markup already stays."""
    return value.translate(SPELT) if isinstance(value, str) and not isinstance(value, Markup) else value


def _count(value: int) -> str:
    return f"{value:,}"


def _percent(part: float, whole: float) -> str:
    """`12.3 %`, and a dash of nothing."""
    if not whole:
        return "–"
    share = 100 * part / whole
    return f"{share:.0f} %" if share in (0, 100) else f"{share:.2f} %" if share < 1 else f"{share:.1f} %"
