"""Hold back the text of a stream until nothing in it can be part of a find any more; then send it, mask it, or end there.

What goes out depends on the text alone, not on how the model cut it into pieces: that is a law, and tests/serve/filter holds it over cuts.
"""

from luthier.screen.spans import Span
from luthier.serve.filter.moderator import Moderator
from luthier.serve.filter.seeker import SearchFailed, Seekers
from luthier.serve.hooks import Withheld

# How much of what came before is judged with a piece: enough to see what it is about, whatever the answer's length.
CONTEXT_CHARACTERS = 4_000


class FilterGate:
    """The gate of one choice. `fails_open` sends what could not be judged."""

    def __init__(
        self, seekers: Seekers, *, is_masking: bool, fails_open: bool, moderator: Moderator | None = None
    ) -> None:
        self._seekers = seekers
        self._is_masking = is_masking
        self._fails_open = fails_open
        self._moderator = moderator
        self._text = ""
        self._sent = 0
        self._judged = 0

    async def feed(self, text: str) -> str:
        """Take a piece; give what is cleared. Raises Withheld."""
        self._text += text
        return await self._release(self._cleared(is_end=False), is_end=False)

    async def finish(self) -> str:
        """Give the rest, as far as it is cleared. Raises Withheld."""
        return await self._release(self._cleared(is_end=True), is_end=True)

    def _cleared(self, *, is_end: bool) -> tuple[int, list[Span]]:
        """Up to where the text is decided, and the finds before that."""
        try:
            end = len(self._text) if is_end else self._seekers.open_from(self._text, self._sent)
            found = self._seekers.find(self._text, self._sent)
        except SearchFailed as fault:
            if self._fails_open:
                return len(self._text), []
            raise Withheld(str(fault)) from fault
        return end, [span for span in found if span.start < end]

    async def _release(self, cleared: tuple[int, list[Span]], *, is_end: bool) -> str:
        end, found = cleared
        if found and not self._is_masking:
            end = found[0].start
        if self._moderator is not None:
            end = await self._judge(
                self._moderator, end, is_last=is_end or bool(found and not self._is_masking)
            )
        out = self._masked(end, found)
        self._sent = max(self._sent, end)
        if found and not self._is_masking:
            raise Withheld(found[0].kind, out)
        return out

    async def _judge(self, moderator: Moderator, end: int, *, is_last: bool) -> int:
        """Up to where the moderator has cleared the text: a piece is judged once it is long enough, or the last."""
        is_due = end - self._judged >= moderator.every_characters or (is_last and end > self._judged)
        if not is_due:
            return self._judged
        try:
            is_bad = await moderator.is_flagged(self._text[max(0, self._judged - CONTEXT_CHARACTERS) : end])
        except SearchFailed as fault:
            if not self._fails_open:
                raise Withheld(str(fault)) from fault
            is_bad = False
        if is_bad:
            raise Withheld("moderator")
        self._judged = end
        # A find that is masked is not parted: it lies before what was cleared as a whole.
        return end

    def _masked(self, end: int, found: list[Span]) -> str:
        if not self._is_masking:
            return self._text[self._sent : end]
        parts, done = [], self._sent
        for span in found:
            if span.start >= end:
                break
            parts += [self._text[done : span.start], f"[{span.kind.upper()}]"]
            done = span.end
        return "".join([*parts, self._text[done:end]])
