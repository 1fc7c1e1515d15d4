"""The recipe: everything a run depends on, judged once.

Rules between fields sit beside the fields; those that span sections are here.
"""

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from luthier.config.base import Section
from luthier.config.data import DataConfig
from luthier.config.evaluate import EvaluateConfig
from luthier.config.export import ExportConfig, MergeConfig
from luthier.config.method import LoraMethod, Method, ScratchMethod
from luthier.config.model import ModelConfig
from luthier.config.publish import PublishConfig
from luthier.config.serve import ServeConfig
from luthier.config.train import TrainConfig
from luthier.config.verify import VerifyConfig


class Recipe(Section):
    """One run from base model to judged, merged model."""

    model: ModelConfig = ModelConfig()
    """The base model."""
    data: DataConfig = DataConfig()
    """The rows, and how they become tokens."""
    method: Method = LoraMethod()
    """Which weights are trained."""
    train: TrainConfig = TrainConfig()
    """The training itself."""
    evaluate: EvaluateConfig = EvaluateConfig()
    """Judging the model."""
    merge: MergeConfig = MergeConfig()
    """Merging the adapter into its base."""
    export: ExportConfig = ExportConfig()
    """Files for other programs."""
    verify: VerifyConfig = VerifyConfig()
    """Holding a file or a server against the trained model."""
    publish: PublishConfig = PublishConfig()
    """Publishing on the Hugging Face hub."""
    serve: ServeConfig = ServeConfig()
    """Serving a model to others."""

    @model_validator(mode="after")
    def _sections_agree(self) -> Self:
        if isinstance(self.method, ScratchMethod) and self.model.name is not None:
            raise ValueError("method.kind scratch makes a new model: remove model.name")
        if not isinstance(self.method, ScratchMethod) and self.model.name is None:
            raise PydanticCustomError(
                "cfg-missing", "model.name is missing: name a base model, or choose method.kind scratch"
            )
        if self.data.overlong == "split" and self.data.format not in ("text", "tokens", "auto"):
            raise ValueError(
                "data.overlong split cuts rows of text or tokens only: choose truncate, truncate_left, drop or error"
            )
        if self.data.tokenization == "on_the_fly":
            self._can_go_without_tokens()
        return self

    def _can_go_without_tokens(self) -> None:
        """Refuse what only the tokens of all rows could tell."""
        if self.data.overlong == "split":
            raise ValueError(
                "data.overlong split makes as many rows as their tokens say, which data.tokenization on_the_fly does not know: "
                "choose truncate, truncate_left, drop or error, or data.tokenization=cached"
            )
        if self.data.format == "tokens":
            raise ValueError(
                "data.format tokens leaves nothing to tokenize on the fly: choose data.tokenization=cached"
            )
        if self.train.tokens_per_step and not self.train.most_steps:
            raise ValueError(
                "train.tokens_per_step makes as many steps as there are tokens, which data.tokenization on_the_fly does not know: "
                "set their number, such as train.most_steps=1000, or choose data.tokenization=cached"
            )
        if self.train.tokens_per_step and self.train.epochs % 1:
            raise ValueError(
                f"train.epochs {self.train.epochs:g} ends within a pass over the rows, and with train.tokens_per_step and "
                "data.tokenization on_the_fly nobody knows where: choose whole epochs, or data.tokenization=cached"
            )

    def rows_per_step(self) -> int:
        """Rows in one optimizer step on one rank; 0 when `train.tokens_per_step` decides."""
        if self.train.tokens_per_step:
            return 0
        return self.train.batch_size * self.train.gradient_accumulation_steps

    def pack_tokens(self) -> int:
        """The most tokens of a packed micro-batch."""
        if self.train.pack_tokens:
            return max(self.train.pack_tokens, self.data.max_length)
        if self.train.tokens_per_step:
            return max(min(self.train.tokens_per_step, 16384), self.data.max_length)
        return self.train.batch_size * self.data.max_length
