"""What is said of a training before its first step, and written down after its last."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from luthier.encoding.dropped import DROPPED
from luthier.encoding.on_the_fly import OnTheFlyRows
from luthier.encoding.open import PreparedRows
from luthier.floor.errors import UnhealthyError
from luthier.modelling.device import Precision, describe_device, peak_memory_bytes
from luthier.reports.data import DataReport, rows_and_tokens
from luthier.reports.provenance import gather_provenance
from luthier.reports.train import BestCheckpoint, TrainReport
from luthier.tokens.row_order import RowOrder
from luthier.train.books import close_books
from luthier.train.progress import Progress

if TYPE_CHECKING:
    from luthier.train.loop import Job


def describe(
    model: nn.Module,
    parameters: dict[str, nn.Parameter],
    order: RowOrder,
    data: DataReport,
    device: torch.device,
    precision: Precision,
    attention: str,
) -> str:
    """One line about what is about to run."""
    trained = sum(parameter.numel() for parameter in parameters.values())
    total = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"training {trained:,} of {total:,} parameters ({trained / total:.1%}) on {rows_and_tokens(data.train)}, "
        f"for {order.total_steps:,} steps; {describe_device(device)}, {precision.name}, {attention}"
    )


def make_report(
    job: "Job",
    progress: Progress,
    rows: PreparedRows,
    *,
    inputs_hash: str,
    base_fingerprint: str,
    seconds: float,
) -> TrainReport:
    """What the run was and what it reached. Writes down what became of rows that were tokenized on the fly."""
    books = close_books(job, rows, progress.step) if isinstance(rows, OnTheFlyRows) else None
    best = progress.best_validations[0] if progress.best_validations else None
    if progress.first_loss is None or progress.last_loss is None:
        raise UnhealthyError(
            "train-empty", "no step was taken", fix="Raise train.epochs or train.most_steps."
        )
    return TrainReport(
        inputs_hash=inputs_hash,
        seconds=seconds,
        provenance=gather_provenance(device=describe_device(job.device)),
        method=job.recipe.method.kind,
        steps=progress.step,
        epochs=job.order.epoch_at(progress.step),
        rows_seen=progress.rows,
        tokens_seen=progress.tokens,
        trained_tokens_seen=progress.trained_tokens,
        parameters_total=sum(parameter.numel() for parameter in job.model.parameters()),
        parameters_trained=sum(parameter.numel() for parameter in job.parameters.values()),
        precision=job.precision.name,
        attention=job.batches.attention,
        first_loss=progress.first_loss,
        final_loss=progress.last_loss,
        validation_loss=progress.validation_loss,
        best=BestCheckpoint(step=best[1], validation_loss=best[0]) if best else None,
        stopped_early=progress.stopped_early,
        tokens_per_second=progress.tokens / max(progress.seconds, 1e-9),
        peak_bytes=peak_memory_bytes(job.device),
        resumed_from_steps=tuple(progress.resumed_from),
        base=job.recipe.model.name or "scratch",
        base_fingerprint=base_fingerprint,
        ledger=[books] if books else [],
        dropped_file=str(job.run.stage("train") / DROPPED) if books else None,
    )
