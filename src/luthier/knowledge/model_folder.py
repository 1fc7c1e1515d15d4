"""Find a base model and say whether its folder can be used, before torch is loaded or a GPU taken.

`find_model` turns the name in a recipe into a folder; `check_model_folder` reads the configuration and the weights' headers and refuses
what would run code, hang, or load something else than it says. Neither needs torch or transformers.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.floor.errors import ModelError
from luthier.floor.lookup import did_you_mean
from luthier.knowledge.containment import is_inside
from luthier.knowledge.hostile_json import read_object
from luthier.knowledge.model_config import check_against_weights, read_config
from luthier.knowledge.safetensors_header import TensorFact, damaged, read_header

EMBEDDED = "embedded"
HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+/-]{0,200}")

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
# The largest index among published models is some 9 MB.
MOST_INDEX_BYTES = 64 * 2**20
SHARD_NAME = re.compile(r"[\w.+ -]{1,200}\.safetensors", re.ASCII)
PICKLE_ENDINGS = (".bin", ".pt", ".pth", ".ckpt", ".pkl")

# What belongs to a model; pickles, code, other formats and copies in subfolders are never fetched.
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
HUB_IGNORED = ("*/*",)

# Facts that libraries rewrite and that say nothing of what the model computes.
VOLATILE_KEYS = frozenset(
    {"_name_or_path", "transformers_version", "use_cache", "torch_dtype", "dtype", "architectures"}
)
NUMBER_FORMAT_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
FINGERPRINTED_BYTES = 2**20


@dataclass(frozen=True)
class ModelFacts:
    """What a model folder holds, read without loading it."""

    model_type: str
    config: dict[str, Any]
    weight_files: tuple[Path, ...]
    tensors: tuple[TensorFact, ...]
    parameters: int
    """Numbers in the weights; a tied head counts once."""
    dtype: str
    """The format of most of the numbers, as torch names it."""
    is_tied: bool
    """The head shares the input embedding's matrix."""
    fingerprint: str
    """SHA-256 over what the model computes: configuration, tensors and the ends of the weight files."""


def find_model(name: str, revision: str | None = None) -> Path:
    """The folder of the model that a recipe names: a path, `embedded`, or an id of the Hugging Face hub.

    A hub model comes from the local cache, or is fetched: safetensors, configuration and tokenizer, nothing else.
    Raises ModelError mdl-missing or mdl-offline.
    """
    try:
        folder = Path(name).expanduser()
        is_folder, is_there = folder.is_dir(), folder.exists()
    except (OSError, RuntimeError) as fault:
        # A name too long for the file system, or a ~user that this machine does not know.
        raise _missing(name[:200], f"is no folder on this machine: {str(fault)[:60]}") from fault
    if is_folder:
        return folder
    if name == EMBEDDED:
        return _embedded_folder()
    if is_there:
        raise _missing(
            name,
            "is a file, not a model folder",
            fix=f"Name the folder it lies in: model.name={folder.parent}",
        )
    if not HUB_ID.fullmatch(name) or ".." in name:
        raise _missing(name, f"is no folder on this machine{did_you_mean(name, _local_names(name))}")
    if revision is not None and (not REVISION.fullmatch(revision) or ".." in revision):
        raise _missing(
            name, f"has no revision {revision!r}: that is no commit, tag or branch", key="model.revision"
        )
    return _fetch(name, revision)


