"""Supervised fine-tuning and continued pretraining: predict the next token wherever it is trained.

They differ in which tokens the data stage marked, not in the loss.
"""

from torch import Tensor, nn

from luthier.modelling.losses import summed_loss
from luthier.train.batches import MicroBatch


def next_token_loss(model: nn.Module, batch: MicroBatch) -> Tensor:
    """Sum of the negative log-likelihoods of the batch's targets, nats, an fp32 scalar."""
    return summed_loss(
        model, batch.ids_BT, batch.position_ids_BT, batch.keep_N, batch.targets_N, **batch.attention
    )
