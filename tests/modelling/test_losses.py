"""The chunked loss equals the whole one, forward and backward, and never holds more than a chunk of logits."""

import pytest
import torch

from luthier.modelling import losses
from tests.tiny import make_tiny


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 300, (1, 40), generator=torch.Generator().manual_seed(2))
    keep = torch.arange(10, 39)
    return ids, torch.arange(40)[None], keep, ids[0, keep + 1]


def gradients(monkeypatch: pytest.MonkeyPatch, chunk_logits: int) -> tuple[float, dict[str, torch.Tensor]]:
    monkeypatch.setattr(losses, "CHUNK_LOGITS_CPU", chunk_logits)
    model = make_tiny()
    loss = losses.summed_loss(model, *batch())
    loss.backward()
    return loss.item(), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_a_loss_in_chunks_equals_the_whole_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, whole_gradients = gradients(monkeypatch, 2**24)
    chunked, chunked_gradients = gradients(monkeypatch, 300 * 4)
    assert chunked == pytest.approx(whole, rel=1e-6)
    assert whole_gradients.keys() == chunked_gradients.keys()
    for name, gradient in whole_gradients.items():
        torch.testing.assert_close(chunked_gradients[name], gradient, rtol=1e-4, atol=1e-5)


def test_the_head_never_sees_more_rows_than_a_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_LOGITS_CPU", 300 * 4)
    model = make_tiny()
    seen: list[int] = []
    model.get_output_embeddings().register_forward_hook(
        lambda module, args, out: seen.append(args[0].shape[0])
    )
    losses.token_losses(model, *batch())
    assert sum(seen) == 29
    assert max(seen) == 4


def test_the_loss_equals_the_model_s_own() -> None:
    model = make_tiny()
    ids, positions, keep, targets = batch()
    labels = torch.full_like(ids, -100)
    labels[0, keep + 1] = targets
    own = model(input_ids=ids, labels=labels).loss
    ours = losses.summed_loss(model, ids, positions, keep, targets) / len(targets)
    assert ours.item() == pytest.approx(own.item(), rel=1e-6)
