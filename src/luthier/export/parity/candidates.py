"""Log probabilities as servers tell them: the likeliest next tokens, by id or by how they are spelt.

With fewer than the whole vocabulary the rest counts as one: no KL divergence over such a partition is above that of the whole, so what
is found is a lower bound (data processing inequality; Cover and Thomas, Elements of Information Theory, 2.8).

Axes: V vocabulary, C candidates.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from luthier.export.logits import Logits
from luthier.measure.parity import log_softmax

ID_MARK = "token_id:"
"""How vLLM names a token by its id."""
LEAST_LOGPROB = -100.0
"""Servers write -9999 and the like for what they do not know."""
LEAST_REST = 1e-6
"""Log probabilities come as 32-bit numbers or fewer digits: no smaller rest can be told from none."""


@dataclass(frozen=True)
class Told:
    """What a server tells of one next token: the one that it took, and the likeliest."""

    taken: tuple[int, ...]
    """Several where they are spelt alike, such as the pieces of one sign; none if the spelling is unknown."""
    logprobs: dict[int, float]
    """By id; a spelling that two tokens share is in the rest."""


@dataclass(frozen=True)
class Compared:
    """One position."""

    kl: float
    same_first: bool
    candidates: int
    losses: tuple[float, float] | None
    """How surprised both are of the row's own next token, in nats; None if it is no candidate."""


class Spellings:
    """Which tokens a spelling may be."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocabulary: int) -> None:
        backend = tokenizer.backend_tokenizer
        spelt = backend.decode_batch([[token] for token in range(vocabulary)], skip_special_tokens=False)
        self._tokens: dict[str, list[int]] = {}
        for token, text in enumerate(spelt):
            self._tokens.setdefault(text, []).append(token)

    def find(self, text: str) -> tuple[int, ...]:
        """All tokens that are spelt like this."""
        return tuple(self._tokens.get(text, ()))


def read_told(choice: dict[str, Any], spellings: Spellings) -> list[Told]:
    """The tokens of an answer, in OpenAI's form of chats or of completions; empty if there are no log probabilities.

    Raises ValueError, TypeError, LookupError or AttributeError if the form is neither.
    """
    facts = choice.get("logprobs")
    if not facts:
        return []
    if facts.get("content") is not None:
        return [
            Told(
                _token(fact, spellings),
                _known((_token(other, spellings), other["logprob"]) for other in fact["top_logprobs"]),
            )
            for fact in facts["content"]
        ]
    return [
        Told(
            _named(text, spellings),
            _known((_named(other, spellings), logprob) for other, logprob in (top or {}).items()),
        )
        for text, top in zip(facts["tokens"], facts["top_logprobs"], strict=True)
    ]


def compare_told(logits_V: Logits, told: Told, following: int | None) -> Compared:
    """The reference's logits at a position beside what a server tells; `following` is the row's own next token, if it has one."""
    ours_V = log_softmax(logits_V.astype(np.float64))
    ids = [token for token in told.logprobs if 0 <= token < len(ours_V)]
    ours_C = np.exp(ours_V[ids])
    theirs_C = np.exp(np.array([told.logprobs[token] for token in ids], dtype=np.float64))
    with np.errstate(divide="ignore", invalid="ignore"):
        terms_C = np.where(ours_C > 0, ours_C * np.log(ours_C / theirs_C), 0.0)
    rest, their_rest = (max(LEAST_REST, 1.0 - float(each_C.sum())) for each_C in (ours_C, theirs_C))
    kl = float(terms_C.sum()) + rest * math.log(rest / their_rest)
    losses = None
    if following is not None and following in told.logprobs and following < len(ours_V):
        losses = -float(ours_V[following]), -told.logprobs[following]
    return Compared(max(0.0, kl), int(logits_V.argmax()) in told.taken, len(ids), losses)


def _token(fact: dict[str, Any], spellings: Spellings) -> tuple[int, ...]:
    id = fact.get("id")
    return (id,) if isinstance(id, int) else _named(fact["token"], spellings)


def _named(text: str, spellings: Spellings) -> tuple[int, ...]:
    number = text.removeprefix(ID_MARK)
    if number != text and number.isdecimal():
        return (int(number),)
    return spellings.find(text)


def _known(pairs: Any) -> dict[int, float]:
    """Of candidates by what they may be: those that can be but one token."""
    found: dict[int, float] = {}
    for tokens, logprob in pairs:
        if not isinstance(logprob, int | float) or not logprob <= 1e-3:
            raise ValueError(f"{logprob} is no log probability")
        if len(tokens) == 1 and logprob > LEAST_LOGPROB:
            found[tokens[0]] = float(logprob)
    return found
