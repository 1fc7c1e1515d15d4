"""Hugging Face's Trainer with PEFT as the judge of our loop: the same rows in the same order give the same losses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from peft import PeftModel
from torch.utils.data import Dataset, Sampler, SequentialSampler
from transformers import Trainer, TrainingArguments

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.modelling.adapters import add_adapter
from luthier.modelling.load import load_base
from luthier.tokens.lengths import KnownLengths
from luthier.tokens.row_order import RowOrder
from luthier.train.stage import train
from tests.train.runs import Rows, logged_losses, make_recipe, make_run, random_rows

pytestmark = pytest.mark.oracle
STEPS = 20


class OrderedRows(Dataset[dict[str, list[int]]]):
    """The rows in the order in which our run takes them."""

    def __init__(self, rows: Rows, recipe: Recipe) -> None:
        order = RowOrder(KnownLengths(np.array([len(ids) for ids, _ in rows])), recipe)
        self.rows = [
            rows[row]
            for number in range(STEPS)
            for batch in order.step(number).micro_batches
            for row in batch
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        ids, trained = self.rows[index]
        return {
            "ids": ids,
            "labels": [token if is_trained else -100 for token, is_trained in zip(ids, trained, strict=True)],
        }


def pad(items: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    longest = max(len(item["ids"]) for item in items)

    def padded(name: str, value: int) -> torch.Tensor:
        return torch.tensor([item[name] + [value] * (longest - len(item[name])) for item in items])

    mask = torch.tensor([[1] * len(item["ids"]) + [0] * (longest - len(item["ids"])) for item in items])
    return {"input_ids": padded("ids", 0), "labels": padded("labels", -100), "attention_mask": mask}


class InOrder(Trainer):
    def _get_train_sampler(self, *args: object, **kwargs: object) -> Sampler[int]:
        return SequentialSampler(self.train_dataset)


def trainer_losses(model: PeftModel, recipe: Recipe, rows: Rows, folder: Path) -> list[float]:
    settings = recipe.train
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation_steps,
        max_steps=STEPS,
        learning_rate=settings.lr,
        lr_scheduler_type="cosine",
        warmup_steps=settings.schedule.warmup_fraction,
        weight_decay=settings.optimizer.weight_decay,
        max_grad_norm=settings.optimizer.clip_norm,
        optim="adamw_torch",
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        remove_unused_columns=False,
        disable_tqdm=True,
    )
    trainer = InOrder(model=model, args=arguments, train_dataset=OrderedRows(rows, recipe), data_collator=pad)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_twenty_steps_equal_those_of_trainer_and_peft(tiny_base: Path, tmp_path: Path) -> None:
    rows = random_rows(160)
    recipe = make_recipe(
        tiny_base,
        method={"rank": 8, "alpha": 16},
        train={
            "epochs": 1,
            "packing": False,
            "batch_size": 4,
            "gradient_accumulation_steps": 2,
            "schedule": {"warmup_fraction": 0.1},
        },
    )
    assert isinstance(recipe.method, LoraMethod)
    run = make_run(tmp_path / "run", tiny_base, rows=rows)
    train(recipe, run)
    base = load_base(tiny_base, dtype=torch.float32, device=torch.device("cpu"), attention="eager")
    judge = add_adapter(base, recipe.method, seed=recipe.train.seed)
    theirs = trainer_losses(judge, recipe, rows, tmp_path / "trainer")
    ours = logged_losses(run)
    assert len(ours) == len(theirs) == STEPS
    assert max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) < 1e-5
    assert ours[-1] < ours[0]
