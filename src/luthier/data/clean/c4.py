"""The rules by which the Colossal Clean Crawled Corpus was made (Raffel et al. 2020, arXiv:1910.10683, section 2.2).

Lines of a text row that are no sentence go, and rows with too few sentences; a completion or an answer is judged as it is. Made
for pages of the web: code, lists, verse and most short answers do not pass. C4's list of bad words is not here (data.clean.words takes one), nor its removal of repeated sentences.
"""

import re
from collections.abc import Collection
from typing import Literal

from luthier.data.clean.filter import Dropped, Kept, edit_texts, taught_text
from luthier.text.rows import Row

# "A period, exclamation mark, question mark, or end quotation mark."
TERMINAL_PUNCTUATION = (".", "!", "?", '"', "”")
# As in the code that made the corpus (tensorflow_datasets, text/c4_utils.py: _MIN_WORDS_PER_LINE, _MIN_NUM_SENTENCES,
# _MAX_WORD_LENGTH). Others read three words and five sentences out of the paper, which has no rule about long words.
LEAST_LINE_WORDS = 5
LEAST_SENTENCES = 3
MOST_WORD_CHARACTERS = 1000
# From the same code; the paper says "boilerplate policy notices".
POLICY = (
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
)
_CITATION = re.compile(r"\[\d{1,4}\]|\[edit\]|\[citation needed\]")
_SENTENCE_END = re.compile(r"[.!?][\"”’)]*(?=\s|$)")

LineRule = Literal["c4_terminal_punctuation", "c4_line_words", "c4_long_word", "c4_javascript", "c4_policy"]


class C4Filter:
    """The rules, without those that the recipe skips."""

    name = "c4"

    def __init__(self, *, skip: Collection[str]) -> None:
        self._skip = frozenset(skip)

    def apply(self, row: Row) -> Kept | Dropped:
        """Take lines and citation marks out of a text row, then judge what is left."""
        cleaned = edit_texts(row, self._edit) if row.kind == "text" else row
        text = taught_text(cleaned)
        if "c4_lorem_ipsum" not in self._skip and "lorem ipsum" in text.lower():
            return Dropped("c4_lorem_ipsum: holds placeholder text")
        if "c4_curly_bracket" not in self._skip and "{" in text:
            return Dropped("c4_curly_bracket: holds a curly bracket, as code does")
        sentences = len(_SENTENCE_END.findall(text))
        if "c4_sentences" not in self._skip and sentences < LEAST_SENTENCES:
            return Dropped(f"c4_sentences below {LEAST_SENTENCES}", str(sentences))
        return Kept(cleaned)

    def _edit(self, text: str) -> str:
        if "c4_citations" not in self._skip:
            text = _CITATION.sub("", text)
        return "\n".join(line for line in text.split("\n") if self._keeps(line.strip()))

    def _keeps(self, line: str) -> bool:
        lowered = line.lower()
        broken: dict[LineRule, bool] = {
            "c4_terminal_punctuation": not line.endswith(TERMINAL_PUNCTUATION) or line.endswith("..."),
            "c4_line_words": len(line.split()) < LEAST_LINE_WORDS,
            "c4_long_word": any(len(word) > MOST_WORD_CHARACTERS for word in line.split()),
            "c4_javascript": "javascript" in lowered,
            "c4_policy": any(phrase in lowered for phrase in POLICY),
        }
        return not any(is_broken and rule not in self._skip for rule, is_broken in broken.items())
