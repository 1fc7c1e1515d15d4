"""The lab's commands, one after the other, in a folder laid out as the guide says: train, eval, eval-baseline, compare, merge.

One line is run for this module with a tiny base; its tests look at what each command said and left.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from luthier.floor.errors import FAULTS
from luthier.serve.audit.log import AuditLog
from luthier.serve.keys import new_key
from tests.cli.workshop import Done, listing, luthier, make_workshop, question_rows, write_rows
from tests.law.test_surface import surface

pytestmark = pytest.mark.whole

TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")
LINE = {
    "train": ("train", "train", "evaluate.max_new_tokens=8", "evaluate.gate_metric=loss"),
    "eval": ("eval", "eval"),
    "eval_baseline": ("eval", "eval_baseline"),
    "compare": ("compare",),
    "merge": ("merge",),
    "runs": ("runs",),
}


@dataclass(frozen=True)
class Line:
    """A workshop in which the whole line was run, and what each command said."""

    folder: Path
    run: Path
    done: dict[str, Done]

    @property
    def name(self) -> str:
        return f"outputs/runs/{self.run.name}"


@pytest.fixture(scope="module")
def line(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Line:
    folder = make_workshop(tmp_path_factory.mktemp("line") / "workshop", tiny_base)
    done = {name: luthier(folder, *words) for name, words in LINE.items()}
    return Line(folder, (folder / "outputs" / "runs" / "latest").resolve(), done)


def test_every_command_of_the_line_ends_with_0(line: Line) -> None:
    assert {name: done.code for name, done in line.done.items()} == dict.fromkeys(LINE, 0), line.done


def test_a_run_is_laid_out_as_the_guide_says(line: Line) -> None:
    assert TIMESTAMP.fullmatch(line.run.name)
    assert os.readlink(line.folder / "outputs" / "runs" / "latest") == line.run.name
    assert {"model", "config_used.yaml", "logs"} <= {path.name for path in line.run.iterdir()}
    assert (line.run / "model" / "adapter_model.safetensors").is_file()
    assert (line.run / "model" / "tokenizer.json").is_file()
    assert list((line.run / "logs").rglob("events.out.tfevents.*"))
    assert not list(line.folder.rglob(".tmp-*"))


def test_the_run_keeps_the_recipe_it_was_trained_with(line: Line) -> None:
    used = yaml.safe_load((line.run / "config_used.yaml").read_text())
    assert used["model"]["name"] == "./base"
    assert used["method"]["rank"] == 8
    assert used["train"]["lr"] == 5e-3
    assert used["evaluate"]["gate_metric"] == "loss"


def test_training_says_what_it_did_and_what_to_type_next(line: Line) -> None:
    out = line.done["train"].out
    assert f"run     {line.name}" in out
    assert "lora over ./base" in out
    assert "luthier eval, luthier eval eval_baseline, luthier compare, luthier merge" in out
    metrics = [json.loads(row) for row in (line.run / "metrics.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in metrics if "loss" in entry] == [1, 10]


@pytest.mark.parametrize("name", ["eval", "eval_baseline", "compare", "merge"])
def test_a_command_without_a_run_takes_the_newest_finished_one_and_says_which(line: Line, name: str) -> None:
    assert f"the newest finished run: {line.name}\n" in line.done[name].err
    assert "the newest finished run" not in line.done[name].out


def test_tuned_and_base_are_judged_on_the_same_held_out_rows(line: Line) -> None:
    for name, subject in (("eval", "tuned"), ("eval_baseline", "base")):
        assert line.done[name].out.startswith(f"{subject} model ")
        folder = line.run / "evaluate" / subject
        rows = [json.loads(row) for row in (folder / "predictions.jsonl").read_text().splitlines()]
        assert [row["prompt"] for row in rows] == [row["prompt"] for row in question_rows(6, start=100)]
        assert f"{line.name}/evaluate/{subject}/predictions.jsonl" in line.done[name].out


def test_the_comparison_shows_both_models_and_the_difference(line: Line) -> None:
    out = line.done["compare"].out
    head = next(row for row in out.splitlines() if row.startswith("metric"))
    assert re.split(r"\s{2,}", head) == ["metric", "base", "tuned", "difference", "95 % interval"]
    assert "6 rows, paired" in out
    assert re.search(r"^loss: \d rows won, \d lost$", out, re.MULTILINE)


def test_the_merged_model_is_there_with_its_proof(line: Line) -> None:
    assert (line.run / "merge" / "model" / "model.safetensors").is_file()
    proof = json.loads((line.run / "merge" / "report.json").read_text())
    assert proof["max_logit_difference"] < 1e-4
    assert f"merged  {line.name}/merge/model" in line.done["merge"].out


def test_the_list_of_runs_shows_how_far_each_came(line: Line) -> None:
    (row,) = [row for row in line.done["runs"].out.splitlines() if row.startswith(line.run.name)]
    assert re.split(r"\s{2,}", row)[1:4] == ["finished", "lora", "./base"]
    assert row.endswith("base, tuned  yes")


def arguments_for(run: str) -> dict[str, tuple[str, ...]]:
    """For every verb a command line that has a result; what is done already is returned as it is."""
    return {
        "train": ("--run", run),
        "plan": ("train", "--gpu", "H100"),
        "prepare": ("--run", run),
        "eval": ("eval", "--run", run),
        "compare": (run,),
        "merge": ("--run", run),
        "publish": ("--run", run, "--repo", "me/colours", "--dry-run", *PUBLISH),
        "runs": (),
        "validate": ("train",),
        "data convert": ("data/eval/test.jsonl", "--dry-run"),
        "data check": ("data/eval/test.jsonl",),
        "data dedup": ("data/eval/test.jsonl", "--dry-run"),
        "data leaks": ("data/rows.jsonl", "--against", "data/eval/test.jsonl", "--exact-only"),
        "data split": ("data/eval/test.jsonl", "--dry-run"),
        "data show": ("--run", run),
        "data report": ("--run", run, "--dry-run"),
        "data synth": ("prompt.txt", *SYNTH, "--dry-run"),
        "recipe show": ("train",),
        "recipe schema": (),
        "bench train": ("train", "--steps", "2", "--warmup", "1"),
        "bench generate": ("train", "--prompts", "2", "--new-tokens", "2"),
        "bench serve": ("embedded", "serve.threads=1", "--seconds", "1", "--max-tokens", "2"),
        "chat": (run, "--prompt", "Colour 1?", "--max-tokens", "2", "serve.threads=1"),
        "serve": ("embedded", "--render", "systemd", "--out", "deploy"),
        "keys new": ("desk", "--file", "new-keys.json"),
        "keys list": ("--file", "none.json"),
        "keys revoke": ("shop", "--file", "keys.json"),
        "audit verify": ("audit.jsonl",),
        "env make": ("gguf",),
        "export gguf": ("--run", run, "--quant", "F16", "export.gguf.answers=2"),
        "advise base": ("embedded",),
        "advise deploy": (run, "--cpu"),
        "export ollama": ("--run", run, "--quant", "F16", "export.gguf.answers=2"),
        "verify": ("--against", run),
        "explain": ("lr",),
        "doctor": (),
        "demo": (),
    }


VERBS = sorted(surface())
PUBLISH = (
    "publish.licence=mit",
    "publish.base_model=me/base",
    "publish.base_licence=mit",
    "publish.data_licences=[mit]",
)
WITH_LLAMA_CPP = ("env make", "export gguf", "export ollama")
PROMPT = "Say otherwise: {{ prompt }}"
SYNTH = (
    "--seeds",
    "data/eval/test.jsonl",
    "--endpoint",
    "http://127.0.0.1:9",
    "--model",
    "m",
    "--out",
    "rows.jsonl",
)
DEMO = "model_name: ./base\nmax_length: 64\nlora_r: 4\nepochs: 1\nevaluate:\n  max_new_tokens: 4\n"


@pytest.mark.parametrize("verb", VERBS)
def test_json_is_one_object_and_talk_goes_to_standard_error(
    line: Line, verb: str, request: pytest.FixtureRequest
) -> None:
    """The verbs are those of the program: a new one fails here until it answers in JSON."""
    if verb in WITH_LLAMA_CPP:
        request.getfixturevalue("llama_cpp")
    (line.folder / "configs" / "demo.yaml").write_text(DEMO)
    (line.folder / "prompt.txt").write_text(PROMPT)
    if verb == "keys revoke":
        new_key(line.folder / "keys.json", "shop")
    AuditLog(line.folder / "audit.jsonl").close()
    done = luthier(line.folder, *verb.split(), *arguments_for(line.name)[verb], "--json")
    assert done.code == 0, done.err
    assert done.json, "an object that says something"
    assert done.out.startswith("{")
    assert not any(text.startswith("{") for text in done.err.splitlines())


@pytest.mark.parametrize("verb", VERBS)
def test_an_error_is_one_json_object_too(tmp_path: Path, verb: str) -> None:
    done = luthier(tmp_path, *verb.split(), "--no-such-option", "--json")
    error = done.json["error"]
    assert (done.code, error["code"], error["exit_code"]) == (2, "usage", 2)
    assert "--no-such-option" in error["what"]
    assert f"luthier {verb} --help" in error["fix"]
    assert error["code"] in FAULTS
    assert listing(tmp_path) == {}


def test_resuming_a_finished_run_returns_it_unchanged(line: Line) -> None:
    before = (line.run / "train" / "report.json").read_bytes()
    done = luthier(line.folder, "train", "--resume", line.run.name, "--json")
    assert done.code == 0, done.err
    assert Path(done.json["run"]).name == line.run.name
    assert (line.run / "train" / "report.json").read_bytes() == before


def test_a_run_that_died_is_resumed_from_the_newest_checkpoint_that_is_whole(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    whole = luthier(folder, "train", "train", "save_steps=3", "train.checkpoint.keep_last=5", "--json").json
    run = folder / whole["run"]
    for name in (
        "train/report.json",
        "checkpoints/step-00000010/manifest.json",
    ):  # as if it had died at the end
        (run / name).unlink()
    done = luthier(folder, "train", "--resume", whole["run"], "--json")
    assert done.code == 0, done.err
    assert done.json["resumed_from_steps"] == [9]
    assert done.json["final_loss"] == whole["final_loss"]
    assert "warning: step-00000010" in done.err


def in_a_process(folder: Path, *words: str, without: tuple[str, ...] = ()) -> Done:
    """The program itself, as a shell would start it."""
    environment = {name: value for name, value in os.environ.items() if name not in without}
    done = subprocess.run(
        [Path(sys.executable).with_name("luthier"), *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.mark.slow
def test_the_program_itself_trains_without_a_home_and_without_a_stray_word(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base)
    done = in_a_process(folder, "train", "train", "epochs=1", "--json", without=("HOME",))
    assert done.code == 0, done.err
    assert done.json["steps"] == 5
    ours = ("run ", "prepare ", "data: ", "training ", "validating ", "sampling ", "step ")
    assert [text for text in done.err.splitlines() if not text.startswith(ours)] == []


CHAT = [
    {
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["completion"]},
        ]
    }
    for row in question_rows(24)
]
TEXTS: list[dict[str, Any]] = [
    {"text": f"{row['prompt']} It is {row['completion']}."} for row in question_rows(24)
]


@pytest.mark.slow
def test_conversations_go_the_whole_line_by_the_tokenizers_template(tiny_base: Path, tmp_path: Path) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base, rows=CHAT)
    write_rows(folder / "data" / "eval" / "test.jsonl", CHAT[:4])
    trained = luthier(
        folder, "train", "train", "data_format=messages", "epochs=1", "evaluate.max_new_tokens=4", "--json"
    )
    assert trained.code == 0, trained.err
    report = json.loads((folder / trained.json["run"] / "data" / "report.json").read_text())
    assert (report["format"], report["template"]) == ("messages", "chat")
    judged = luthier(folder, "eval", "eval", "--json")
    assert judged.code == 0, judged.err
    assert judged.json["rows"] == 4
    merged = luthier(folder, "merge", "--json")
    assert merged.code == 0, merged.err
    assert merged.json["max_logit_difference"] < 1e-4
    template = (folder / merged.json["folder"] / "chat_template.jinja").read_text()
    assert template == (folder / "base" / "chat_template.jinja").read_text()


def test_plain_texts_are_learnt_with_every_weight_and_judged_by_their_loss(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_workshop(tmp_path / "workshop", tiny_base, rows=TEXTS)
    write_rows(folder / "data" / "eval" / "test.jsonl", TEXTS[:4])
    recipe = (
        "model_name: ./base\ndata_format: text\nmethod:\n  kind: full\nepochs: 2\nlr: 1e-3\nmax_length: 64\n"
    )
    (folder / "configs" / "continue.yaml").write_text(recipe)
    trained = luthier(folder, "train", "continue", "--json")
    assert trained.code == 0, trained.err
    assert trained.json["parameters_trained"] == trained.json["parameters_total"]
    assert (folder / trained.json["run"] / "model" / "model.safetensors").is_file()
    compared = luthier(folder, "compare", "--json")
    assert compared.code == 0, compared.err
    assert compared.json["gate_metric"] == "loss"
    assert compared.json["metrics"]["loss"]["high"] < 0
    merged = luthier(folder, "merge", "--json")
    assert merged.json["error"]["code"] == "merge-whole"
    assert not (folder / trained.json["run"] / "merge").exists()
