"""Which held-out rows a verification looks at: the first ones, and one of every further shape of conversation among them all.

A shape is what makes templates and tokenizers part: a system prompt, several turns, tools, signs beyond ASCII, special tokens that
a text spells.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from re import Pattern

from transformers import PreTrainedTokenizerBase

from luthier.config.recipe import Recipe
from luthier.export.check_rows import CheckRow, CheckRows, check_template, read_check_rows, render_check_rows
from luthier.floor.errors import DataError
from luthier.reports.data import DataReport
from luthier.text.chat import as_messages
from luthier.text.encode import control_pattern
from luthier.text.render import Template
from luthier.text.row import Row
from luthier.text.rows import read_held_out

MOST_FURTHER_SHAPES = 64
PLAIN = "plain"
SPECIAL = "special tokens in text"
Shape = frozenset[str]


@dataclass(frozen=True)
class RowSet:
    """Rows, rendered as the run's training rows were."""

    checked: CheckRows
    template: Template | None
    """None where the rows are kept as tokens only: nobody knows their texts."""
    shapes: Mapping[str, Shape]
    """By the origin of a row; empty where there is no template."""

    def shape_counts(self, rows: Iterable[CheckRow]) -> dict[str, int]:
        """How many of `rows` have each shape, the most frequent first."""
        counts = Counter(name for row in rows for name in self.shapes.get(row.origin, ()))
        return dict(counts.most_common())

    def spells_special(self, row: CheckRow) -> bool:
        """Whether a text of the row spells a special token, which programs read in two ways."""
        return SPECIAL in self.shapes.get(row.origin, ())


def read_row_set(recipe: Recipe, data: DataReport | None, tokenizer: PreTrainedTokenizerBase) -> RowSet:
    """The rows by `verify.rows`. Raises DataError if there are none or they cannot be read."""
    if not Path(recipe.evaluate.path).exists():
        few = recipe.model_copy(
            update={"merge": recipe.merge.model_copy(update={"check_rows": recipe.verify.rows})}
        )
        return RowSet(read_check_rows(few, data, tokenizer), None, {})
    control = control_pattern(tokenizer)
    rows = _choose(
        read_held_out(Path(recipe.evaluate.path), recipe.data, recipe.evaluate.format), control, recipe
    )
    shapes = {row.origin: shape_of(row, control) for row in rows}
    rendered = render_check_rows(rows, recipe, data, tokenizer)
    checked = replace(
        rendered, rows=tuple(_unasked(row) if SPECIAL in shapes[row.origin] else row for row in rendered.rows)
    )
    return RowSet(checked, check_template(recipe, data, rows[0]), shapes)


def _unasked(row: CheckRow) -> CheckRow:
    """A row that programs read in two ways: what each answers is no measure."""
    return replace(row, expected="")


def _choose(rows: Iterable[Row], control: Pattern[str], recipe: Recipe) -> Sequence[Row]:
    chosen: list[Row] = []
    seen: set[Shape] = set()
    for number, row in enumerate(rows):
        shape = shape_of(row, control)
        is_further = shape not in seen and len(chosen) < recipe.verify.rows + MOST_FURTHER_SHAPES
        if number < recipe.verify.rows or is_further:
            chosen.append(row)
            seen.add(shape)
    if not chosen:
        raise DataError("data-empty", "there is no held-out row to compare on", where=recipe.evaluate.path)
    return chosen


def shape_of(row: Row, control: Pattern[str]) -> Shape:
    """What of the row tells templates and tokenizers apart; `plain` if nothing does."""
    messages = as_messages(row) if row.kind != "text" else ()
    texts = [text for text in row.texts() if text]
    found = {
        "system": any(message.role in ("system", "developer") for message in messages),
        "several turns": sum(message.role == "user" for message in messages) > 1,
        "tools": bool(row.tools) or any(message.tool_calls or message.role == "tool" for message in messages),
        "not ASCII": not all(text.isascii() for text in texts),
        SPECIAL: any(control.search(text) for text in texts),
    }
    return frozenset(name for name, is_so in found.items() if is_so) or frozenset({PLAIN})
