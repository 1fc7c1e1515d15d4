"""In every layout, the loss of one row has a gradient of exactly 0 at every token of the other rows and of the padding."""

from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.modelling.attention import choose_attention
from luthier.modelling.losses import causal_model, summed_loss
from luthier.text.tokenizer import load_tokenizer
from luthier.tokens.row_order import RowOrder
from luthier.tokens.store import TokenStore
from luthier.train.batches import MicroBatch
from luthier.train.stage import make_batches
from tests.tiny import make_tiny
from tests.train.runs import make_recipe, random_rows, write_store

LAYOUTS = {
    "packed, the rows dial": {"packing": True},
    "packed, the tokens dial": {"tokens_per_step": 256, "pack_tokens": 128},
    "padded to the longest": {"packing": False},
    "bucketed": {"packing": False, "padding": "bucketed"},
    "padded to a fixed length": {"packing": False, "padding": "fixed"},
}


@pytest.mark.parametrize("attention", ["segments", "sdpa", "eager"])
@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_no_gradient_crosses_a_row(layout: str, attention: str, tiny_base: Path, tmp_path: Path) -> None:
    check_layout(LAYOUTS[layout], attention, tiny_base, tmp_path, torch.device("cpu"))


def check_layout(
    layout: dict[str, Any], attention: str, base: Path, folder: Path, device: torch.device
) -> None:
    """Every row of the first micro-batches, one at a time."""
    write_store(folder / "store", random_rows(24), "rows.jsonl")
    store = TokenStore.open(folder / "store")
    recipe = make_recipe(base, train=layout)
    order = RowOrder(store.lengths, recipe)
    kernel = choose_attention(attention, device)
    tokenizer = load_tokenizer(base)
    batches = make_batches(store, recipe, order, device=device, attention=kernel, tokenizer=tokenizer)
    model = make_tiny().to(device, torch.float32 if device.type == "cpu" else torch.bfloat16)
    model.set_attn_implementation(kernel)
    several = [rows for rows in order.step(0).micro_batches if len(rows) > 1]
    assert several, "a micro-batch of one row proves nothing"
    for rows in several:
        batch = batches.make(rows)
        for index in range(len(rows)):
            check_row(model, batch, span_of(batch, store, rows, index))


def span_of(batch: MicroBatch, store: TokenStore, rows: list[int], index: int) -> range:
    """Flat positions of the row's tokens in the batch."""
    lengths = [int(store.lengths_N[row]) for row in rows]
    start = sum(lengths[:index]) if batch.ids_BT.shape[0] == 1 else index * batch.ids_BT.shape[1]
    return range(start, start + lengths[index])


def check_row(model: Any, batch: MicroBatch, span: range) -> None:
    """The gradient of the row's loss at the embeddings: something inside the row, nothing at all outside."""
    seen: list[torch.Tensor] = []

    def keep(_: Any, __: Any, embedded: torch.Tensor) -> None:
        embedded.retain_grad()
        seen.append(embedded)

    is_of_row = (batch.keep_N >= span.start) & (batch.keep_N < span.stop)
    with causal_model(model).get_input_embeddings().register_forward_hook(keep):
        loss = summed_loss(
            model,
            batch.ids_BT,
            batch.position_ids_BT,
            batch.keep_N[is_of_row],
            batch.targets_N[is_of_row],
            **batch.attention,
        )
    loss.backward()
    gradient = seen[0].grad
    assert gradient is not None
    reached_T = gradient.abs().sum(-1).flatten() > 0
    inside = torch.zeros_like(reached_T)
    inside[span.start : span.stop] = True
    assert not bool((reached_T & ~inside).any()), "a gradient left the row"
    last_kept = int(batch.keep_N[is_of_row].max())
    assert bool(reached_T[span.start : last_kept + 1].all()), "a token of the row has no part in its loss"
