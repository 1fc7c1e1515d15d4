"""Find a topic by its name, and the case that it is explained with."""

from pathlib import Path
from typing import TypeVar

from luthier.config.recipe import Recipe
from luthier.plan.device import planned_device
from luthier.plan.model import planned_model, published_model
from luthier.plan.tokens import guessed_tokens, prepared_tokens
from luthier.plan.topics.case import Case
from luthier.plan.topics.learning import LEARNING
from luthier.plan.topics.quality import QUALITY
from luthier.plan.topics.size import SIZES
from luthier.plan.topics.topic import Topic
from luthier.reports.data import DataReport
from luthier.reports.train import TrainReport

TOPICS: dict[str, Topic] = {topic.name: topic for topic in (*SIZES, *LEARNING, *QUALITY)}
EXAMPLE_MODEL = "meta-llama/Llama-3.1-8B"
Found = TypeVar("Found", DataReport, TrainReport)


def find_topic(word: str) -> Topic | None:
    """The topic of a name, or of another name that people look for; case, blanks and underscores aside."""
    wanted = word.strip().lower().replace("_", "-").replace(" ", "-")
    return TOPICS.get(wanted) or next((topic for topic in TOPICS.values() if wanted in topic.also), None)


def example_case(recipe: Recipe) -> Case:
    """The guide's model, Llama-3.1-8B, under the default settings, on an H100: for people without a recipe yet."""
    model = published_model(EXAMPLE_MODEL)
    device = planned_device(recipe, "h100")
    return Case("Llama-3.1-8B and the default settings on an H100", model, recipe, device, guessed_tokens(recipe, model.shape.vocabulary))  # fmt: skip


def case_of(recipe: Recipe, name: str, run: Path | None) -> Case:
    """A recipe's case; of a run with what it counted and measured. Raises what `planned_model` raises."""
    model = planned_model(recipe)
    data, trained = (_report(run, "data", DataReport), _report(run, "train", TrainReport)) if run else (None, None)  # fmt: skip
    has_tokens = data is not None and data.train.tokens is not None
    tokens = (
        prepared_tokens(data, recipe, name)
        if data is not None and has_tokens
        else guessed_tokens(recipe, model.shape.vocabulary)
    )
    return Case(name, model, recipe, planned_device(recipe, None), tokens, data, trained)


def _report(run: Path, stage: str, kind: type[Found]) -> Found | None:
    path = run / stage / "report.json"
    return kind.read(path) if path.is_file() else None
