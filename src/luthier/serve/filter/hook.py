"""The content filter of a server: requests are refused, answers withheld or masked, as the recipe says."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from luthier.config.serve import FilterConfig
from luthier.serve.filter.gate import FilterGate
from luthier.serve.filter.moderator import HttpModerator, Moderator
from luthier.serve.filter.patterns import pattern_seekers
from luthier.serve.filter.seeker import PersonalSeeker, SearchFailed, Seeker, Seekers
from luthier.serve.filter.words import WordSeeker, read_words
from luthier.serve.hooks import Asked, Bystander
from luthier.serve.refusal import Refusal

# A search through more than this takes over a millisecond, and goes to a thread.
SHORT_CHARACTERS = 4_000


class FilterHook(Bystander):
    """Judges what is asked and what is answered."""

    def __init__(self, config: FilterConfig, *, moderator: Moderator | None = None) -> None:
        self._refuses = config.input == "refuse"
        self._output = config.output
        self._fails_open = config.on_failure == "pass"
        self._seekers = make_seekers(config)
        self._moderator = moderator or (HttpModerator(config.moderator) if config.moderator.url else None)

    async def before(self, asked: Asked) -> Mapping[str, str]:
        """Raises Refusal: 400 where something is found, 503 where it could not be judged."""
        if not self._refuses:
            return {}
        try:
            for text in asked.texts:
                kind = await self._first_kind(text)
                if kind is not None:
                    raise _refused(asked, kind)
            if self._moderator is not None and await self._moderator.is_flagged("\n\n".join(asked.texts)):
                raise _refused(asked, "moderator")
        except SearchFailed as fault:
            if not self._fails_open:
                what = "the request could not be judged, and nothing goes unjudged"
                raise Refusal(503, "api-moderator", what, headers={"Retry-After": "5"}) from fault
        return {}

    def gate(self, asked: Asked, choice: int) -> FilterGate | None:
        """The gate of one choice."""
        if self._output == "off":
            return None
        return FilterGate(
            self._seekers,
            is_masking=self._output == "mask",
            fails_open=self._fails_open,
            moderator=self._moderator,
        )

    async def close(self) -> None:
        """Close the moderator's connections."""
        if self._moderator is not None:
            await self._moderator.close()

    async def _first_kind(self, text: str) -> str | None:
        if not self._seekers:
            return None
        is_short = len(text) <= SHORT_CHARACTERS
        found = self._seekers.find(text) if is_short else await asyncio.to_thread(self._seekers.find, text)
        return found[0].kind if found else None


def filter_hook(config: FilterConfig) -> FilterHook | None:
    """The filter of the recipe, or None if it looks for nothing. Raises DataError, UsageError or EnvironmentFault over its parts."""
    if config.input == "off" and config.output == "off":
        return None
    if not (config.words or config.patterns or config.personal or config.moderator.url):
        return None
    return FilterHook(config)


def make_seekers(config: FilterConfig) -> Seekers:
    """What the recipe looks for in the process itself."""
    seekers: list[Seeker] = []
    if config.words is not None:
        seekers.append(WordSeeker(read_words(Path(config.words), where="serve.filter.words")))
    seekers += pattern_seekers(config.patterns, timeout_s=config.pattern_timeout_s)
    if config.personal:
        seekers.append(PersonalSeeker(config.personal))
    return Seekers(seekers)


def _refused(asked: Asked, kind: str) -> Refusal:
    """Says of what kind, never what: the answer to a refused request is no place for the text."""
    what = f"the request holds something that this server does not take ({kind})"
    return Refusal(400, "api-filter", what, param="messages" if asked.kind == "chat" else "prompt")
