"""Take out characters that nobody sees and that say nothing: controls, zero-width marks, hidden text.

Kept: tab and line breaks; the zero-width joiner and non-joiner, which Persian, Indic scripts and emoji need; left-to-right and
right-to-left marks; U+FFFD, since it tells that something was lost.
"""

import re

from luthier.data.clean.filter import TextEdit

_INVISIBLE = re.compile(
    # A flag of a part of a country (England, Scotland, Wales) is spelt in tag characters (Unicode TR51, ED-14a) and stays.
    "(\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f)"
    # Terminal sequences that colour and move (ECMA-48, 5.4), whole, or their visible half would stay.
    "|\x1b\\[[0-?]*[ -/]*[@-~]"
    # C0 controls but tab, line feed and carriage return; delete; C1 controls.
    "|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x9f"
    # Soft hyphen, zero-width space, word joiner and invisible operators, byte-order mark.
    "\u00ad\u200b\u2060-\u2064\ufeff"
    # Bidirectional embeddings, overrides and isolates, which show text in another order than it has (CVE-2021-42574).
    "\u202a-\u202e\u2066-\u2069\u206a-\u206f"
    # Interlinear annotation, noncharacters, and tags, in which text can be hidden from people and read by models.
    "\ufff9-\ufffb\ufdd0-\ufdef\ufffe\uffff\U000e0000-\U000e007f]"
)


def remove_invisible(text: str) -> str:
    """The text without them."""
    return _INVISIBLE.sub(lambda match: match[1] or "", text)


CHARACTERS = TextEdit("characters", remove_invisible)
