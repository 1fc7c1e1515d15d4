"""Turn a finished pretraining run into the folder that ships: bf16 weights, tokenizer, and what they were measured to be.

    python bench/embedded_base/ship.py --run RUN --texts VALIDATION.jsonl --out assets/embedded-base

The weights are rounded to bf16 on their way out; the validation loss is measured on the shipped files, loaded again, and
stands beside the run's own. Writes facts.json last: parameters, tokens, steps, hardware, wall time, loss, bits a byte, hashes.
"""

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

import torch

from luthier.floor.files import write_json
from luthier.floor.log import Silent
from luthier.floor.rundir import RunDir
from luthier.floor.stop import StopFlag
from luthier.measure.likelihood import bits_per_byte
from luthier.modelling.adapters import save_trained
from luthier.modelling.attention import SEGMENTS, choose_attention
from luthier.modelling.load import load_base
from luthier.reports.data import DataReport
from luthier.reports.train import TrainReport
from luthier.text.tokenizer import load_tokenizer
from luthier.tokens.store import TokenStore
from luthier.train.batches import BatchMaker
from luthier.train.validate import Validator, pack_validation

PACK_TOKENS = 8192


def main() -> None:
    parser = argparse.ArgumentParser(description="Turn a pretraining run into the embedded base.")
    parser.add_argument("--run", type=Path, required=True, help="a finished run of the recipe pretrain")
    parser.add_argument("--texts", type=Path, required=True, help="the validation rows, to count their bytes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the model")
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    run = RunDir(arguments.run)
    data, trained = DataReport.read(run.report("data")), TrainReport.read(run.report("train"))

    tokenizer = load_tokenizer(run.model)
    model = load_base(run.model, dtype=torch.float32, device=device, attention="sdpa")
    save_trained(model, tokenizer, arguments.out, dtype=torch.bfloat16)
    shipped = load_base(
        arguments.out,
        dtype=torch.float32,
        device=device,
        attention=choose_attention("segments", device),
    )
    loss, tokens = measure(shipped, data, tokenizer, device)
    texts = [json.loads(line)["text"] for line in arguments.texts.read_text(encoding="utf-8").splitlines()]
    text_bytes = sum(len(text.encode()) for text in texts)
    facts = describe(trained, data) | {
        "validation": {
            "loss_nats_a_token": round(loss, 4),
            "loss_of_the_run_in_fp32": trained.validation_loss and round(trained.validation_loss, 4),
            "bits_a_byte": round(bits_per_byte(loss * tokens, text_bytes), 4),
            "tokens": tokens,
            "bytes": text_bytes,
        },
        "files": {
            file.name: {"bytes": file.stat().st_size, "sha256": hash_file(file)}
            for file in sorted(arguments.out.iterdir())
            if file.name != "facts.json" and file.suffix != ".md"
        },
    }
    write_json(arguments.out / "facts.json", facts)
    print(json.dumps(facts, indent=1))


def measure(model: Any, data: DataReport, tokenizer: Any, device: torch.device) -> tuple[float, int]:
    """Mean loss a token on the validation rows, nats, and how many tokens carried it."""
    store = TokenStore.open(Path(data.store) / "validation")
    batches = BatchMaker(store, device, SEGMENTS, is_packed=True, pad_id=tokenizer.pad_token_id)
    validator = Validator(
        batches=batches,
        packs=pack_validation(store, most_rows=0, pack_tokens=PACK_TOKENS),
        tokenizer=tokenizer,
        sample_rows=(),
        sample_new_tokens=1,
        stop_ids=(),
        listener=Silent(),
    )
    found = validator.measure(model, step=0, stop=StopFlag())
    assert found is not None, "nobody asked for a stop"
    return found.loss, found.targets


def describe(trained: TrainReport, data: DataReport) -> dict[str, Any]:
    """What the run was, from its reports."""
    return {
        "parameters": trained.parameters_total,
        "tokens_seen": trained.tokens_seen,
        "corpus_tokens": data.train.tokens,
        "steps": trained.steps,
        "epochs": round(trained.epochs, 2),
        "seconds": round(trained.seconds, 1),
        "tokens_per_second": round(trained.tokens_per_second),
        "peak_bytes": trained.peak_bytes,
        "hardware": trained.provenance.device,
        "precision": trained.precision,
        "packages": trained.provenance.packages,
        "python": trained.provenance.python,
        "corpus_files": {Path(name).name: digest for name, digest in data.files.items()},
    }


def hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
