"""predictions.jsonl: every row of an evaluation, to be read by people and by the comparison. No torch.

One object a line: row, origin, prompt, expected, generated, finished, nll_nats, tokens, bytes, scores.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from luthier.floor.errors import UsageError
from luthier.floor.files import write_text

FILE = "predictions.jsonl"
REPORT = "report.json"


@dataclass(frozen=True)
class Prediction:
    """One row and what the model made of it."""

    row: int
    origin: str
    prompt: str
    expected: str
    generated: str | None
    """None for a plain text, which is foretold and not answered."""
    finished: bool | None
    """Whether the answer ended by itself."""
    nll_nats: float
    tokens: int
    """Tokens of the expected answer, its end included."""
    bytes: int
    """Bytes of the expected answer in UTF-8."""
    scores: dict[str, float]


def hash_rows(rows: Iterable[tuple[str, str]]) -> str:
    """SHA-256 of prompts and expected answers, in order."""
    digest = hashlib.sha256()
    for prompt, expected in rows:
        digest.update(json.dumps([prompt, expected]).encode() + b"\n")
    return digest.hexdigest()


def write_predictions(folder: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions.jsonl into `folder` in one step."""
    lines = [
        json.dumps(asdict(prediction), ensure_ascii=False, allow_nan=False) for prediction in predictions
    ]
    write_text(folder / FILE, "\n".join(lines) + "\n")


def read_predictions(folder: Path) -> list[Prediction]:
    """The predictions in `folder`; raises UsageError if they are not there or not whole."""
    path = folder / FILE
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [Prediction(**json.loads(line)) for line in lines if line]
    except FileNotFoundError as fault:
        raise _unreadable(path, "is not there") from fault
    except (ValueError, TypeError) as fault:
        raise _unreadable(path, f"cannot be read ({fault})") from fault


def _unreadable(path: Path, what: str) -> UsageError:
    return UsageError(
        "run-unfinished",
        f"{path.name} {what}",
        where=str(path),
        fix="Evaluate again: luthier eval --again",
    )
