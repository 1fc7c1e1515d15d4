"""Which model a configuration makes, judged by making it: without memory, before a byte of weights is read.

knowledge/model_config.py refuses what is dangerous to hand to Transformers; what is merely wrong only Transformers itself can tell, and it
tells by whatever exception it trips over.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig
from transformers.initialization import no_init_weights
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from luthier.floor.errors import ModelError
from luthier.floor.lookup import did_you_mean
from luthier.knowledge.hostile_json import read_object
from luthier.knowledge.model_folder import ModelFacts

# What Transformers raises, in some version, for a configuration that makes no model: it judges some values, and trips over others.
CONFIG_FAULTS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    StrictDataclassError,
)
# A head tied in the file and not in the configuration, or positions that are computed, explain some; nothing explains twice as many.
MOST_TIMES_THE_WEIGHTS = 2


def read_architecture(folder: Path, facts: ModelFacts) -> PreTrainedConfig:
    """The configuration of a causal language model that can be built and is of the size of its weights.

    Raises ModelError mdl-config or mdl-size, and what `read_object` raises over generation_config.json.
    """
    config = _read_config(folder, facts)
    _rehearse_build(config, facts, folder)
    _check_generation_config(folder)
    return config


def _read_config(folder: Path, facts: ModelFacts) -> PreTrainedConfig:
    path = str(folder / "config.json")
    if facts.model_type not in CONFIG_MAPPING:
        raise ModelError(
            "mdl-config",
            f"model_type = {facts.model_type!r} is not known{did_you_mean(facts.model_type, CONFIG_MAPPING.keys())}",
            where=path,
            fix="Take a model whose architecture Transformers knows, or a newer Transformers.",
        )
    with _config_faults(folder / "config.json", f"{facts.model_type} model"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        raise ModelError(
            "mdl-config",
            f"model_type = {facts.model_type!r} is no language model that predicts the next token",
            where=path,
            fix="Name a causal language model, such as a llama or qwen2 one.",
        )
    return config


def _rehearse_build(config: PreTrainedConfig, facts: ModelFacts, folder: Path) -> None:
    """Build the model without memory, so that what is wrong with the configuration shows before a byte is allocated."""
    path = folder / "config.json"
    with _config_faults(path, f"{facts.model_type} model"):
        with torch.device("meta"), no_init_weights():
            built: Any = AutoModelForCausalLM.from_config(copy.deepcopy(config), trust_remote_code=False)
        numbers = sum(parameter.numel() for parameter in built.parameters())
    if numbers > MOST_TIMES_THE_WEIGHTS * facts.parameters:
        raise ModelError(
            "mdl-size",
            f"the configuration describes a model of {numbers:,} numbers, the weights hold {facts.parameters:,}",
            where=str(path),
            why="The rest would be made up, in memory that may not be there.",
            fix="Fetch configuration and weights together from where the model was published.",
        )


def _check_generation_config(folder: Path) -> None:
    """Transformers reads this file beside the weights."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return
    values = read_object(path, folder, code="mdl-config")
    with _config_faults(path, "settings for answering"):
        GenerationConfig.from_dict(values)


@contextmanager
def _config_faults(path: Path, made: str) -> Iterator[None]:
    """Turn what Transformers raises over a configuration into a ModelError that names the file."""
    try:
        yield
    except CONFIG_FAULTS as fault:
        reason = " ".join(str(fault).split())[:200]
        raise ModelError(
            "mdl-config",
            f"the configuration makes no {made}: {reason} ({type(fault).__name__})",
            where=str(path),
            fix=f"Take {path.name} again from where the model was published.",
        ) from fault
