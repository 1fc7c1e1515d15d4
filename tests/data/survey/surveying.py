"""Prepared data for the tests of the survey: ordinary rows, and rows that attack the page."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from luthier.config.recipe import Recipe
from luthier.data.stage import prepare
from luthier.data.survey.stage import survey
from luthier.reports.data import DataReport
from luthier.reports.survey import DataSurvey
from tests.data.preparing import make_recipe, make_run, write_rows

HOSTILE = (
    "</script><img src=x onerror=\"document.title='pwned'\">",
    "<script>document.title='pwned'</script>",
    "<!-- <script> ]]> </style><svg onload=alert(1)>",
    "{{ 7 * 7 }} {% raw %} ${alert(1)} &lt;b&gt; \" ' `",
    "javascript:alert(1) <a href='javascript:alert(1)'>x</a>",
    "\u202egnp.exe \u2066 \x1b[31m \x00 \u2028 \u2029",
    "emoji 👩‍🚀 日本語 Ünï",
)


def chats(count: int = 20) -> list[dict[str, Any]]:
    """Conversations that all answer with the same opening; every other one has a system message."""
    rows = []
    for number in range(count):
        turns = [("user", f"What of {number}?"), ("assistant", f"Here is what I know of {number}.")]
        turns = [("system", "Be brief."), *turns] if number % 2 else turns
        rows.append({"messages": [{"role": role, "content": content} for role, content in turns]})
    return rows


def hostile_rows() -> list[dict[str, str]]:
    """Each attack once in a prompt and once in a completion."""
    return [
        row
        for text in HOSTILE
        for row in ({"prompt": text, "completion": "yes"}, {"prompt": "say", "completion": text})
    ]


def prepared(
    base: Path, folder: Path, rows: Sequence[Any], *, name: str = "rows.jsonl", **data: Any
) -> tuple[Recipe, DataReport]:
    """A recipe and the report of its preparation."""
    write_rows(folder / "data" / name, rows)
    recipe = make_recipe(base, folder, **data)
    return recipe, prepare(recipe, make_run(folder))


def surveyed(base: Path, folder: Path, rows: Sequence[Any], **settings: Any) -> DataSurvey:
    """The survey of rows that were prepared for it."""
    return survey(*prepared(base, folder, rows, **settings), title="rows")
