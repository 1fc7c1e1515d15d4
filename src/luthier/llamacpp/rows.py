"""Several rows of a loaded model under way at once: they join, get a token each, and leave at any step.

Each row has a slot of its own in llama.cpp's cache, as many tokens wide as the context. Knows ids and logits only.

Axes: B rows, V vocabulary.
"""

from collections.abc import Sequence

import numpy as np

from luthier.llamacpp.library import BATCH_TOKENS, LoadedModel, Logits


class Rows:
    """The rows' places are 0, 1, ... in the order in which they joined."""

    def __init__(self, model: LoadedModel, *, most_rows: int, context_tokens: int, threads: int) -> None:
        """Raises EnvironmentFault env-memory if there is no memory for so many rows of so many tokens."""
        self._model, self._context_tokens = model, context_tokens
        model.start(context_tokens=context_tokens, threads=threads, rows=most_rows)
        self._free = list(range(most_rows))
        self._slots: list[int] = []
        self.lengths: list[int] = []
        """Tokens that each row holds."""

    def join(self, prompts: Sequence[Sequence[int]]) -> Logits:
        """[B, V] read prompts, which become the last rows; the logits of the token after each."""
        return np.stack([self._read(prompt) for prompt in prompts])

    def step(self, tokens: Sequence[int]) -> Logits:
        """[B, V] give every row its next token; the logits of the token after it."""
        assert len(tokens) == len(self._slots), "every row gets a token"
        self._model.decode(tokens, self.lengths, self._slots, [True] * len(tokens))
        self.lengths = [length + 1 for length in self.lengths]
        return np.stack([self._model.logits_at(place) for place in range(len(tokens))])

    def leave(self, places: Sequence[int]) -> None:
        """Free these rows; those behind them move up."""
        gone = set(places)
        for place in sorted(gone, reverse=True):
            slot = self._slots.pop(place)
            del self.lengths[place]
            self._model.forget_row(slot)
            self._free.append(slot)

    def _read(self, prompt: Sequence[int]) -> Logits:
        assert self._free, "the engine admits no more rows than there are slots"
        slot = self._free.pop()
        for start in range(0, len(prompt), BATCH_TOKENS):
            piece = prompt[start : start + BATCH_TOKENS]
            places = range(start, start + len(piece))
            wanted = [place == len(prompt) - 1 for place in places]
            self._model.decode(piece, places, [slot] * len(piece), wanted)
        self._slots.append(slot)
        self.lengths.append(len(prompt))
        return self._model.logits_at((len(prompt) - 1) % BATCH_TOKENS)
