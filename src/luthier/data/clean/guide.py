"""The guide's clean_text, to the byte: all white space to single spaces, U+200B out, NFKC, in that order.

It is one filter and not three, because the order shows: what NFKC or the lost U+200B leaves behind is not collapsed again, so a
second pass may change the text once more. It takes line breaks and the indentation of code away; see docs/how-to/clean.md.
"""

import unicodedata

from luthier.data.clean.filter import TextEdit


def clean_text(text: str) -> str:
    """The guide's listing, section 11."""
    text = " ".join(text.split())
    text = text.replace("\u200b", "")
    return unicodedata.normalize("NFKC", text)


GUIDE = TextEdit("guide", clean_text)
