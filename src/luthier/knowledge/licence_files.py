"""The licence of what lies in a folder, as its card or the text beside it says."""

import re
from pathlib import Path

from luthier.knowledge.licences import Licence, find_licence, licence_of_text

LICENCE_NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
_CARD_LICENCE = re.compile(r"^licen[sc]e:[ ]*['\"]?([\w.+-]+)", re.MULTILINE)
HEAD_BYTES = 64 * 2**10


def licence_of_folder(folder: Path) -> Licence | None:
    """What the card of a folder says, or the text of its licence; None if neither tells one that is known."""
    card = folder / "README.md"
    if card.is_file():
        head = _head(card)
        match = _CARD_LICENCE.search(head.split("\n---", 1)[0]) if head.startswith("---") else None
        if match and match[1] != "other":
            return find_licence(match[1])
    file = licence_file(folder)
    return licence_of_text(_head(file)) if file else None


def licence_file(folder: Path | None) -> Path | None:
    """The file with the text of a folder's licence."""
    if folder is None:
        return None
    return next((folder / name for name in LICENCE_NAMES if (folder / name).is_file()), None)


def _head(path: Path) -> str:
    with open(path, "rb") as file:
        return file.read(HEAD_BYTES).decode("utf-8", "replace")
