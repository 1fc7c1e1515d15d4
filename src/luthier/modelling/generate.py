"""Answer many prompts greedily, as fast as the machine allows, token for token as the model's own `generate` would.

Long prompts go first; the batch is as large as its tokens may be; once a quarter of its rows have ended they leave, and waiting prompts
take their places. Knows ids only: text and templates live in text/.
"""

from collections import deque
from collections.abc import Sequence

import torch
from torch import nn

from luthier.floor.log import Listener, Silent
from luthier.floor.stop import StopFlag
from luthier.modelling.decoders import Decoder, decoding
from luthier.modelling.losses import causal_model
from luthier.modelling.slot_decoder import LEAVING_SHARE, Limits

# Tokens under way at once where nobody says: 64 rows of 256, which fill a CPU; on a GPU more rows cost a step hardly more time,
# up to a share of the free memory.
USUAL_TOKENS = 16384
MOST_TOKENS = 131072
CACHE_SHARE = 0.25


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
    records: bool = True,
) -> list[list[int]]:
    """The greedy answer to each prompt, in the order of the prompts, its stop token included where it came to one.

    `batch_tokens` bounds rows x (longest prompt + longest answer); 0 lets the device's memory choose. If `stop` is set the work ends
    at once: rows that were not finished are then empty, and the caller, who looks at the flag, keeps none of it. `records` lets CUDA
    record steps as graphs.
    """
    listener, stop = listener or Silent(), stop or StopFlag()
    answers: list[list[int]] = [[] for _ in prompts]
    waiting = deque(sorted(range(len(prompts)), key=lambda index: (-len(prompts[index]), index)))
    assert all(len(prompt) > 0 for prompt in prompts), "a prompt has at least one token"
    assert max_new_tokens > 0, "an answer has at least one token"
    unanswered = len(prompts)
    fitting = batch_tokens or fitting_tokens(model)
    limits = Limits(stop_ids, max_new_tokens, records)
    with decoding(model, limits, prompts=prompts, pad_id=pad_id, listener=listener) as decoder:
        while unanswered and not stop.is_set:
            joining = admit(waiting, prompts, decoder, fitting_tokens=fitting, answer_tokens=max_new_tokens)
            if joining:
                decoder.start(joining, [prompts[index] for index in joining])
            for index, answer in decoder.advance():
                answers[index] = answer
                unanswered -= 1
            listener.progress(label, len(prompts) - unanswered, len(prompts))
    return answers


def fitting_tokens(model: nn.Module) -> int:
    """How many tokens may be under way at once, by the memory of the device and what a token of this model takes of it."""
    device = next(model.parameters()).device
    config = causal_model(model).config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None)
    if device.type != "cuda" or heads is None:
        return USUAL_TOKENS
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    # Keys and values; under autocast they take less than this.
    token_bytes = 2 * config.num_hidden_layers * heads * width * causal_model(model).dtype.itemsize
    # What torch holds and does not use is free as well.
    free_bytes = (
        torch.cuda.mem_get_info(device)[0]
        + torch.cuda.memory_reserved(device)
        - torch.cuda.memory_allocated(device)
    )
    return max(USUAL_TOKENS, min(MOST_TOKENS, int(free_bytes * CACHE_SHARE / token_bytes)))


def admit(
    waiting: deque[int],
    prompts: Sequence[Sequence[int]],
    decoder: Decoder,
    *,
    fitting_tokens: int,
    answer_tokens: int,
) -> list[int]:
    """Take the waiting prompts, longest first, that fit beside the rows under way; at least one if there are none."""
    lengths = decoder.prompt_lengths
    if not waiting or (lengths and not decoder.can_join):
        return []
    longest = max([len(prompts[waiting[0]]), *lengths])
    fitting = max(1, fitting_tokens // (longest + answer_tokens))
    joining = decoder.most_rows(min(fitting, len(lengths) + len(waiting))) - len(lengths)
    # A few rows are not worth a pass of their own while many are under way.
    if joining < LEAVING_SHARE * len(lengths) and joining < len(waiting):
        return []
    return [waiting.popleft() for _ in range(joining)]
