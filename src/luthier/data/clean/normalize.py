"""Bring text into one Unicode form, so that what looks alike is alike to the tokenizer.

NFC only composes. NFKC also replaces characters by plainer ones (`ﬁ` to `fi`, `²` to `2`, full width to half), which can change
what is said: x² becomes x2.
"""

import unicodedata
from typing import Literal

from luthier.data.clean.filter import TextEdit


def normalize_filter(form: Literal["nfc", "nfkc"]) -> TextEdit:
    """The filter `normalize`."""
    name: Literal["NFC", "NFKC"] = "NFC" if form == "nfc" else "NFKC"
    return TextEdit("normalize", lambda text: unicodedata.normalize(name, text))
