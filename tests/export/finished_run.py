"""Finished runs made in a second: a real adapter with random weights over a tiny base, saved as training saves it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from luthier.config.method import LoraMethod
from luthier.config.recipe import Recipe
from luthier.export.verify import Result, Task, measure
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.knowledge.model_folder import check_model_folder
from luthier.modelling.adapters import add_adapter, save_trained
from luthier.modelling.load import load_base
from luthier.reports.data import DataReport, SplitCounts
from luthier.reports.provenance import gather_provenance
from luthier.reports.train import TrainReport
from luthier.text.tokenizer import load_tokenizer
from luthier.tokens.store import StoreWriter, TokenStore
from tests.ledgers import ledger_of

QUESTIONS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("The Mill near the river", "name: The Mill | area: riverside"),
    ("cheap Italian food", "food: Italian | price: cheap"),
    ("Größe?", "Ein Maß für das Ganze: 7 µm"),
)


def write_questions(path: Path, questions: Sequence[tuple[str, str]] = QUESTIONS) -> Path:
    """Held-out rows as prompt/completion JSONL."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"prompt": prompt, "completion": completion}) for prompt, completion in questions]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def make_finished_run(
    folder: Path,
    base: Path,
    method: LoraMethod,
    *,
    merge: dict[str, object] | None = None,
    spread: float = 0.05,
    precision: str = "fp32",
    adapt: Callable[[PreTrainedModel], PeftModel] | None = None,
) -> tuple[Recipe, RunDir]:
    """A finished run over `base` whose adapter moves every weight it has by about `spread`.

    `adapt` puts another adapter on the base than Luthier's own.
    """
    run = RunDir(folder)
    recipe = Recipe.model_validate(
        {
            "model": {"name": str(base), "device": "cpu"},
            "method": method.model_dump(),
            "evaluate": {
                "path": str(write_questions(folder.parent / "eval" / "test.jsonl")),
                "max_new_tokens": 8,
            },
            "merge": {"check_rows": 4, **(merge or {})},
        }
    )
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    quantization = method if method.kind == "qlora" else None
    model = load_base(
        base, dtype=dtype, device=torch.device("cpu"), attention="sdpa", quantization=quantization
    )
    adapted = adapt(model) if adapt else add_adapter(model, method, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter += spread * torch.randn(parameter.shape, generator=generator)
    save_trained(adapted, load_tokenizer(base), run.model)
    write_train_report(run, method.kind, base, precision=precision)
    return recipe, run


def write_train_report(run: RunDir, method: str, base: Path, *, precision: str = "fp32") -> None:
    """The report by which a run counts as finished."""
    TrainReport(
        inputs_hash="0",
        seconds=1.0,
        provenance=gather_provenance(),
        method=method,
        steps=1,
        epochs=1.0,
        rows_seen=1,
        tokens_seen=1,
        trained_tokens_seen=1,
        parameters_total=1,
        parameters_trained=1,
        precision=precision,
        attention="sdpa",
        first_loss=1.0,
        final_loss=1.0,
        validation_loss=None,
        best=None,
        stopped_early=False,
        tokens_per_second=1.0,
        peak_bytes=1,
        resumed_from_steps=(),
        base=str(base),
        base_fingerprint=check_model_folder(base).fingerprint,
    ).write(run.report("train"))


def write_data_report(run: RunDir, store: Path, *, rows: Sequence[Sequence[int]]) -> None:
    """A data stage's report with validation rows, the last two ids of each trained."""
    with StoreWriter(store / "validation") as writer:
        for line, ids in enumerate(rows, start=1):
            writer.append(ids, [place >= len(ids) - 2 for place in range(len(ids))], f"rows.jsonl:{line}")
    counts = SplitCounts(
        rows_in=len(rows),
        rows_kept=len(rows),
        rows_added_by_splitting=0,
        rows_truncated=0,
        dropped={},
        tokens=sum(map(len, rows)),
        trained_tokens=2 * len(rows),
        trained_tokens_lost=0,
        longest_row_tokens=max(map(len, rows)),
        fingerprint=TokenStore.open(store / "validation").fingerprint,
    )
    DataReport(
        inputs_hash="0",
        seconds=1.0,
        provenance=gather_provenance(),
        store=str(store),
        tokenizer=str(run.model),
        template="guide",
        format="prompt_completion",
        files={},
        train=counts,
        validation=counts,
        was_cached=False,
        ledger=ledger_of(counts, counts),
        dropped_file=str(store / "dropped.jsonl"),
    ).write(run.report("data"))


def measure_in_this_process(folder: Path, task: Task, *, work: Path, stop: StopFlag | None = None) -> Result:
    """What the fresh process does, without its start: task and result go through JSON as there."""
    result = measure(folder, Task.model_validate_json(task.model_dump_json()))
    return Result.model_validate_json(result.model_dump_json())
