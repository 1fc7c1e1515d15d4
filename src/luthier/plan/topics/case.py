"""Whose numbers an explanation is given with: a recipe's, a run's, or an example's."""

from dataclasses import dataclass
from typing import Any

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.knowledge.training_memory import DecoderShape, micro_batch_tokens, trained_numbers
from luthier.plan.device import PlannedDevice
from luthier.plan.model import PlannedModel
from luthier.reports.data import DataReport
from luthier.reports.plan import Tokens
from luthier.reports.train import TrainReport


@dataclass(frozen=True)
class Case:
    """A model, a recipe, a device, and what a run measured, where there is one."""

    name: str
    model: PlannedModel
    recipe: Recipe
    device: PlannedDevice
    tokens: Tokens
    data: DataReport | None = None
    trained: TrainReport | None = None

    @property
    def shape(self) -> DecoderShape:
        return self.model.shape

    @property
    def lora(self) -> LoraMethod:
        """The recipe's adapters, or the usual ones where it trains every weight."""
        method = self.recipe.method
        return method if isinstance(method, LoraMethod) else LoraMethod()

    @property
    def trained_numbers(self) -> int:
        is_adapted = isinstance(self.recipe.method, LoraMethod)
        return trained_numbers(self.shape, self.recipe) if is_adapted else self.model.parameters

    @property
    def micro_batch_tokens(self) -> int:
        return micro_batch_tokens(self.recipe)

    @property
    def steps(self) -> int:
        return (self.trained.steps if self.trained else self.tokens.steps) or 1000

    @property
    def row_tokens(self) -> float:
        """Of a row, on average."""
        rows, tokens = self.tokens.rows, self.tokens.epoch_tokens
        return tokens / rows if rows and tokens else self.recipe.data.max_length / 2

    @property
    def step_tokens(self) -> int:
        return self.tokens.step_tokens or self.micro_batch_tokens

    def measured(self, field: str, example: float) -> float:
        """A figure of the training's report, or an example where there is none."""
        found: Any = getattr(self.trained, field) if self.trained else None
        return example if found is None else float(found)
