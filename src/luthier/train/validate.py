"""The validation loss and a few answers to read, without ever holding more than a chunk of logits."""

import math
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from luthier.floor.errors import UnhealthyError
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.modelling.generate import generate_answers
from luthier.modelling.losses import token_losses
from luthier.tokens.pack import pack_rows
from luthier.tokens.prompt import prompt_of
from luthier.tokens.store import TokenStore
from luthier.train.batches import BatchMaker


@dataclass(frozen=True)
class ValidationResult:
    """Mean loss in nats a trained token, how many tokens, and the sample answers by prompt."""

    loss: float
    targets: int
    samples: dict[str, str]


@dataclass(frozen=True)
class Validator:
    """The validation rows, packed once in their own order."""

    batches: BatchMaker
    packs: tuple[tuple[int, ...], ...]
    tokenizer: PreTrainedTokenizerBase
    sample_rows: tuple[int, ...]
    sample_new_tokens: int
    stop_ids: tuple[int, ...]
    listener: Listener

    def measure(
        self, model: PreTrainedModel | PeftModel, *, step: int, stop: StopFlag
    ) -> ValidationResult | None:
        """Mean loss over all packs; None if a stop was asked for before the end.

        Raises UnhealthyError naming step and rows if the loss of a pack is not finite.
        """
        model.eval()
        loss_sum, targets = 0.0, 0
        for index, rows in enumerate(self.packs):
            if stop.is_set:
                return None
            batch = self.batches.make(list(rows))
            losses_N = token_losses(
                model, batch.ids_BT, batch.position_ids_BT, batch.keep_N, batch.targets_N, **batch.attention
            )
            pack_loss = float(losses_N.double().sum())
            if not math.isfinite(pack_loss):
                raise self._non_finite(rows, pack_loss, step=step)
            loss_sum += pack_loss
            targets += batch.trained_tokens
            self.listener.progress("validating", index + 1, len(self.packs), f"step {step}")
        samples = self._answer_samples(model, stop)
        if samples is None:
            return None
        return ValidationResult(loss_sum / max(1, targets), targets, samples)

    def _non_finite(self, rows: tuple[int, ...], loss: float, *, step: int) -> UnhealthyError:
        return UnhealthyError(
            "train-nonfinite",
            f"after step {step} the validation loss is {loss}",
            where=self.batches.name_rows(rows),
            why="The weights have left the range of the number format. The newest checkpoint is from before.",
            fix="Go back to it with a lower rate: luthier train RECIPE train.lr=...; or compute in fp32: train.precision=fp32",
        )

    def _answer_samples(self, model: PreTrainedModel | PeftModel, stop: StopFlag) -> dict[str, str] | None:
        if not self.sample_rows:
            return {}
        prompts = [prompt_of(self.batches.store, row) for row in self.sample_rows]
        with torch.compiler.set_stance("force_eager"):  # lengths differ at every step: nothing to compile
            answers = generate_answers(
                model,
                prompts,
                stop_ids=self.stop_ids,
                pad_id=self.batches.pad_id,
                max_new_tokens=self.sample_new_tokens,
                batch_tokens=16384,
                listener=self.listener,
                stop=stop,
                label="sampling",
                # A few samples are no reason to record anything in the middle of a training.
                records=False,
            )
        if stop.is_set:
            return None
        return {
            self._spell(prompt): self._spell(answer) for prompt, answer in zip(prompts, answers, strict=True)
        }

    def _spell(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=True))


def pack_validation(store: TokenStore, *, most_rows: int, pack_tokens: int) -> tuple[tuple[int, ...], ...]:
    """Packs of the first `most_rows` validation rows (0: all)."""
    rows = store.rows if not most_rows else min(most_rows, store.rows)
    lengths = [int(length) for length in store.lengths_N[:rows]]
    return tuple(tuple(pack) for pack in pack_rows(lengths, pack_tokens=pack_tokens))
