"""Answer many prompts greedily, as fast as the machine allows, token for token as the model's own `generate` would.

Long prompts go first; the batch is as large as its tokens may be; once a quarter of its rows have ended they leave, and waiting prompts
take their places. Logits are computed for the last position of each row alone. Knows ids only: text and templates live in text/.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.modelling.decoders import Decoder, decoding
from luthier.modelling.losses import causal_model

# Letting rows leave copies the cache, once for many steps: between an eighth and a half the time hardly differs.
LEAVING_SHARE = 0.25


@dataclass
class Row:
    """A prompt under way: its place among the prompts, its length, and the answer so far."""

    index: int
    prompt_tokens: int
    answer: list[int] = field(default_factory=list)
    has_ended: bool = False


@torch.no_grad()
def generate_answers(
    model: nn.Module,
    prompts: Sequence[Sequence[int]],
    *,
    stop_ids: Sequence[int],
    pad_id: int,
    max_new_tokens: int,
    batch_tokens: int,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    label: str = "answers",
) -> list[list[int]]:
    """The greedy answer to each prompt, in the order of the prompts, its stop token included where it came to one.

    `batch_tokens` bounds rows x (longest prompt + longest answer). If `stop` is set the work ends at once: rows that were not
    finished are then empty, and the caller, who looks at the flag, keeps none of it.
    """
    listener, stop = listener or Silent(), stop or StopFlag()
    answers: list[list[int]] = [[] for _ in prompts]
    waiting = deque(sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index)))
    assert all(len(prompt) > 0 for prompt in prompts), "a prompt has at least one token"
    active: list[Row] = []
    with decoding(model, pad_id) as decoder:
        while (active or waiting) and not stop.is_set:
            joining = admit(
                waiting, prompts, active, decoder, batch_tokens=batch_tokens, longest_answer=max_new_tokens
            )
            if joining:
                hidden_BC = decoder.start([prompts[row.index] for row in joining])
                active += joining
                advance(joining, choose_tokens(model, hidden_BC), stop_ids, max_new_tokens)
            else:
                hidden_BC = decoder.step([row.answer[-1] for row in active])
                advance(active, choose_tokens(model, hidden_BC), stop_ids, max_new_tokens)
            active = let_go(active, decoder, answers)
            listener.progress(label, len(prompts) - len(waiting) - len(active), len(prompts))
    return answers


def admit(
    waiting: deque[int],
    prompts: Sequence[Sequence[int]],
    active: Sequence[Row],
    decoder: Decoder,
    *,
    batch_tokens: int,
    longest_answer: int,
) -> list[Row]:
    """Take the waiting prompts, longest first, that fit beside the rows under way; at least one if there are none."""
    if active and (not decoder.can_join or any(row.has_ended for row in active)):
        return []
    longest = max([row.prompt_tokens for row in active], default=0)
    joining: list[Row] = []
    while waiting:
        tokens = len(prompts[waiting[0]])
        rows = len(active) + len(joining) + 1
        if rows > 1 and rows * (max(longest, tokens) + longest_answer) > batch_tokens:
            break
        longest = max(longest, tokens)
        joining.append(Row(waiting.popleft(), tokens))
    # A few rows are not worth a pass of their own while many are under way.
    if len(joining) < LEAVING_SHARE * len(active) and waiting:
        waiting.extendleft(row.index for row in reversed(joining))
        return []
    return joining


def choose_tokens(model: nn.Module, hidden_BC: Tensor) -> list[int]:
    """The likeliest next token of each row; scaling and capping of logits do not change which one that is."""
    logits_BV = causal_model(model).get_output_embeddings()(hidden_BC)
    tokens: list[int] = logits_BV.argmax(-1).tolist()
    return tokens


def advance(rows: Sequence[Row], tokens: Sequence[int], stop_ids: Sequence[int], max_new_tokens: int) -> None:
    """Give each row its token, unless it has ended."""
    for row, token in zip(rows, tokens, strict=True):
        if row.has_ended:
            continue
        row.answer.append(token)
        row.has_ended = token in stop_ids or len(row.answer) >= max_new_tokens


def let_go(active: list[Row], decoder: Decoder, answers: list[list[int]]) -> list[Row]:
    """Let the ended rows leave once they are many; returns those that stay."""
    staying = [place for place, row in enumerate(active) if not row.has_ended]
    if len(active) - len(staying) < max(1.0, LEAVING_SHARE * len(active)):
        return active
    for row in active:
        if row.has_ended:
            answers[row.index] = row.answer
    decoder.keep(staying)
    return [active[place] for place in staying]
