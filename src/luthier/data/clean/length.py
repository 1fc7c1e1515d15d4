"""Leave out rows that are shorter or longer than the recipe allows, in characters or in words, all their texts together."""

from dataclasses import dataclass

from luthier.config.clean import LengthConfig
from luthier.data.clean.filter import Dropped, Kept, whole_text
from luthier.text.rows import Row


@dataclass(frozen=True, slots=True)
class LengthFilter:
    """The bounds; 0 is none."""

    bounds: LengthConfig
    name: str = "length"

    def apply(self, row: Row) -> Kept | Dropped:
        """Keep the row if it lies within all of them."""
        text = whole_text(row)
        return (
            _judge(row, len(text), self.bounds.least_characters, self.bounds.most_characters, "characters")
            or _judge_words(row, text, self.bounds)
            or Kept(row)
        )


def _judge_words(row: Row, text: str, bounds: LengthConfig) -> Dropped | None:
    if not (bounds.least_words or bounds.most_words):
        return None
    return _judge(row, len(text.split()), bounds.least_words, bounds.most_words, "words")


def _judge(row: Row, count: int, least: int, most: int, unit: str) -> Dropped | None:
    if count < least:
        return Dropped(f"fewer than {least} {unit}", f"{count} {unit}")
    if 0 < most < count:
        return Dropped(f"more than {most} {unit}", f"{count} {unit}")
    return None
