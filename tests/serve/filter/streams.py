"""Send texts through a gate in pieces, and say what came out."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

from luthier.config.serve import FilterConfig
from luthier.serve.filter.gate import FilterGate
from luthier.serve.filter.hook import make_seekers
from luthier.serve.filter.moderator import Moderator
from luthier.serve.filter.seeker import Seekers
from luthier.serve.hooks import Withheld


def stream(
    pieces: Sequence[str],
    seekers: Seekers,
    *,
    is_masking: bool = False,
    fails_open: bool = False,
    moderator: Moderator | None = None,
) -> tuple[list[str], str | None]:
    """What went out behind each piece, and why it ended early, if it did."""
    gate = FilterGate(seekers, is_masking=is_masking, fails_open=fails_open, moderator=moderator)

    async def run() -> tuple[list[str], str | None]:
        out: list[str] = []
        try:
            for piece in pieces:
                out.append(await gate.feed(piece))  # noqa: PERF401  # what came before a Withheld counts
            out.append(await gate.finish())
        except Withheld as end:
            return [*out, end.released], end.reason
        return out, None

    return asyncio.run(run())


def sent(pieces: Sequence[str], seekers: Seekers, *, is_masking: bool = False) -> tuple[str, bool]:
    """All that went out, and whether the answer came to its own end."""
    out, reason = stream(pieces, seekers, is_masking=is_masking)
    return "".join(out), reason is None


def due(text: str, seekers: Seekers, *, is_masking: bool = False) -> tuple[str, bool]:
    """What is to go out of a text that came whole."""
    found = seekers.find(text)
    if not is_masking:
        return (text[: found[0].start], False) if found else (text, True)
    for span in reversed(found):
        text = text[: span.start] + f"[{span.kind.upper()}]" + text[span.end :]
    return text, True


def looking_for(**settings: object) -> Seekers:
    return make_seekers(FilterConfig.model_validate(settings))


def cut(text: str, places: Sequence[int]) -> list[str]:
    """The text in pieces that end at these places."""
    borders = [0, *sorted({place % (len(text) + 1) for place in places}), len(text)]
    return [text[one:two] for one, two in pairwise(borders)]
