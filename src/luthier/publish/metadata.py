"""The YAML at the top of a model card, by which the hub finds, labels and links a model.

The form is the hub's (huggingface/hub-docs, modelcard.md and docs/hub/model-cards.md); huggingface_hub's ModelCardData writes it.
"""

import math
from typing import Any

from luthier.knowledge.licences import OTHER
from luthier.publish.facts import Facts, shown_name
from luthier.publish.terms import Terms

# base_model_relation and library_name of what goes up. A GGUF file is one of our model, not of its base.
RELATIONS = {"adapter": "adapter", "merged": "finetune", "gguf": "finetune"}
LIBRARIES = {"adapter": "peft", "merged": "transformers", "gguf": "gguf"}
# The hub's name for a metric, where it is not ours (huggingface.co/metrics).
METRIC_TYPES = {"rouge1": "rouge", "rouge2": "rouge", "rougeL": "rouge", "token_f1": "f1", "slot_f1": "f1"}
TASK = "text-generation"


def metadata_yaml(facts: Facts, terms: Terms, *, name: str) -> str:
    """The block between the two lines of dashes."""
    from huggingface_hub import ModelCardData

    publish = facts.recipe.publish
    licence = terms.published
    is_other = licence is not None and not licence.on_hub
    data = ModelCardData(
        language=list(publish.card.language) or None,
        license=None if licence is None else OTHER if is_other else licence.name,
        license_name=licence.name if licence is not None and is_other else None,
        license_link=(licence.source or "LICENSE") if licence is not None and is_other else None,
        library_name=LIBRARIES[facts.what],
        pipeline_tag=TASK,
        base_model=facts.base_id,
        base_model_relation=RELATIONS[facts.what] if facts.base_id else None,
        datasets=list(hub_datasets(facts)) or None,
        tags=_tags(facts),
        metrics=_metric_types(facts) or None,
        model_name=name,
        eval_results=_results(facts) or None,
    )
    if data.eval_results is None:
        del data.__dict__["model_name"]
    return data.to_yaml()


def hub_datasets(facts: Facts) -> tuple[str, ...]:
    """Datasets of the hub behind the rows: as the author says, else those that the recipe names."""
    from luthier.knowledge.model_folder import HUB_ID

    publish, data = facts.recipe.publish, facts.recipe.data
    if publish.datasets:
        return publish.datasets
    names = [each.path for each in data.sources] or [data.path]
    read_from_hub = facts.data is not None and any("/hub/" in file for file in facts.data.files)
    return tuple(name for name in names if read_from_hub and HUB_ID.fullmatch(name))


def _tags(facts: Facts) -> list[str]:
    found = [
        "luthier",
        facts.train.method if facts.what == "adapter" else "",
        *facts.recipe.publish.card.tags,
    ]
    if facts.what == "gguf":
        found += ["gguf", "llama.cpp"]
    if facts.template != "guide":
        found.append("conversational")
    return list(dict.fromkeys(tag for tag in found if tag))


def metrics_of(facts: Facts) -> dict[str, float]:
    """The published model's figures, those that are finite."""
    if facts.compare is not None:
        found = {name: each.tuned for name, each in facts.compare.metrics.items()}
    elif facts.tuned is not None:
        found = {name: each.value for name, each in facts.tuned.metrics.items()}
    else:
        found = {}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _metric_types(facts: Facts) -> list[str]:
    return list(dict.fromkeys(METRIC_TYPES.get(name, name) for name in metrics_of(facts)))


def _results(facts: Facts) -> list[Any]:
    from huggingface_hub import EvalResult

    rows = shown_name(facts.recipe.evaluate.path)
    digest = {"sha256": facts.tuned.data_sha256} if facts.tuned is not None else None
    return [
        EvalResult(
            task_type=TASK,
            task_name="Text generation",
            dataset_type=next(iter(hub_datasets(facts)), "held-out"),
            dataset_name=f"held-out rows ({rows})",
            dataset_args=digest,
            metric_type=METRIC_TYPES.get(name, name),
            metric_name=name,
            metric_value=round(value, 4),
        )
        for name, value in metrics_of(facts).items()
    ]
