"""Count, mask or leave out personal data and secrets in the texts of a row; what is found is decided in luthier.screen."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from luthier.data.clean.filter import Dropped, Kept, edit_texts, texts_of
from luthier.screen.personal import find_personal
from luthier.screen.spans import mask
from luthier.text.rows import Row


@dataclass(frozen=True, slots=True)
class PersonalFilter:
    """What to look for, and what becomes of it."""

    action: Literal["report", "mask", "drop"]
    kinds: Sequence[str]
    name: str = "personal"

    def apply(self, row: Row) -> Kept | Dropped:
        """Count what is found; mask it or leave the row out if the recipe says so."""
        found = Counter(span.kind for _, text in texts_of(row) for span in find_personal(text, self.kinds))
        if not found:
            return Kept(row)
        if self.action == "drop":
            return Dropped(f"holds {', '.join(sorted(found))}", found=found)
        return Kept(edit_texts(row, self.masker(), calls=True) if self.action == "mask" else row, found)

    def masker(self) -> Callable[[str], str]:
        """What puts masks into a text, also into the samples of edits that other filters leave."""
        return partial(mask, find=partial(find_personal, kinds=self.kinds))
