"""Turn texts into vectors by a static embedding model (model2vec); the one file that knows it.

A static model has a vector a token and takes their mean: no order, no context, and so no negation. It is read from a folder or
the hub's local cache, never fetched: safetensors and tokenizer.json, nothing that runs.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from luthier.floor.errors import EnvironmentFault, ModelError
from luthier.floor.files import sha256_of
from luthier.knowledge.model_folder import HUB_ID

Array = NDArray[Any]
FIX = (
    "Name a folder of a model2vec model: model.safetensors, tokenizer.json and config.json. To fetch one: "
    "hf download minishlab/potion-base-8M --local-dir models/potion"
)


class Embedder:
    """Texts as vectors of length one; a text without a known token gets zeros."""

    def __init__(self, model: Any, folder: Path) -> None:
        self._model = model
        self.folder = folder

    def embed(self, texts: Sequence[str]) -> Array:
        """N by D numbers of 32 bits, of all tokens of each text."""
        vectors_ND = np.asarray(
            self._model.encode(list(texts), max_length=None, use_multiprocessing=False), dtype=np.float32
        )
        lengths_N = np.linalg.norm(vectors_ND, axis=1, keepdims=True)
        return np.asarray(
            np.divide(vectors_ND, lengths_N, out=np.zeros_like(vectors_ND), where=lengths_N > 1e-6)
        )


def load_embedder(name: str, *, where: str) -> Embedder:
    """The model of a folder, or of a hub id in the local cache. Raises ModelError, or EnvironmentFault without model2vec."""
    try:
        model2vec = importlib.import_module("model2vec")
    except ModuleNotFoundError as fault:
        raise EnvironmentFault(
            "env-extra",
            "comparing meanings needs model2vec, which is not installed",
            where=where,
            fix="Type: pip install 'luthier[semantic]'",
        ) from fault
    folder = find_static_model(name, where=where)
    with _Refusals(folder, where):
        model = model2vec.StaticModel.from_pretrained(folder, force_download=False)
    if not np.isfinite(model.embedding).all():
        what = f"a vector of {folder} is not finite"
        raise ModelError("mdl-nan", what, where=where, fix="Fetch the model anew, or name another.")
    return Embedder(model, folder)


class _Refusals:
    """Turns what the libraries raise over files they cannot read into ModelError; tokenizers raises the bare class Exception."""

    def __init__(self, folder: Path, where: str) -> None:
        self._folder = folder
        self._where = where

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: object) -> None:
        known = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, SafetensorError)
        if kind is not None and (kind is Exception or issubclass(kind, known)):
            reason = (str(fault).strip() or kind.__name__).splitlines()[0][:200]
            what = f"{self._folder} is no static embedding model that model2vec can read: {reason}"
            raise ModelError("mdl-config", what, where=self._where, fix=FIX) from fault


def find_static_model(name: str, *, where: str) -> Path:
    """Where the files lie. Nothing is fetched. Raises ModelError (mdl-missing)."""
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder
    if HUB_ID.fullmatch(name) and ".." not in name:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(snapshot_download(name, local_files_only=True))
        except LocalEntryNotFoundError:
            pass
    what = f"there is no folder {name}, nor a model of that name in the hub's local cache"
    raise ModelError("mdl-missing", what, where=where, fix=FIX)


def hash_static_model(name: str) -> dict[str, str]:
    """The hashes of the files that decide what a text's vector is."""
    folder = find_static_model(name, where="data.dedup.model")
    files = [*folder.glob("*.safetensors"), *folder.glob("*.json")]
    return {file.name: sha256_of(file) for file in sorted(files)}
