"""The rules by which Gopher's authors left out pages of the web (Rae et al. 2021, arXiv:2112.11446, appendix A.1.1, table A1).

Two things are ours, since rows may be short: a sequence counts as repeated only if it stands there twice, and words are what stands
between white space, so languages that write without spaces are not for these rules.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from luthier.data.clean.filter import Dropped, Kept, taught_text
from luthier.text.rows import Row

# Table A1: the largest share that may be repeated.
DUPLICATE_LINES = 0.30
DUPLICATE_PARAGRAPHS = 0.30
DUPLICATE_LINE_CHARACTERS = 0.20
DUPLICATE_PARAGRAPH_CHARACTERS = 0.20
TOP_NGRAM_CHARACTERS = {2: 0.20, 3: 0.18, 4: 0.16}
DUPLICATE_NGRAM_CHARACTERS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
# A.1.1, "Quality filtering".
LEAST_WORDS, MOST_WORDS = 50, 100_000
LEAST_WORD_LENGTH, MOST_WORD_LENGTH = 3, 10
MOST_SYMBOLS_A_WORD = 0.10
MOST_BULLET_LINES = 0.90
MOST_ELLIPSIS_LINES = 0.30
LEAST_ALPHABETIC_WORDS = 0.80
STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
LEAST_STOP_WORDS = 2

_PARAGRAPH_END = re.compile(r"\n{2,}")
# The paper says "bullet point"; the hyphen and the asterisk are Markdown's.
_BULLETS = ("•", "‣", "-", "*")
_ELLIPSES = ("...", "…")


@dataclass(frozen=True)
class Page:
    """A text as the rules see it."""

    text: str
    words: Sequence[str]
    lines: Sequence[str]


@dataclass(frozen=True)
class Rule:
    """A value of a page, and the bounds that it has to keep."""

    value: Callable[[Page], float]
    most: float = float("inf")
    least: float = 0.0


def _lines_repeated(page: Page) -> float:
    return _repeated(page.lines)[0] / max(1, len(page.lines))


def _line_characters_repeated(page: Page) -> float:
    return _repeated(page.lines)[1] / max(1, len(page.text))


def _paragraphs(page: Page) -> list[str]:
    return [part for part in _PARAGRAPH_END.split(page.text.strip()) if part]


def _paragraphs_repeated(page: Page) -> float:
    paragraphs = _paragraphs(page)
    return _repeated(paragraphs)[0] / max(1, len(paragraphs))


def _paragraph_characters_repeated(page: Page) -> float:
    return _repeated(_paragraphs(page))[1] / max(1, len(page.text))


def _repeated(parts: Iterable[str]) -> tuple[int, int]:
    """How many parts stood there before, and their characters."""
    seen: set[str] = set()
    count = characters = 0
    for part in parts:
        if part in seen:
            count, characters = count + 1, characters + len(part)
        seen.add(part)
    return count, characters


def top_ngram_share(words: Sequence[str], n: int, characters: int) -> float:
    """The share of a text's characters in its most frequent sequence of n words; of equally frequent ones, in the longest."""
    counts = Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))
    most = max(counts.values(), default=1)
    if most < 2:
        return 0.0
    longest = max(len(gram) for gram, count in counts.items() if count == most)
    return longest * most / max(1, characters)


def duplicate_ngram_share(words: Sequence[str], n: int, characters: int) -> float:
    """The share of a text's characters in sequences of n words that stood there before; overlapping ones count once."""
    seen: set[str] = set()
    repeated = start = 0
    while start <= len(words) - n:
        gram = "".join(words[start : start + n])
        if gram in seen:
            repeated, start = repeated + len(gram), start + n
        else:
            seen.add(gram)
            start += 1
    return repeated / max(1, characters)


def _top_ngram(n: int) -> Callable[[Page], float]:
    return lambda page: top_ngram_share(page.words, n, len(page.text))


def _duplicate_ngrams(n: int) -> Callable[[Page], float]:
    return lambda page: duplicate_ngram_share(page.words, n, len(page.text))


REPETITION: dict[str, Rule] = {
    "duplicate_lines": Rule(_lines_repeated, most=DUPLICATE_LINES),
    "duplicate_line_characters": Rule(_line_characters_repeated, most=DUPLICATE_LINE_CHARACTERS),
    "duplicate_paragraphs": Rule(_paragraphs_repeated, most=DUPLICATE_PARAGRAPHS),
    "duplicate_paragraph_characters": Rule(
        _paragraph_characters_repeated, most=DUPLICATE_PARAGRAPH_CHARACTERS
    ),
    **{f"top_{n}_gram": Rule(_top_ngram(n), most=share) for n, share in TOP_NGRAM_CHARACTERS.items()},
    **{
        f"duplicate_{n}_grams": Rule(_duplicate_ngrams(n), most=share)
        for n, share in DUPLICATE_NGRAM_CHARACTERS.items()
    },
}


def _share(hits: Iterable[bool], total: int) -> float:
    return sum(hits) / max(1, total)


def _symbols(*symbols: str) -> Callable[[Page], float]:
    return lambda page: sum(page.text.count(symbol) for symbol in symbols) / max(1, len(page.words))


def _word_length(page: Page) -> float:
    return sum(map(len, page.words)) / max(1, len(page.words))


def _bullet_lines(page: Page) -> float:
    return _share((line.lstrip().startswith(_BULLETS) for line in page.lines), len(page.lines))


def _ellipsis_lines(page: Page) -> float:
    return _share((line.rstrip().endswith(_ELLIPSES) for line in page.lines), len(page.lines))


def _alphabetic_words(page: Page) -> float:
    return _share((any(map(str.isalpha, word)) for word in page.words), len(page.words))


def _stop_words(page: Page) -> float:
    return len(STOP_WORDS.intersection(word.lower().strip(".,;:!?\"'()") for word in page.words))


QUALITY: dict[str, Rule] = {
    "words": Rule(lambda page: len(page.words), least=LEAST_WORDS, most=MOST_WORDS),
    "word_length": Rule(_word_length, least=LEAST_WORD_LENGTH, most=MOST_WORD_LENGTH),
    "hashes": Rule(_symbols("#"), most=MOST_SYMBOLS_A_WORD),
    "ellipses": Rule(_symbols(*_ELLIPSES), most=MOST_SYMBOLS_A_WORD),
    "bullet_lines": Rule(_bullet_lines, most=MOST_BULLET_LINES),
    "ellipsis_lines": Rule(_ellipsis_lines, most=MOST_ELLIPSIS_LINES),
    "alphabetic_words": Rule(_alphabetic_words, least=LEAST_ALPHABETIC_WORDS),
    "stop_words": Rule(_stop_words, least=LEAST_STOP_WORDS),
}


class GopherFilter:
    """One of the two tables, without the rules that the recipe skips."""

    def __init__(self, name: str, rules: dict[str, Rule], *, skip: Collection[str]) -> None:
        self.name = name
        self._rules = {rule: bounds for rule, bounds in rules.items() if rule not in skip}

    def apply(self, row: Row) -> Kept | Dropped:
        """Leave the row out for the first rule that it breaks."""
        text = taught_text(row)
        page = Page(text, text.split(), [line for line in text.split("\n") if line.strip()])
        for name, rule in self._rules.items():
            value = rule.value(page)
            if value > rule.most:
                return Dropped(f"{name} above {rule.most:g}", f"{value:.4g}")
            if value < rule.least:
                return Dropped(f"{name} below {rule.least:g}", f"{value:.4g}")
        return Kept(row)
