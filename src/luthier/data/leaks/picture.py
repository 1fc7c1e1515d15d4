"""Cut texts so that two of them fit side by side, and find the words that they share."""

from luthier.data.leaks.words import places_of_words, words_of

TEXT_SHOWN = 600
MARGIN = 120
CUT = "..."


def cut(text: str) -> str:
    """The beginning of a text."""
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]} {CUT}"


def cut_around(text: str, first_word: int, words: int) -> str:
    """The part of a text where so many words from `first_word` stand, with something before and after."""
    if len(text) <= TEXT_SHOWN:
        return text
    places = places_of_words(text)
    start = max(0, places[first_word][0] - MARGIN)
    end = min(places[first_word + words - 1][1] + MARGIN, start + TEXT_SHOWN)
    return f"{CUT + ' ' if start else ''}{text[start:end]}{' ' + CUT if end < len(text) else ''}"


def shared_words(left: str, right: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Where the words stand that both texts have, in each of them."""
    both = set(words_of(left)) & set(words_of(right))
    return _places(left, both), _places(right, both)


def _places(text: str, wanted: set[str]) -> list[tuple[int, int]]:
    return [
        place for place, word in zip(places_of_words(text), words_of(text), strict=True) if word in wanted
    ]
