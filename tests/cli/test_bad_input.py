"""Bad recipes, models and rows: one clear message with the value, the place and the next command; a code; nothing left behind.

Every case runs in a workshop of its own, which must lie there afterwards as it lay before.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from luthier.modelling import device
from tests.cli.workshop import Done, listing, luthier, make_workshop, question_rows, with_values, write_rows

# Whole commands, some fifty of them: out of the quick suite, which has a minute and a half.
pytestmark = pytest.mark.whole

RECIPE = "configs/train.yaml"
ROWS = "data/rows.jsonl"
GOOD = {"prompt": "Colour 1?", "completion": "green"}
CHAT = {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi"}]}
TRAIN = ("train", "train")


@dataclass(frozen=True)
class Case:
    """Something bad, and what is said of it."""

    name: str
    spoil: Callable[[Path], Any]
    word: str
    code: int
    parts: tuple[str, ...]
    """What the message holds: the value, the place, the next command."""
    command: tuple[str, ...] = TRAIN


def nothing(folder: Path) -> None:
    """The fault is on the command line."""


def with_recipe(change: Callable[[str], str]) -> Callable[[Path], Any]:
    return lambda folder: (folder / RECIPE).write_text(change((folder / RECIPE).read_text()))


def with_rows(*rows: Any) -> Callable[[Path], Any]:
    return lambda folder: write_rows(folder / ROWS, rows)


def with_bytes(content: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / ROWS).write_bytes(content)


def without(*names: str) -> Callable[[Path], Any]:
    return lambda folder: [(folder / "base" / name).unlink() for name in names]


def pickled(folder: Path) -> None:
    (folder / "base" / "model.safetensors").rename(folder / "base" / "pytorch_model.bin")


def pointer(folder: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"
    (folder / "base" / "model.safetensors").write_text(text)


def cut_config(folder: Path) -> None:
    path = folder / "base" / "config.json"
    path.write_bytes(path.read_bytes()[:100])


def chat_without_template(folder: Path) -> None:
    without("chat_template.jinja")(folder)
    write_rows(folder / ROWS, [CHAT, CHAT])


def without_rows(folder: Path) -> None:
    (folder / ROWS).unlink()


def several_faults(text: str) -> str:
    return with_values(text, {"epochs": "two"}) + "lora_rank: 8\n"


RECIPES = (
    Case(
        "an unknown key in the file",
        with_recipe(lambda text: text + "lora_rank: 8\n"),
        "cfg-unknown",
        2,
        ("lora_rank", f"{RECIPE}:44", "did you mean lora_r?", f"luthier validate {RECIPE}"),
    ),
    Case(
        "an unknown key on the line",
        nothing,
        "cfg-unknown",
        2,
        ("train.lrr", "command line", "did you mean train.lr?", "luthier validate"),
        (*TRAIN, "train.lrr=1"),
    ),
    Case(
        "a wrong type",
        with_recipe(lambda text: with_values(text, {"epochs": "two"})),
        "cfg-type",
        2,
        ("epochs = 'two'", f"{RECIPE}:10", "must be a number", f"luthier validate {RECIPE}"),
    ),
    Case(
        "a value out of range",
        nothing,
        "cfg-range",
        2,
        ("lr = -1", "command line", "must be greater than 0", "luthier validate"),
        (*TRAIN, "lr=-1"),
    ),
    Case(
        "several faults at once",
        with_recipe(several_faults),
        "recipe",
        2,
        ("3 problems", "lora_rank", "epochs = 'two'", "batch_size = 0", "luthier validate"),
        (*TRAIN, "batch_size=0"),
    ),
    Case("no such recipe", nothing, "cfg-file", 2, ("'trian'", "train", "ls configs"), ("train", "trian")),
    Case("no recipe", nothing, "usage", 2, ("needs a recipe", "luthier train demo"), ("train",)),
    Case(
        "an override that is none",
        nothing,
        "cfg-syntax",
        2,
        ("lr is not of the form key=value", "train.lr=1e-4"),
        (*TRAIN, "lr"),
    ),
    Case(
        "a policy for other rows",
        nothing,
        "cfg-conflict",
        2,
        ("data.overlong", "split", "truncate, truncate_left, drop or error"),
        (*TRAIN, "data.overlong=split"),
    ),
)
MODELS = (
    Case(
        "no such model folder",
        nothing,
        "mdl-missing",
        4,
        ("./bsae", "did you mean base?", "model.name", "config.json"),
        (*TRAIN, "model_name=./bsae"),
    ),
    Case(
        "a model that is a file",
        nothing,
        "mdl-missing",
        4,
        ("base/config.json", "is a file", "model.name=base"),
        (*TRAIN, "model_name=base/config.json"),
    ),
    Case(
        "no configuration",
        without("config.json"),
        "mdl-config",
        4,
        ("no config.json in base", "Name a model folder"),
    ),
    Case("a cut configuration", cut_config, "mdl-config", 4, ("base/config.json",)),
    Case(
        "no tokenizer",
        without("tokenizer.json"),
        "mdl-tokenizer",
        4,
        ("tokenizer.json", "at base", "Put the model's"),
    ),
    Case("no weights", without("model.safetensors"), "mdl-weights", 4, ("no model.safetensors", "Fetch")),
    Case(
        "pickled weights only",
        pickled,
        "mdl-pickle",
        4,
        ("pytorch_model.bin", "runs whatever code is in it", "safetensors"),
    ),
    Case(
        "pickled weights, before anything is opened",
        pickled,
        "mdl-pickle",
        4,
        ("pytorch_model.bin", "safetensors"),
        (*TRAIN, "--dry-run"),
    ),
    Case(
        "a pointer instead of weights", pointer, "mdl-lfs", 4, ("model.safetensors", "git -C base lfs pull")
    ),
)
DATA = (
    Case(
        "chat rows and no template",
        chat_without_template,
        "data-template",
        3,
        ("chat template", "base", "data."),
        (*TRAIN, "data_format=messages"),
    ),
    Case("an empty file", with_bytes(b""), "data-empty", 3, (ROWS, "one row a line")),
    Case("blank lines only", with_bytes(b"\n  \n"), "data-empty", 3, (ROWS, "one row a line")),
    Case("no file at all", without_rows, "data-missing", 3, ("'*.jsonl'", "data.pattern", "eval")),
    Case(
        "a pattern that matches nothing",
        nothing,
        "data-missing",
        3,
        ("'*.csv'", "data.pattern", "rows.jsonl"),
        (*TRAIN, "dataset_pattern=*.csv"),
    ),
    Case(
        "no such folder",
        nothing,
        "data-missing",
        3,
        ("there is no dta", "did you mean data?", "data.path"),
        (*TRAIN, "dataset_path=./dta"),
    ),
    Case("a broken line", with_rows(GOOD, '{"prompt": "a",'), "data-json", 3, (f"{ROWS}:2", "column 16")),
    Case(
        "a last line that is cut off",
        with_bytes(b'{"prompt": "a", "completion": "b"}\n{"prompt": "a", "compl'),
        "data-trunc",
        3,
        (f"{ROWS}:2", "fetch the file again or remove the line"),
    ),
    Case(
        "a row without its fields",
        with_rows(GOOD, {"prompt": "a", "complation": "b"}),
        "data-field",
        3,
        (f"{ROWS}:2", "'completion'", "did you mean complation?"),
    ),
    Case(
        "a field of another type",
        with_rows(GOOD, GOOD, {"prompt": "a", "completion": 7}),
        "data-field",
        3,
        (f"{ROWS}:3", "'completion' is the number 7"),
    ),
    Case(
        "two bad rows",
        with_rows("[]", GOOD, {"prompt": "a"}),
        "data-json",
        3,
        ("2 faults", f"{ROWS}:1", f"{ROWS}:3"),
    ),
    Case(
        "text that is not UTF-8",
        with_rows(GOOD, '{"prompt": "Größe", "completion": "b"}'.encode("latin1")),
        "data-enc",
        3,
        (f"{ROWS}:2", "0xF6", "iconv -f LATIN1 -t UTF-8"),
    ),
    Case(
        "rows longer than max_length, refused",
        with_rows(*question_rows(20), {"prompt": "a", "completion": "b" * 99}),
        "data-long",
        3,
        (f"{ROWS}:21", "data.max_length 64", "data.overlong=truncate"),
        (*TRAIN, "data.overlong=error", "data.validation_fraction=0"),
    ),
    Case(
        "no trained token in any row",
        with_rows({"prompt": "a", "completion": " "}, {"prompt": "b", "completion": ""}),
        "data-untrained",
        3,
        ("none of the 2 training rows", "2 rows: empty completion", "data.max_length"),
        (*TRAIN, "data.validation_fraction=0"),
    ),
)
CASES = (*RECIPES, *MODELS, *DATA)


def is_unimportant(name: str) -> bool:
    """Folders that a first command makes, and the locks of prepared tokens, which say nothing."""
    return name in ("outputs", "outputs/runs", "outputs/cache") or (
        name.startswith("outputs/cache/.") and name.endswith(".lock")
    )


def state(folder: Path) -> dict[str, str]:
    return listing(folder, apart_from=is_unimportant)


def assert_said(done: Done, case: Case) -> None:
    """To people on standard error, and as one object on standard output."""
    error = done.json["error"]
    assert (error["code"], error["exit_code"], done.code) == (case.word, case.code, case.code)
    assert error["what"]
    assert error["where"] or error["problems"], "an error names its place"
    assert error["fix"], "an error says what to type next"
    assert f"error[{case.word}]" in done.err
    assert [part for part in case.parts if part not in done.err] == [], done.err
    assert "Traceback" not in done.said


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_bad_input_is_named_and_leaves_nothing(tiny_base: Path, tmp_path: Path, case: Case) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    case.spoil(folder)
    before = state(folder)
    assert_said(luthier(folder, *case.command, "--json"), case)
    assert state(folder) == before


def test_every_item_of_the_list_is_tried() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 30
    assert {case.word.partition("-")[0] for case in CASES} == {"cfg", "recipe", "usage", "mdl", "data"}


def lacking(setting: str) -> Case:
    return Case(
        f"{setting} where there is none",
        nothing,
        "env-precision",
        5,
        (f"train.precision = {setting}", "arithmetic", "train.precision=auto"),
        (*TRAIN, f"{setting}=true"),
    )


def assert_refused_by_hardware(folder: Path, case: Case) -> None:
    """Before a row is read: neither tokens nor a run are left."""
    assert_said(luthier(folder, *case.command, "--json"), case)
    assert [name for name in state(folder) if name.startswith("outputs/cache")] == []
    assert [name for name in state(folder) if name.startswith("outputs/runs/2")] == []


def test_fp16_is_refused_on_a_cpu(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    (folder / RECIPE).write_text((folder / RECIPE).read_text() + "model:\n  device: cpu\n")
    assert_refused_by_hardware(folder, lacking("fp16"))


def test_bf16_is_refused_where_the_hardware_has_none(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_cpu_flags", frozenset)
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    (folder / RECIPE).write_text((folder / RECIPE).read_text() + "model:\n  device: cpu\n")
    assert_refused_by_hardware(folder, lacking("bf16"))


def test_a_gpu_that_is_not_there_is_refused(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    parts = ("model.device = cuda", "luthier doctor", "model.device=cpu")
    case = Case("no GPU", nothing, "env-device", 5, parts, (*TRAIN, "model.device=cuda"))
    assert_refused_by_hardware(folder, case)


LONG = {"prompt": "a", "completion": "b" * 99}


@pytest.mark.parametrize(
    ("policy", "counted"),
    [
        ("truncate", {"rows_kept": 21, "rows_truncated": 1, "dropped": {}}),
        ("drop", {"rows_kept": 20, "rows_truncated": 0, "dropped": {"longer than max_length": 1}}),
    ],
)
def test_a_row_longer_than_max_length_is_counted_under_each_policy(
    tiny_base: Path, tmp_path: Path, policy: str, counted: dict[str, Any]
) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base, rows=[*question_rows(20), LONG])
    words = ("prepare", "train", f"data.overlong={policy}", "data.validation_fraction=0", "--json")
    done = luthier(folder, *words)
    assert done.code == 0, done.err
    books = done.json["train"]
    assert {name: books[name] for name in counted} == counted
    assert books["rows_in"] == 21
    assert "warning: data: train: 1 " in done.err


def test_a_text_longer_than_max_length_is_split_and_counted(tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"text": "red green blue " * 20}, {"text": "red"}]
    folder = make_workshop(tmp_path / "workshop", tiny_base, rows=rows)
    words = ("data_format=text", "data.overlong=split", "data.validation_fraction=0", "--json")
    done = luthier(folder, "prepare", "train", *words)
    assert done.code == 0, done.err
    books = done.json["train"]
    assert books["rows_kept"] == books["rows_in"] + books["rows_added_by_splitting"] > 4


def test_a_row_without_a_trained_token_is_counted_and_never_trained_on(
    tiny_base: Path, tmp_path: Path
) -> None:
    untrained = [{"prompt": "a" * 99, "completion": "lost"}, {"prompt": "empty", "completion": " "}]
    folder = make_workshop(tmp_path / "workshop", tiny_base, rows=[*question_rows(8), *untrained])
    words = ("train", "train", "epochs=1", "data.validation_fraction=0", "data.overlong=truncate", "--json")
    done = luthier(folder, *words)
    assert done.code == 0, done.err
    assert done.json["rows_seen"] == 8
    run = folder / done.json["run"]
    books = json.loads((run / "data" / "report.json").read_text())["train"]
    assert books["dropped"] == {"empty completion": 1, "no trained token": 1}
    assert "warning: data: train: 1 of 10 rows left out: no trained token" in done.err
