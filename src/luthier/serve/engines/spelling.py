"""Turn tokens into text as they come: whole characters only, and nothing that may still become a stop string.

A character may take several tokens, and a stop string may begin in one piece and end in the next: what is not certain yet is held back.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

# What decoders write for bytes that are no character (yet).
UNFINISHED = "\ufffd"
# A character has at most four bytes; behind so many that are none, the earlier ones will stay what they are.
LONGEST_DOUBT = 16
# Decoding starts anew after so many tokens: the whole answer each time would take ever longer.
WINDOW_TOKENS = 16

Note = TypeVar("Note")


class Speller:
    """The text of one answer, token by token. The pieces put end to end are what decoding all ids at once gives."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._window: list[int] = []
        self._overlap = 0
        """Tokens at the window's start that belong to the window before: some decoders look at what stands before a token."""
        self._told = 0
        """Characters of the window's text that went out."""

    def add(self, token: int) -> str:
        """The text that is certain now that this token is there."""
        self._window.append(token)
        text = self._decode(self._window)
        certain = len(text.rstrip(UNFINISHED))
        certain = max(certain, len(text) - LONGEST_DOUBT)
        told = text[self._told : certain]
        self._told = max(self._told, certain)
        if certain == len(text) and len(self._window) - self._overlap >= WINDOW_TOKENS:
            self._window = self._window[-WINDOW_TOKENS // 2 :]
            self._overlap = len(self._window)
            self._told = len(self._decode(self._window))
        return told

    def finish(self) -> str:
        """What is left: half a character is shown as the decoder shows it."""
        return self._decode(self._window)[self._told :]


@dataclass
class StopFinder(Generic[Note]):
    """Passes text on up to the first stop string; notes (log probabilities of tokens) go with the text they belong to."""

    stops: Sequence[str]
    has_stopped: bool = False
    _held: str = ""
    _passed: int = 0
    """Characters of the answer that went out."""
    _notes: list[tuple[int, Note]] = field(default_factory=list)
    """Each with the number of characters that were there before its token."""
    _came: int = 0

    def note(self, note: Note) -> None:
        """Say something of the token whose text comes next."""
        self._notes.append((self._came, note))

    def add(self, text: str) -> str:
        """The text that may go out now."""
        if self.has_stopped:
            return ""
        self._came += len(text)
        self._held += text
        found = [place for stop in self.stops if (place := self._held.find(stop)) >= 0]
        if found:
            self.has_stopped = True
            return self._pass_on(min(found))
        return self._pass_on(len(self._held) - self._doubtful())

    def finish(self) -> str:
        """The model has ended by itself: what was held back is no stop string."""
        return "" if self.has_stopped else self._pass_on(len(self._held))

    def take_notes(self) -> list[Note]:
        """Notes of tokens whose text has begun to go out, each once; of tokens behind a stop string there are none."""
        is_over = self.has_stopped
        ready = [
            note for start, note in self._notes if start < self._passed or (not self._held and not is_over)
        ]
        self._notes = self._notes[len(ready) :]
        return ready

    def _pass_on(self, characters: int) -> str:
        text, self._held = self._held[:characters], self._held[characters:]
        self._passed += characters
        return text

    def _doubtful(self) -> int:
        """How many characters at the end may be the beginning of a stop string."""
        longest = 0
        for stop in self.stops:
            for length in range(min(len(stop) - 1, len(self._held)), longest, -1):
                if self._held.endswith(stop[:length]):
                    longest = length
                    break
        return longest