def find_local_model(name: str, revision: str | None = None) -> Path | None:
    """The folder that `find_model` would give without a network; None for a hub model that was never fetched.

    Raises ModelError mdl-missing for what is neither a folder nor an id of the hub.
    """
    if not HUB_ID.fullmatch(name) or Path(name).expanduser().exists():
        return find_model(name, revision)
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(name, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def _embedded_folder() -> Path:
    """The base that ships with Luthier: beside the sources in a checkout, inside the package once installed."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "assets" / "embedded-base", package.parents[1] / "assets" / "embedded-base"):
        if (folder / "config.json").is_file():
            return folder
    raise ModelError(
        "mdl-missing",
        "the embedded base model is not part of this installation",
        where="model.name = embedded",
        fix="Make it on a GPU, as bench/embedded_base/README.md says; or name another: model.name=Qwen/Qwen2.5-0.5B",
    )


def _local_names(name: str) -> list[str]:
    """Model folders that the name could have meant: the siblings of the path, and those below here and below ./models."""
    names = [EMBEDDED]
    for parent in (Path(name).expanduser().parent, Path(), Path("models"), Path("assets")):
        try:
            names += [
                str(parent / child.name) for child in parent.iterdir() if (child / "config.json").is_file()
            ]
        except OSError:
            continue
    return names


def _missing(name: str, what: str, *, fix: str = "", key: str = "model.name") -> ModelError:
    return ModelError(
        "mdl-missing",
        f"the model {name!r} {what}",
        where=f"{key} = {name}" if key == "model.name" else key,
        fix=fix
        or "Name a folder with config.json and *.safetensors, a hub id such as Qwen/Qwen2.5-0.5B, or `embedded`.",
    )


def _fetch(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        return Path(
            snapshot_download(
                name, revision=revision, allow_patterns=list(HUB_FILES), ignore_patterns=list(HUB_IGNORED)
            )
        )
    except GatedRepoError as fault:
        raise _missing(
            name,
            "asks for its licence to be accepted",
            fix=f"Accept it at https://huggingface.co/{name}, then: hf auth login",
        ) from fault
    except RepositoryNotFoundError as fault:
        raise _missing(
            name, "is not on the hub, or is private", fix="Check the spelling, or log in: hf auth login"
        ) from fault
    except RevisionNotFoundError as fault:
        raise _missing(name, f"has no revision {revision!r}", key="model.revision") from fault
    except (EntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as fault:
        raise _offline(name, fault) from fault


def _offline(name: str, fault: Exception) -> ModelError:
    is_offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    reason = (
        "HF_HUB_OFFLINE is set"
        if is_offline
        else (str(fault).splitlines() or [type(fault).__name__])[0][:200]
    )
    return ModelError(
        "mdl-offline",
        f"the model {name!r} is not on this machine and was not fetched: {reason}",
        where=f"model.name = {name}{did_you_mean(name, _local_names(name))}",
        fix=f"With a network: hf download {name}; without one: name a model folder, or model.name=embedded",
    )


def check_model_folder(folder: Path) -> ModelFacts:
    """Judge a model folder without loading it.

    Raises ModelError mdl-missing, mdl-config, mdl-code, mdl-size, mdl-path, mdl-weights, mdl-pickle or mdl-lfs.
    """
    if not folder.is_dir():
        raise _missing(
            str(folder), f"is no folder on this machine{did_you_mean(str(folder), _local_names(str(folder)))}"
        )
    config = read_config(folder)
    _refuse_adapter_inside(folder)
    files = find_weight_files(folder)
    tensors = _all_tensors(files)
    parameters = sum(tensor.numbers for tensor in tensors)
    check_against_weights(
        config, tensors=len(tensors), parameters=parameters, where=str(folder / "config.json")
    )
    numbers_by_format: Counter[str] = Counter()
    for tensor in tensors:
        numbers_by_format[tensor.format] += tensor.numbers
    most_common = numbers_by_format.most_common(1)[0][0]
    return ModelFacts(
        model_type=config["model_type"],
        config=config,
        weight_files=files,
        tensors=tensors,
        parameters=parameters,
        dtype=NUMBER_FORMAT_NAMES.get(most_common, most_common),
        is_tied=bool(
            config.get("tie_word_embeddings", not any("lm_head" in tensor.name for tensor in tensors))
        ),
        fingerprint=_fingerprint(config, tensors, files),
    )


def _refuse_adapter_inside(folder: Path) -> None:
    """Transformers would put it over the model, unasked and unjudged."""
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            "mdl-config",
            f"the model folder holds an adapter as well: {folder / 'adapter_config.json'}",
            where=str(folder),
            why="Whether the model is meant with it or without it cannot be told.",
            fix="Move the adapter (adapter_config.json, adapter_model.safetensors) into a folder of its own.",
        )


def find_weight_files(folder: Path) -> tuple[Path, ...]:
    """The safetensors files that hold the weights, by the one name or by the index, all inside the folder.

    Raises ModelError if there are none, if an index leads outside, or if there are only pickles.
    """
    if (folder / SINGLE_FILE).is_file():
        files = [folder / SINGLE_FILE]
    elif (folder / INDEX_FILE).is_file():
        files = _indexed_files(folder)
    else:
        raise _no_weights(folder)
    for file in files:
        if not is_inside(file, folder):
            raise ModelError(
                "mdl-path",
                f"{file.name} is a link to {file.resolve()}, outside the model folder",
                where=str(file),
                fix="Replace the link by the file it stands for.",
            )
    return tuple(files)


def _indexed_files(folder: Path) -> list[Path]:
    path = folder / INDEX_FILE
    index = read_object(path, folder, code="mdl-weights", most_bytes=MOST_INDEX_BYTES)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise damaged(path, "it has no weight_map")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        if not SHARD_NAME.fullmatch(name):
            raise ModelError(
                "mdl-path",
                f"the weight index names {name[:200]!r}, which is no safetensors file of this folder",
                where=str(path),
                why="An index may only name files beside it: anything else could read what is not the model's.",
                fix="Take the index again from where the model was published.",
            )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            "mdl-weights",
            f"{len(missing)} of the {len(names)} weight files that the index names are missing",
            where=str(path),
            problems=[f"no {name}" for name in missing[:20]],
            fix="Fetch the missing files from where the model was published.",
        )
    _check_index(path, weight_map)
    return [folder / name for name in names]


def _check_index(path: Path, weight_map: dict[str, Any]) -> None:
    """Every tensor that the index places must be in that very file."""
    held = {
        name: {tensor.name for tensor in read_header(path.parent / name)} for name in set(weight_map.values())
    }
    absent = sorted(tensor for tensor, name in weight_map.items() if tensor not in held[name])
    if absent:
        raise ModelError(
            "mdl-weights",
            f"the index places {len(absent)} tensors in files that do not hold them",
            where=str(path),
            problems=[f"{tensor} is not in {weight_map[tensor]}" for tensor in absent[:20]],
            fix="Fetch index and weight files together from where the model was published.",
        )


def _no_weights(folder: Path) -> ModelError:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLE_ENDINGS)
    if pickles:
        return ModelError(
            "mdl-pickle",
            f"the weights are pickled: {', '.join(pickles[:5])}",
            where=str(folder),
            why="Loading a pickle runs whatever code is in it, so Luthier reads safetensors only.",
            fix="Take the model's safetensors weights (on the hub, often a branch of the repository named refs/pr/...).",
        )
    return ModelError(
        "mdl-weights",
        f"there is no {SINGLE_FILE} and no {INDEX_FILE} in {folder}",
        where=str(folder),
        fix="Fetch the model's safetensors weights.",
    )


def _all_tensors(files: Sequence[Path]) -> tuple[TensorFact, ...]:
    tensors: list[TensorFact] = []
    place: dict[str, Path] = {}
    for file in files:
        for tensor in read_header(file):
            if tensor.name in place:
                raise damaged(file, f"tensor {tensor.name!r} is also in {place[tensor.name].name}")
            place[tensor.name] = file
            tensors.append(tensor)
    if not any(tensor.numbers for tensor in tensors):
        raise damaged(files[0], "it holds no numbers")
    return tuple(tensors)


def _fingerprint(config: dict[str, Any], tensors: Sequence[TensorFact], files: Sequence[Path]) -> str:
    """Cheap and stable: equal for copies of a folder, different as soon as shape, format or either end of a file differs."""
    essentials = {key: value for key, value in config.items() if key not in VOLATILE_KEYS}
    facts = sorted((tensor.name, tensor.format, tensor.shape) for tensor in tensors)
    digest = hashlib.sha256(json.dumps([essentials, facts], sort_keys=True).encode())
    for path in files:
        file_bytes = path.stat().st_size
        with open(path, "rb") as file:
            digest.update(file.read(FINGERPRINTED_BYTES))
            file.seek(max(0, file_bytes - FINGERPRINTED_BYTES))
            digest.update(file.read(FINGERPRINTED_BYTES))
    return digest.hexdigest()
