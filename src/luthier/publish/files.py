"""What goes up: an allow-list of names, each file as it is or as a copy without what is of this machine alone.

Anything that is not on the list stays here and is named: optimizer states, random states, logs and rows never leave by accident.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from luthier.config.used import read_config_used, resolved_tree
from luthier.floor.errors import ModelError
from luthier.floor.files import sha256_of
from luthier.floor.log import Listener
from luthier.knowledge.adapter_folder import ORIGIN_FILE, WEIGHTS_FILE
from luthier.knowledge.containment import is_inside
from luthier.knowledge.hostile_json import read_object
from luthier.knowledge.model_folder import EMBEDDED, INDEX_FILE, find_weight_files
from luthier.publish.facts import Facts, shown_name
from luthier.reports.publish import PublishedFile

CARD, RECIPE, NOTICE = "README.md", "config_used.yaml", "NOTICE"
LICENCE, BASE_LICENCE = "LICENSE", "LICENSE.base"
TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
    "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt",
)  # fmt: skip
ADAPTER_FILES = ("adapter_config.json", WEIGHTS_FILE, ORIGIN_FILE)
MODEL_FILES = ("config.json", "generation_config.json", INDEX_FILE)
# Where a folder of this machine stands for the base.
BASE_KEYS = ("base_model_name_or_path", "_name_or_path", "name_or_path")
# Said of the machine that saved the tokenizer; elsewhere they would keep it from being fetched.
LOCAL_KEYS = ("is_local", "local_files_only")
MOST_TEXT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Upload:
    """One file as it goes up: from the disk, or a text written here."""

    path: str
    """Its name in the repository."""
    source: Path | None
    content: bytes | None
    size_bytes: int
    sha256: str
    rewritten: tuple[str, ...] = ()

    @classmethod
    def of_file(cls, path: str, source: Path) -> "Upload":
        return cls(path, source, None, source.stat().st_size, sha256_of(source))

    @classmethod
    def of_text(cls, path: str, text: str, rewritten: Sequence[str] = ()) -> "Upload":
        content = text.encode()
        return cls(path, None, content, len(content), hashlib.sha256(content).hexdigest(), tuple(rewritten))

    def read(self) -> bytes:
        """The whole of it; for texts, which are small."""
        return self.content if self.content is not None else (self.source or Path()).read_bytes()

    def listed(self) -> PublishedFile:
        return PublishedFile(
            path=self.path, bytes=self.size_bytes, sha256=self.sha256, rewritten=list(self.rewritten)
        )


def collect_files(facts: Facts, listener: Listener) -> tuple[list[Upload], list[str]]:
    """The files of the run that go up, without card and licence, and the names of those beside them that stay.

    Raises ModelError mdl-path if one is a link out of its folder.
    """
    names = _wanted(facts)
    found = sorted(path for path in facts.folder.iterdir() if path.name in names)
    uploads = []
    for number, path in enumerate(found, start=1):
        _refuse_link(path, facts.folder)
        rewrite = _REWRITES.get(path.name)
        uploads.append(rewrite(facts, path) if rewrite is not None else Upload.of_file(path.name, path))
        listener.progress("hashing", number, len(found), path.name)
    stays = [path.name for path in sorted(facts.folder.iterdir()) if path.name not in names]
    return [*uploads, *_for_ollama(facts), _recipe(facts)], stays


def _for_ollama(facts: Facts) -> list[Upload]:
    """What Ollama reads of a repository beside its GGUF files, else it guesses (huggingface.co/docs/hub/ollama)."""
    proven = facts.ollama
    if proven is None:
        return []
    numbers = {name: int(value) if value.is_integer() else value for name, value in proven.parameters.items()}
    params = json.dumps({"stop": list(proven.stops), **numbers}, indent=2, ensure_ascii=False)
    files = [Upload.of_text("template", proven.template), Upload.of_text("params", params + "\n")]
    return [*files, Upload.of_text("system", proven.system)] if proven.system else files


def _wanted(facts: Facts) -> frozenset[str]:
    if facts.gguf is not None:
        return frozenset(Path(file.path).name for file in facts.gguf.files)
    if facts.what == "adapter":
        return frozenset((*ADAPTER_FILES, *TOKENIZER_FILES))
    weights = [path.name for path in find_weight_files(facts.folder)]
    return frozenset((*MODEL_FILES, *TOKENIZER_FILES, *weights))


def _refuse_link(path: Path, folder: Path) -> None:
    if not path.is_file() or not is_inside(path, folder):
        raise ModelError(
            "mdl-path",
            f"{path.name} is no file of its folder"
            + (f", but a link to {path.resolve()}" if path.is_symlink() else ""),
            where=str(path),
            why="What a link leads to outside the folder was not meant to be published.",
            fix="Replace it by the file it stands for.",
        )


def _rewrite_object(facts: Facts, path: Path) -> Upload:
    """A configuration, with the base under its public name and without folders of this machine."""
    value = read_object(path, facts.folder, code="mdl-config")
    notes: list[str] = []
    for key in [key for key in LOCAL_KEYS if key in value]:
        del value[key]
        notes.append(f"{key} left out")
    cleaned = _cleaned(value, "", partial(_public_base, facts), notes)
    if not notes:
        return Upload.of_file(path.name, path)
    return Upload.of_text(path.name, json.dumps(cleaned, indent=2, ensure_ascii=False) + "\n", notes)


_REWRITES: Mapping[str, Callable[[Facts, Path], Upload]] = dict.fromkeys(("adapter_config.json", "config.json", "generation_config.json", "tokenizer_config.json", ORIGIN_FILE), _rewrite_object)  # fmt: skip


def _public_base(facts: Facts, text: str) -> str:
    return facts.base_id or (EMBEDDED if facts.is_embedded else shown_name(text))


def _cleaned(value: Any, key: str, base: Callable[[str], str], notes: list[str]) -> Any:
    """The value with every path of this machine replaced, each noted."""
    if isinstance(value, dict):
        return {
            inner: _cleaned(item, f"{key}.{inner}".strip("."), base, notes) for inner, item in value.items()
        }
    if isinstance(value, list):
        return [_cleaned(item, f"{key}[{place}]", base, notes) for place, item in enumerate(value)]
    if not isinstance(value, str) or not value:
        return value
    names_base = key.rpartition(".")[2] in BASE_KEYS or key in ("base.name", "model.name")
    new = base(value) if names_base else shown_name(value) if is_path_of_machine(value) else value
    if new != value:
        notes.append(f"{key}: {new} for {'a path' if is_path_of_machine(value) else value}")
    return new


def is_path_of_machine(text: str) -> bool:
    """Whether a whole value is a path that means something on one machine only."""
    return text.startswith(("/", "~/", "\\\\")) or (len(text) > 2 and text[1:3] in (":\\", ":/"))


def _recipe(facts: Facts) -> Upload:
    """config_used.yaml, so that the training can be repeated; without the section that is about publishing."""
    used = facts.run.config_used
    tree = read_config_used(used) if used.is_file() else resolved_tree(facts.recipe)
    notes = ["publish left out"] if tree.pop("publish", None) is not None else []
    cleaned = _cleaned(tree, "", partial(_public_base, facts), notes)
    text = yaml.safe_dump(cleaned, sort_keys=False, allow_unicode=True, width=110)
    return Upload.of_text(RECIPE, text, notes)


def texts_of(uploads: Sequence[Upload]) -> Iterator[tuple[Upload, str]]:
    """Every file that is text, decoded; a byte that is no UTF-8 becomes a replacement character."""
    for upload in uploads:
        if (
            not upload.path.endswith((".safetensors", ".gguf", ".model"))
            and upload.size_bytes <= MOST_TEXT_BYTES
        ):
            yield upload, upload.read().decode("utf-8", "replace")
