"""How much each column of a matrix matters: the mean square of what it is multiplied by, over some of the user's training rows.

What llama.cpp's llama-imatrix collects (tools/imatrix: sums of squared activations of every product, divided by their number), here
from the merged model in memory. llama.cpp then rounds a block of weights so that the columns that matter keep the most. The head is left
out, as there. Held-out rows are never seen: they judge the file.

Axes: T tokens, C columns of a matrix.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

from luthier.config.recipe import Recipe
from luthier.encoding.open import training_rows
from luthier.export.gguf.architecture import HEAD, Architecture
from luthier.floor.errors import DataError, ModelError
from luthier.floor.files import disk_faults
from luthier.floor.log import Listener
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.reports.gguf import Importance
from luthier.tokens.rows import TrainingRows

STOPPED = "the export was stopped; it left nothing behind"
REPEAT = "Repeat it: luthier export gguf"


@dataclass(frozen=True)
class Calibration:
    """Which training rows are run through the model."""

    data: DataReport
    rows: int
    """So many, drawn by the seed; all where there are fewer."""
    seed: int

    def explains(self, importance: Importance | None) -> bool:
        """Whether a file was weighed by this very calibration."""
        return importance is not None and importance.drawn_from == self.drawn_from

    @property
    def drawn_from(self) -> str:
        """Tells one draw from another."""
        return f"{self.rows} rows by seed {self.seed} of {self.data.train.fingerprint}"


def read_calibration(recipe: Recipe, data: DataReport | None) -> Calibration:
    """What the recipe asks for.

    Raises DataError: data-missing if the run keeps no record of its training rows, data-cache if they are gone or were changed.
    """
    if data is None:
        raise DataError(
            "data-missing",
            "the run has no report of its training rows, so there is nothing to weigh columns by",
            where="export.gguf.imatrix",
            fix="Export without: leave --imatrix out",
        )
    with training_rows(recipe, data):  # found now, and not after minutes
        pass
    settings = recipe.export.gguf
    return Calibration(data, settings.calibration_rows, settings.calibration_seed)


def weigh_columns(
    model: nn.Module,
    architecture: Architecture,
    calibration: Calibration,
    recipe: Recipe,
    path: Path,
    *,
    listener: Listener,
    stop: StopFlag | None,
) -> Importance:
    """Run the rows through the model, and write to `path` for every matrix, by its name in the file, the importances [C].

    Raises DataError data-cache if the prepared rows are gone, ModelError mdl-nan if the model computes a number that is none.
    """
    with (
        training_rows(recipe, calibration.data, listener=listener) as rows,
        sums_of_squares(model, architecture) as sums,
    ):
        ids = _drawn(rows, calibration)
        tokens = used = 0
        for row_ids in ids:
            if stop is not None:
                stop.check(STOPPED, fix=REPEAT)
            listener.progress("weighing columns, rows", used, len(ids))
            device = next(model.parameters()).device
            with torch.inference_mode():
                model(input_ids=torch.tensor([row_ids], device=device), use_cache=False, logits_to_keep=1)
            tokens, used = tokens + len(row_ids), used + 1
        listener.progress("weighing columns, rows", used, len(ids))
    weights = {name: (total_C / tokens).float().cpu().numpy() for name, total_C in sums.items()}
    bad = [name for name, weights_C in weights.items() if not np.isfinite(weights_C).all()]
    if bad:
        raise ModelError(
            "mdl-nan",
            f"before {bad[0]} the model computes numbers that are none, on training rows",
            where=str(architecture.folder),
            fix="Merge an earlier checkpoint of the run, or export without --imatrix.",
        )
    with disk_faults(path):
        save_file(weights, path)
    return Importance(
        rows=used,
        tokens=tokens,
        matrices=len(weights),
        seed=calibration.seed,
        drawn_from=calibration.drawn_from,
    )


def _drawn(rows: TrainingRows, calibration: Calibration) -> list[list[int]]:
    generator = np.random.default_rng(calibration.seed)
    chosen = generator.permutation(rows.rows)[: calibration.rows]
    ids = [[int(token) for token in rows.ids(int(row))] for row in sorted(chosen)]
    return [row for row in ids if row]  # on the fly, rows that training leaves out have none


@contextmanager
def sums_of_squares(model: nn.Module, architecture: Architecture) -> Iterator[dict[str, torch.Tensor]]:
    """While the block runs, the sums [C] of the squares of what every matrix of the file is multiplied by."""
    sums: dict[str, torch.Tensor] = {}
    handles = []
    for module_name, module in model.named_modules():
        name = architecture.names.get(f"{module_name}.weight")
        if isinstance(module, nn.Linear) and name is not None and name != HEAD:
            handles.append(module.register_forward_pre_hook(partial(_add, sums, name)))
    try:
        yield sums
    finally:
        for handle in handles:
            handle.remove()


def _add(sums: dict[str, torch.Tensor], name: str, module: nn.Module, given: tuple[Any, ...]) -> None:
    inputs_TC = given[0].detach().flatten(0, -2).float()
    total_C = inputs_TC.square().sum(0).double()
    sums[name] = sums[name] + total_C if name in sums else total_C
