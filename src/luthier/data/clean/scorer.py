"""Score rows by a classifier or a program of the user's, and leave out those above a bound.

Both are one thing here: a program that is started for a batch of rows, reads a line of JSON a row and writes a line of JSON a
score. A classifier is such a program, too (modelling/score_texts.py), so that torch stays out of this process. A start a batch lets any
program be used, whether or not it flushes what it writes; the files between keep memory bounded whatever it writes.
"""

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from luthier.config.clean import ScorerConfig
from luthier.data.clean.filter import Dropped, Kept, whole_text
from luthier.data.clean.scorer_process import ScorerProcess, unusable
from luthier.floor.errors import DataError
from luthier.floor.files import sha256_of
from luthier.floor.lookup import did_you_mean
from luthier.knowledge.model_folder import HUB_FILES, check_model_folder
from luthier.text.rows import Row

WORKER = "luthier.modelling.score_texts"
KEPT_VARIABLES = (
    "PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "TZ", "HOME", "TMPDIR", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"
)  # fmt: skip
OVER = "rows over the bound"


@dataclass(frozen=True, slots=True)
class ScorerFilter:
    """Leaves out, or only counts, the rows whose texts together are scored above the bound."""

    process: ScorerProcess
    most_score: float
    is_dropping: bool
    rows_at_once: int
    name: str = "scorer"

    def apply(self, row: Row) -> Kept | Dropped:
        """Judge one row; many at once are far cheaper."""
        return self.judge([row])[0]

    def judge(self, rows: Sequence[Row]) -> list[Kept | Dropped]:
        """Judge rows, in their order. Raises DataError (data-scorer) if there is not a score for each."""
        scores = self.process.score([whole_text(row) for row in rows])
        return [self._verdict(row, score) for row, score in zip(rows, scores, strict=True)]

    def _verdict(self, row: Row, score: float) -> Kept | Dropped:
        if score <= self.most_score:
            return Kept(row)
        if not self.is_dropping:
            return Kept(row, {OVER: 1})
        return Dropped(f"scored above {self.most_score:g}", f"{score:.4g}", {OVER: 1}, score)


def scorer_filter(config: ScorerConfig) -> ScorerFilter:
    """The filter `scorer`. Raises DataError (data-scorer) if there is no such program or label, ModelError on a model's faults."""
    command, environment = _command(config)
    name = f"the classifier {config.path}" if config.path else f"the scorer {' '.join(command)[:120]!r}"
    process = ScorerProcess(command, environment, name=name, timeout_s=config.timeout_s)
    return ScorerFilter(process, config.most_score, config.action == "drop", config.rows_at_once)


def scorer_key(config: ScorerConfig) -> list[str] | None:
    """What scores, as it is now: hashes of the model's files, or of the program and of every argument that is a file."""
    if config.kind == "off":
        return None
    if config.path is not None:
        folder = Path(config.path).expanduser()
        files = sorted({file for pattern in HUB_FILES for file in folder.glob(pattern)})
        return [f"{file.name} {sha256_of(file)}" for file in files]
    named = [Path(_program(config.command[0])), *map(Path, config.command[1:])]
    return [sha256_of(path) for path in named if path.is_file()]


def _command(config: ScorerConfig) -> tuple[list[str], Mapping[str, str]]:
    if config.path is None:
        return [_program(config.command[0]), *config.command[1:]], os.environ
    folder = Path(config.path).expanduser()
    if not folder.is_dir():
        raise unusable(
            f"there is no folder {folder}; a classifier is a folder with config.json, tokenizer and safetensors"
        )
    _check_labels(config, check_model_folder(folder).config.get("id2label"))
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    offline = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONUTF8": "1"}
    return [sys.executable, "-P", "-m", WORKER, config.device, str(folder), *config.labels], kept | offline


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise unusable(
            f"there is no program {name!r}{did_you_mean(name, ('python', 'python3', 'node', 'perl'))}"
        )
    return found


def _check_labels(config: ScorerConfig, id2label: object) -> None:
    known = list(map(str, id2label.values())) if isinstance(id2label, dict) else []
    unknown = [label for label in config.labels if label not in known]
    if not unknown:
        return
    has = f"its labels are: {', '.join(known[:20])}" if known else "its config.json names no labels"
    raise DataError(
        "data-scorer",
        f"the classifier {config.path} has no label {unknown[0]!r}{did_you_mean(unknown[0], known)}; {has}",
        where="data.clean.scorer.labels",
        fix="Name the labels that are unwanted, as the model's config.json spells them.",
    )
