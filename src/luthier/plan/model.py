"""What a plan knows of a model: its sizes from config.json, its exact count from the weights' headers where they are here."""

from dataclasses import dataclass

from luthier.config.method import ScratchMethod
from luthier.config.recipe import Recipe
from luthier.floor.errors import ModelError
from luthier.floor.lookup import did_you_mean
from luthier.knowledge.model_config import read_config, text_config
from luthier.knowledge.model_folder import EMBEDDED, check_model_folder, find_local_model, find_weight_files
from luthier.knowledge.parameter_count import count_parameters
from luthier.knowledge.shapes import PUBLISHED, SHAPES
from luthier.knowledge.training_memory import DecoderShape

NUMBER_BYTES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}


@dataclass(frozen=True)
class PlannedModel:
    """A model as a plan sees it."""

    name: str
    family: str
    shape: DecoderShape
    parameters: int
    """Numbers in the weights; a tied head counts once."""
    source: str
    """Where the count comes from."""
    stored_bytes: int
    """The weight files, or what they would take in the format that config.json names."""
    context_tokens: int | None
    is_here: bool
    """Whether the weights lie on this machine."""


def planned_model(recipe: Recipe) -> PlannedModel:
    """The recipe's model. Nothing is fetched.

    Raises ModelError: mdl-missing for one that is not on this machine and whose sizes are not known either, mdl-config for one
    whose configuration does not name the sizes of a dense decoder.
    """
    if isinstance(recipe.method, ScratchMethod):
        return _of_scratch(recipe.method)
    name = recipe.model.name or EMBEDDED
    folder = find_local_model(name, recipe.model.revision)
    if folder is None:
        return published_model(name)
    config = read_config(folder)
    shape = DecoderShape.of(config)
    if shape is None:
        raise ModelError(
            "mdl-config",
            f"{name} is of the family {config['model_type']}, whose sizes are not those of a dense decoder",
            where=str(folder / "config.json"),
            why="A plan works from hidden_size, num_hidden_layers, intermediate_size, num_attention_heads and vocab_size.",
            fix="Measure it instead: luthier bench train RECIPE",
        )
    text = text_config(config)
    has_weights = any(folder.glob("*.safetensors"))
    if has_weights:
        facts = check_model_folder(folder)
        stored = sum(file.stat().st_size for file in find_weight_files(folder))
        parameters, source = facts.parameters, "counted in the weights' headers"
    else:
        parameters, source = count_parameters(config, shape), "worked out from config.json"
        stored = parameters * NUMBER_BYTES.get(str(config.get("dtype") or config.get("torch_dtype")), 2)
    return PlannedModel(
        name=name,
        family=str(config["model_type"]),
        shape=shape,
        parameters=parameters,
        source=source,
        stored_bytes=stored,
        context_tokens=text.get("max_position_embeddings"),
        is_here=has_weights,
    )


def _of_scratch(method: ScratchMethod) -> PlannedModel:
    shape = DecoderShape.of_scratch(method)
    parameters = count_parameters({"model_type": method.model_type}, shape)
    return PlannedModel(
        name="a new model",
        family=method.model_type,
        shape=shape,
        parameters=parameters,
        source="worked out from the recipe",
        stored_bytes=parameters * 4,
        context_tokens=method.context_tokens,
        is_here=True,
    )


def published_model(name: str) -> PlannedModel:
    """A model that is not here, if its sizes are among those that were published. Raises ModelError mdl-missing."""
    known = PUBLISHED.get(name.lower())
    if known is None:
        raise ModelError(
            "mdl-missing",
            f"{name} is not on this machine{did_you_mean(name, PUBLISHED)}",
            where="model.name",
            why="A plan fetches nothing. The sizes of these are known without their files: "
            + ", ".join(sorted(set(PUBLISHED))),
            fix="Put its config.json into a folder and name that: luthier plan RECIPE model.name=FOLDER; or one of a like size",
        )
    config = SHAPES[known]
    shape = DecoderShape.of(config)
    assert shape is not None
    parameters = count_parameters(config, shape)
    return PlannedModel(
        name=name,
        family=str(config["model_type"]),
        shape=shape,
        parameters=parameters,
        source=f"worked out from the published sizes of {known}",
        stored_bytes=2 * parameters,
        context_tokens=config["max_position_embeddings"],
        is_here=False,
    )
