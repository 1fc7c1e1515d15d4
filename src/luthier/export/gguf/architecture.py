"""What kind of model a folder holds, in the file's keys, and which of its tensors become which of the file's.

The tensors are held against the model that Transformers makes of config.json: one that is missing, left over or of another shape is
refused before a byte is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.initialization import no_init_weights

from luthier.export.gguf.container import Encode, Key, TensorPieces, encode, name_tensors
from luthier.export.gguf.rotation import head_dimensions, rotation_keys, rotation_tensors
from luthier.export.gguf.weights import StoredTensor, StreamedTensor, fits_blocks, stored_tensors
from luthier.floor.errors import ModelError
from luthier.floor.lookup import did_you_mean
from luthier.knowledge.gguf_families import GGUF_FAMILIES, GgufFamily
from luthier.knowledge.gguf_types import TypeFacts
from luthier.knowledge.model_folder import ModelFacts
from luthier.modelling.architecture import read_architecture
from luthier.modelling.load import quiet_transformers

HEAD, EMBEDDING = "output.weight", "token_embd.weight"
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Architecture:
    """A model folder that has a GGUF form."""

    folder: Path
    family: GgufFamily
    config: dict[str, Any]
    """Every setting, defaults of Transformers included."""
    stored: Mapping[str, StoredTensor]
    names: Mapping[str, str]
    """For every tensor of the folder that is written, its name in the file."""
    is_tied: bool

    @property
    def vocabulary_tokens(self) -> int:
        """Rows of the input embedding."""
        embedding = next(self.stored[name] for name, new in self.names.items() if new == EMBEDDING)
        return embedding.fact.shape[0]

    @property
    def weight_bytes(self) -> int:
        """Bytes to read."""
        return sum(self.stored[name].fact.end - self.stored[name].fact.start for name in self.names)


def find_gguf_family(model_type: str, where: Path) -> GgufFamily:
    """The row of a model type. Raises ModelError gguf-family with those that there are."""
    family = GGUF_FAMILIES.get(model_type)
    if family is None:
        raise ModelError(
            "gguf-family",
            f"model_type = {model_type!r} has no GGUF form that Luthier writes{did_you_mean(model_type, GGUF_FAMILIES)}",
            where=str(where / "config.json"),
            why=f"It writes {', '.join(sorted(GGUF_FAMILIES))}.",
            fix="Serve the folder with another engine, or convert it with llama.cpp's own convert_hf_to_gguf.py.",
        )
    return family


def open_architecture(folder: Path, facts: ModelFacts) -> Architecture:
    """Judge a model folder for its GGUF form.

    Raises ModelError gguf-family if llama.cpp or Luthier has none, gguf-weights if its tensors are not those of its configuration.
    """
    family = find_gguf_family(facts.model_type, folder)
    with quiet_transformers():
        config = read_architecture(folder, facts)
    settings: dict[str, Any] = config.get_text_config().to_dict()
    _check_settings(family, settings, folder)
    expected, is_tied = _expected_shapes(config)
    stored = stored_tensors(facts.weight_files)
    _compare(stored, expected, is_tied=is_tied, folder=folder)
    written = [name for name in stored if name in expected]
    names = name_tensors(family.architecture, settings["num_hidden_layers"], written)
    unnamed = [name for name, new in names.items() if new is None]
    if unnamed:
        raise _wrong_tensors(
            folder,
            f"llama.cpp's {family.architecture} has no tensor for {len(unnamed)} of the model's",
            unnamed,
        )
    return Architecture(folder, family, settings, stored, {k: str(v) for k, v in names.items()}, is_tied)


def _check_settings(family: GgufFamily, settings: dict[str, Any], folder: Path) -> None:
    for name, value in family.required.items():
        if settings.get(name) != value:
            raise ModelError(
                "gguf-family",
                f"{name} = {settings.get(name)!r}, and llama.cpp computes {family.architecture} with {value!r}",
                where=str(folder / "config.json"),
                fix="Serve the folder with another engine.",
            )
    layers = settings["num_hidden_layers"]
    rotated = settings.get("no_rope_layers")
    if rotated is not None and list(rotated) != [int((layer + 1) % 4 != 0) for layer in range(layers)]:
        raise ModelError(
            "gguf-family",
            "no_rope_layers leaves out other layers than every fourth, which llama.cpp takes for granted",
            where=str(folder / "config.json"),
            fix="Serve the folder with another engine.",
        )


def _expected_shapes(config: PreTrainedConfig) -> tuple[dict[str, tuple[int, ...]], bool]:
    """Name and shape of every tensor of the model, a tied head left out; and whether there is one."""
    with torch.device("meta"), no_init_weights(), quiet_transformers():
        model: Any = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    is_tied = bool(config.get_text_config().tie_word_embeddings)
    shapes = {name: tuple(weight.shape) for name, weight in model.state_dict().items()}
    if is_tied:
        shapes.pop("lm_head.weight", None)
    return shapes, is_tied


def _compare(
    stored: Mapping[str, StoredTensor],
    expected: Mapping[str, tuple[int, ...]],
    *,
    is_tied: bool,
    folder: Path,
) -> None:
    missing = sorted(expected.keys() - stored.keys())
    if missing:
        raise _wrong_tensors(folder, f"{len(missing)} of {len(expected)} tensors are missing", missing)
    extra = sorted(stored.keys() - expected.keys() - ({"lm_head.weight"} if is_tied else set()))
    # Some folders hold buffers that Transformers works out itself.
    extra = [name for name in extra if not name.endswith("rotary_emb.inv_freq")]
    if extra:
        raise _wrong_tensors(folder, f"{len(extra)} tensors belong to no part of the model", extra)
    wrong = [
        f"{name}: {list(stored[name].fact.shape)}, expected {list(shape)}"
        for name, shape in expected.items()
        if stored[name].fact.shape != shape
    ]
    if wrong:
        raise _wrong_tensors(folder, f"{len(wrong)} tensors have another shape than config.json says", wrong)


def _wrong_tensors(folder: Path, what: str, names: list[str]) -> ModelError:
    more = [f"and {len(names) - NAMES_SHOWN} more"] if len(names) > NAMES_SHOWN else []
    return ModelError(
        "gguf-weights",
        what,
        where=str(folder),
        problems=[*names[:NAMES_SHOWN], *more],
        fix="Merge again: luthier merge --again; or take the folder again from where it was published.",
    )


def architecture_keys(architecture: Architecture) -> list[Key]:
    """Every key that says what llama.cpp is to compute."""
    config, family = architecture.config, architecture.family
    name = family.architecture
    keys = [
        Key(f"{name}.block_count", int(config["num_hidden_layers"])),
        Key(f"{name}.context_length", int(config["max_position_embeddings"])),
        Key(f"{name}.embedding_length", int(config["hidden_size"])),
        Key(f"{name}.feed_forward_length", int(config["intermediate_size"])),
        Key(f"{name}.attention.head_count", int(config["num_attention_heads"])),
        Key(
            f"{name}.attention.head_count_kv",
            int(config.get("num_key_value_heads") or config["num_attention_heads"]),
        ),
        Key(f"{name}.attention.key_length", head_dimensions(config)),
        Key(f"{name}.attention.value_length", head_dimensions(config)),
        Key(f"{name}.vocab_size", architecture.vocabulary_tokens),
    ]
    if config.get("rms_norm_eps") is not None:
        keys.append(Key(f"{name}.attention.layer_norm_rms_epsilon", float(config["rms_norm_eps"])))
    keys += [Key(f"{name}.{key}", value) for key, value in family.constants.items()]
    keys += [
        Key(f"{name}.{key}", float(config[setting]))
        for key, setting in family.settings.items()
        if config.get(setting) is not None
    ]
    return keys + _window_keys(family, config) + rotation_keys(family, config)


def _window_keys(family: GgufFamily, config: dict[str, Any]) -> list[Key]:
    if not family.has_windows or not config.get("sliding_window"):
        return []
    name = family.architecture
    return [
        Key(f"{name}.attention.sliding_window", int(config["sliding_window"])),
        Key(
            f"{name}.attention.sliding_window_pattern",
            [kind == "sliding_attention" for kind in config["layer_types"]],
        ),
    ]


def ignored_window(architecture: Architecture) -> int | None:
    """The window of attention that the model has and llama.cpp leaves out, if it can matter."""
    config = architecture.config
    window = config.get("sliding_window")
    uses = config.get("use_sliding_window", True)
    if architecture.family.has_windows or not window or not uses:
        return None
    return int(window) if window < config["max_position_embeddings"] else None


def plan_tensors(
    architecture: Architecture, type: TypeFacts, *, encode: Encode = encode
) -> list[TensorPieces]:
    """The tensors of a file of a plain type, in the order of the folder."""
    family, config = architecture.family, architecture.config
    assert type.is_plain, f"{type.name} is written by llama.cpp"
    if not architecture.is_tied and not family.may_part_head:
        raise ModelError(
            "gguf-family",
            f"the head is a matrix of its own, and llama.cpp computes {family.architecture} with the input embedding",
            where=str(architecture.folder),
            why="The adapter trained one of the two, which parted them.",
            fix="Train without embed_tokens and lm_head among the targets, or serve the folder with another engine.",
        )
    planned: list[TensorPieces] = list(rotation_tensors(family, config))
    for name, new in architecture.names.items():
        source = architecture.stored[name]
        planned.append(
            StreamedTensor(
                new,
                _tensor_type(new, source.fact.shape, type, is_tied=architecture.is_tied),
                source,
                source.fact.shape,
                heads=permuted_heads(architecture, new),
                encode=encode,
                added=1.0 if family.adds_one_to_norms and name.endswith("norm.weight") else 0.0,
            )
        )
    return planned


def permuted_heads(architecture: Architecture, name: str) -> int:
    """How many heads the tensor `name` of the file has whose rows change places; 0 where none do."""
    if not architecture.family.permutes_queries_and_keys:
        return 0
    config = architecture.config
    heads = {
        "attn_q": int(config["num_attention_heads"]),
        "attn_k": int(config.get("num_key_value_heads") or config["num_attention_heads"]),
    }
    return heads.get(name.split(".")[-2], 0)


def _tensor_type(name: str, shape: tuple[int, ...], type: TypeFacts, *, is_tied: bool) -> str:
    if len(shape) < 2:
        return "F32"
    is_head = name == HEAD or (is_tied and name == EMBEDDING)
    wanted = type.head if is_head and type.head else type.name
    return wanted if fits_blocks(shape, wanted) else "F16"
