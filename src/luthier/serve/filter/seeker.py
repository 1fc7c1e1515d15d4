"""What is looked for in texts, and from where on a text that still grows may hold more of it.

The law of a seeker, on which the gate of a stream rests: whatever is put behind the text, a find of the longer text that begins before
`open_from(text, start)` is a find of `find(text, start)` already, and ends before it. Personal data here; words and patterns have files.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol

from luthier.screen.personal import find_personal
from luthier.screen.spans import Span


class SearchFailed(Exception):
    """A search or a judgement came to no end; what it would have found is not known."""


class Seeker(Protocol):
    """Looks for one sort of thing. `start` is where what was decided before ends; what begins before it is passed over."""

    def find(self, text: str, start: int = 0) -> list[Span]:
        """Where it is, in order and without overlaps, as if the text ended here. Raises SearchFailed."""

    def open_from(self, text: str, start: int = 0) -> int:
        """From where on more text could make a find, or make one longer or none; `len(text)` if nowhere. Raises SearchFailed."""


# What every form in screen/personal.py and screen/secrets.py is made of, as runs that its beginning cannot leave: a run that does not
# reach the end of the text is decided. Letters, digits and signs hold e-mail addresses, tokens and IP addresses;
_RUN_BREAK = re.compile(r"[^\w.!#$%&'*+/=?^`{|}~@:-]")
# digits and what may stand between them, telephone and card numbers;
_NUMBERS = re.compile(r"[\d+(][\d +()./-]*\Z")
# a country, two digits and groups, at most 34 characters and a space before each, an IBAN (ISO 13616);
_IBAN = re.compile(r"[A-Z]{2}\d{2}[A-Za-z0-9 ]{0,64}\Z")
# and a private key's first line has spaces in it (RFC 7468). What follows that line counts as found up to its end.
_KEY_LINE = re.compile(r"-----BEGIN [A-Z0-9 ]{0,64}-{0,5}\Z")
_TAILS = (_NUMBERS, _IBAN, _KEY_LINE)
# The forms look at what stands before them, and one find hides another that it crosses. The longest with an end of its own is an e-mail
# address, 64 characters, the @ and at most 536 behind it: what lies further back has no say.
_CONTEXT = 700


class PersonalSeeker:
    """Finds personal data and secrets by their forms."""

    def __init__(self, kinds: Sequence[str]) -> None:
        self._kinds = tuple(kinds)

    def find(self, text: str, start: int = 0) -> list[Span]:
        """As `find_personal` has it."""
        from_here = max(0, start - _CONTEXT)
        found = find_personal(text[from_here:] if from_here else text, self._kinds)
        moved = [Span(span.kind, span.start + from_here, span.end + from_here) for span in found]
        return [span for span in moved if span.start >= start]

    def open_from(self, text: str, start: int = 0) -> int:
        """The earliest of the runs that reach the end of the text."""
        breaks = [match.end() for match in _RUN_BREAK.finditer(text, start)]
        places = [breaks[-1] if breaks else start]
        for tail in _TAILS:
            match = tail.search(text, start)
            places += [match.start()] if match else []
        found = self.find(text, start)
        places += [span.start for span in found if span.end == len(text)]
        return _before_finds(min(places), found)


def _before_finds(place: int, found: Sequence[Span]) -> int:
    """`place`, or the start of the find that it would part."""
    return min((span.start for span in found if span.start < place < span.end), default=place)


class Seekers:
    """Several as one."""

    def __init__(self, seekers: Sequence[Seeker]) -> None:
        self._seekers = tuple(seekers)

    def __bool__(self) -> bool:
        return bool(self._seekers)

    def find(self, text: str, start: int = 0) -> list[Span]:
        """The finds of all, without overlaps: where two cross, the first one is as long as both."""
        merged: list[Span] = []
        for span in drop_inside(span for seeker in self._seekers for span in seeker.find(text, start)):
            if merged and span.start < merged[-1].end:
                merged[-1] = Span(merged[-1].kind, merged[-1].start, span.end)
            else:
                merged.append(span)
        return merged

    def open_from(self, text: str, start: int = 0) -> int:
        """The earliest of all."""
        place = min((seeker.open_from(text, start) for seeker in self._seekers), default=len(text))
        return _before_finds(place, self.find(text, start))


def drop_inside(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, without those that lie inside another."""
    kept: list[Span] = []
    for span in sorted(spans, key=lambda span: (span.start, -span.end)):
        if not kept or span.end > kept[-1].end:
            kept.append(span)
    return kept
