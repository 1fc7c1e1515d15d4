"""Choose the next token of each row by the row's own settings, and tell how likely it was.

A seeded row draws from its own stream of numbers, so that its answer does not depend on who else is being answered.

Axes: B rows, V vocabulary.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

# Below this, dividing logits by the temperature overflows fp32 and the likeliest token has all the weight anyway.
COLDEST = 1e-3


@dataclass(frozen=True)
class Settings:
    """How a row chooses."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: str | None = None
    """Rows with the same seed and the same prompt answer alike; None draws anew each time."""
    bias: Mapping[int, float] = field(default_factory=dict)
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0

    @property
    def is_greedy(self) -> bool:
        return self.temperature < COLDEST


class Chooser:
    """The choices of one row."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._random = random.Random(settings.seed) if settings.seed is not None else random.SystemRandom()
        self._counts: dict[int, int] = {}

    @property
    def changes_logits(self) -> bool:
        settings = self.settings
        return bool(settings.bias or settings.frequency_penalty or settings.presence_penalty)

    def draw(self) -> float:
        """A number from 0 to 1, the next of the row's stream."""
        return self._random.random()

    def changed(self, logits_V: Tensor) -> Tensor:
        """Logits with biases and penalties, by OpenAI's formula: each token less frequency x count and presence x (count > 0)."""
        changed_V, settings = logits_V.clone(), self.settings
        for token, bias in settings.bias.items():
            if token < len(changed_V):
                changed_V[token] += bias
        for token, count in self._counts.items():
            changed_V[token] -= settings.frequency_penalty * count + settings.presence_penalty
        return changed_V

    def took(self, token: int) -> None:
        """Remember a token of the answer."""
        if self.settings.frequency_penalty or self.settings.presence_penalty:
            self._counts[token] = self._counts.get(token, 0) + 1


def choose(logits_BV: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """The next token of each row."""
    if any(chooser.changes_logits for chooser in choosers):
        rows = zip(choosers, logits_BV, strict=True)
        logits_BV = torch.stack([each.changed(row) if each.changes_logits else row for each, row in rows])
    tokens: list[int] = logits_BV.argmax(-1).tolist()
    drawing = [place for place, each in enumerate(choosers) if not each.settings.is_greedy]
    if drawing:
        chosen = [choosers[place] for place in drawing]
        for place, token in zip(drawing, _draw(logits_BV[drawing], chosen), strict=True):
            tokens[place] = token
    for chooser, token in zip(choosers, tokens, strict=True):
        chooser.took(token)
    return tokens


def _draw(logits_BV: Tensor, choosers: Sequence[Chooser]) -> list[int]:
    """By inverting the cumulative distribution at each row's number."""
    device = logits_BV.device
    temperature_B = torch.tensor([each.settings.temperature for each in choosers], device=device)
    weight_BV = (logits_BV / temperature_B[:, None]).softmax(-1)
    for place, each in enumerate(choosers):
        if each.settings.top_p < 1:
            weight_BV[place] = _nucleus(weight_BV[place], each.settings.top_p)
    sum_BV = weight_BV.double().cumsum(-1)
    at_B = (
        torch.tensor([each.draw() for each in choosers], dtype=torch.float64, device=device) * sum_BV[:, -1]
    )
    found: list[int] = torch.searchsorted(sum_BV, at_B[:, None], right=True)[:, 0].tolist()
    return [min(token, logits_BV.shape[1] - 1) for token in found]


def _nucleus(weight_V: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens whose weights reach `top_p`, at least one (Holtzman et al. 2020, nucleus sampling)."""
    sorted_V, order_V = weight_V.sort(descending=True)
    is_beyond_V = sorted_V.cumsum(-1) - sorted_V >= top_p
    kept_V = weight_V.clone()
    kept_V[order_V[is_beyond_V]] = 0
    return kept_V


def likelihoods(logits_V: Tensor, token: int, top: int) -> tuple[float, list[tuple[int, float]]]:
    """The log probability of the token, and of the `top` likeliest ones, before temperature and biases."""
    log_V = logits_V.log_softmax(-1)
    best = log_V.topk(min(top, len(log_V))) if top else None
    listed = list(zip(best.indices.tolist(), best.values.tolist(), strict=True)) if best else []
    return float(log_V[token]), listed
