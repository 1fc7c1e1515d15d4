"""How much an answer agrees with the expected text, row by row, all from 0 to 1.

The guide's evaluator compares `generated.lower() == expected.lower()`; we strip both sides first, so that an answer is not
lost to a trailing newline. On texts without white space at their ends both rules give the same (tested).
"""

import re
import string
from collections import Counter

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def fold(text: str) -> str:
    """The text without white space at its ends, in lower case: what exact match compares."""
    return text.strip().lower()


def exact_match(expected: str, generated: str) -> float:
    """1 if both texts are equal after strip and lower, else 0."""
    return float(fold(expected) == fold(generated))


def jaccard_overlap(expected: str, generated: str) -> float:
    """Shared words over all words, as sets of lower-cased words between white space; two empty texts agree fully."""
    ours, theirs = set(expected.lower().split()), set(generated.lower().split())
    if not ours and not theirs:
        return 1.0
    return len(ours & theirs) / len(ours | theirs)


def token_f1(expected: str, generated: str) -> float:
    """F1 of the bags of words, as SQuAD scores answers (Rajpurkar et al. 2016, section 6.1).

    Normalised as its evaluate-v2.0.py does: lower case, ASCII punctuation removed, the articles a, an and the removed, white
    space collapsed. Two texts without a word agree fully; one alone scores 0.
    """
    ours, theirs = squad_words(expected), squad_words(generated)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def squad_words(text: str) -> list[str]:
    """The words of a text after SQuAD's normalisation."""
    return ARTICLES.sub(" ", text.lower().translate(PUNCTUATION)).split()
