"""How well a model foresees a text: the loss of its tokens, added up, each foreseen from up to a window of those before it."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from luthier.floor.stop import StopFlag
from luthier.modelling.device import choose_device, choose_precision
from luthier.modelling.load import load_base

# Each window sees half of the one before it, so that no token but the first ones is foreseen from next to nothing.
WINDOW_TOKENS = 1024


def nats_of(
    folder: Path,
    ids: Sequence[int],
    *,
    stop: StopFlag,
    device_name: str = "auto",
    on_tokens: Callable[[int, int], None] = lambda done, total: None,
) -> float:
    """The loss of all ids but the first, in nats, added up; at least two ids. Raises ModelError as loading does."""
    device = choose_device(device_name)
    precision = choose_precision("auto", device)
    model = load_base(folder, dtype=precision.dtype, device=device, attention="sdpa").eval()
    window = min(WINDOW_TOKENS, getattr(model.config, "max_position_embeddings", WINDOW_TOKENS))
    ids_T = torch.tensor(ids, device=device)
    nats, scored = 0.0, 1
    while scored < len(ids):
        stop.check("the measurement was stopped", fix="Repeat the command.")
        end = min(len(ids), scored + (window - window // 2 if scored > 1 else window - 1))
        start = max(0, end - window)
        nats += _nats(model, ids_T[start:end], first=scored - start)
        scored = end
        on_tokens(scored, len(ids))
    return nats


@torch.inference_mode()
def _nats(model: torch.nn.Module, ids_T: torch.Tensor, *, first: int) -> float:
    """The loss of the tokens from `first` on."""
    logits_TV = model(input_ids=ids_T[None], use_cache=False).logits[0].float()
    return float(torch.nn.functional.cross_entropy(logits_TV[first - 1 : -1], ids_T[first:], reduction="sum"))
