"""A folder laid out as the guide's lab, with a tiny base in place of the eight billion parameters, and commands run in it.

`configs/train.yaml` is the shipped one; only the lines that a tiny model on a CPU cannot keep are changed.
"""

import contextlib
import io
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.cli.app import run_command

ROOT = Path(__file__).parents[2]
# What a tiny model on a CPU needs otherwise than the guide's listing: no GPU, no adapter wider than the model, some steps.
TINY = {"fp16": "false", "lora_r": "8", "lora_alpha": "16", "max_length": "64", "epochs": "2", "lr": "5e-3"}
ANSWERS = ("red", "green", "blue", "black", "white")


@dataclass(frozen=True)
class Done:
    """A command that ran: its exit code and what it wrote to either side."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output; raises if there is anything else."""
        value = json.loads(self.out)
        assert isinstance(value, dict), f"not an object: {self.out[:200]}"
        return value

    @property
    def said(self) -> str:
        return self.out + self.err


def luthier(folder: Path, *words: str) -> Done:
    """Run one command line in `folder`, in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run_command(words)
    return Done(code, out.getvalue(), err.getvalue())


def question_rows(count: int, *, start: int = 0) -> list[dict[str, str]]:
    """Different prompts with a short answer each."""
    return [
        {"prompt": f"Colour {number}?", "completion": ANSWERS[number % len(ANSWERS)]}
        for number in range(start, start + count)
    ]


def write_rows(path: Path, rows: Sequence[Any]) -> Path:
    """A JSONL file; a row that is text or bytes already is written as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(_line(row) + b"\n" for row in rows))
    return path


def _line(row: Any) -> bytes:
    if isinstance(row, bytes):
        return row
    return (row if isinstance(row, str) else json.dumps(row)).encode()


def make_workshop(folder: Path, base: Path, *, rows: Sequence[Any] | None = None) -> Path:
    """The lab's folders and files; `rows` are the training rows, in place of forty questions."""
    (folder / "configs").mkdir(parents=True)
    shutil.copytree(base, folder / "base")
    for name in ("eval.yaml", "eval_baseline.yaml"):
        shutil.copy(ROOT / "configs" / name, folder / "configs" / name)
    shipped = (ROOT / "configs" / "train.yaml").read_text(encoding="utf-8")
    recipe = with_values(shipped, {"model_name": "./base", **TINY})
    (folder / "configs" / "train.yaml").write_text(recipe, encoding="utf-8")
    write_rows(folder / "data" / "rows.jsonl", question_rows(40) if rows is None else rows)
    write_rows(folder / "data" / "eval" / "test.jsonl", question_rows(6, start=100))
    return folder


def with_values(recipe: str, values: dict[str, str]) -> str:
    """A recipe of flat keys with other values; every key must be there already."""
    for key, value in values.items():
        recipe, found = re.subn(rf"(?m)^{key}: \S+", f"{key}: {value}", recipe)
        assert found == 1, f"{key} stands {found} times in the recipe"
    return recipe


def listing(folder: Path, *, apart_from: Callable[[str], bool] = lambda name: False) -> dict[str, str]:
    """Every file, link and empty folder below `folder` with what it holds, to see that a command left nothing."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if apart_from(name):
            continue
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = f"{path.stat().st_size} bytes, {path.stat().st_mtime_ns}"
        elif not any(path.iterdir()):
            found[name] = "empty folder"
    return found
