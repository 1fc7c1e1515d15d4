"""`luthier advise deploy`: what it says, what it refuses, and that it loads no torch."""

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from luthier.cli.advise import SituationName
from luthier.cli.advised_model import parse_size, traffic_of
from luthier.floor.errors import UsageError
from luthier.floor.rundir import RunDir
from luthier.knowledge.deployment import Situation
from luthier.reports.train import TrainReport
from tests.cli.workshop import listing, luthier
from tests.export.finished_run import write_train_report
from tests.knowledge.test_deployment import LLAMA_8B


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(LLAMA_8B))
    return tmp_path


def test_the_situations_of_the_command_are_the_matrixs() -> None:
    assert tuple(each.value for each in SituationName) == get_args(Situation)


def test_the_best_way_comes_first_with_its_arithmetic_and_commands(folder: Path) -> None:
    before = listing(folder)
    done = luthier(folder, "advise", "deploy", "model", "--requests-per-second", "3", "--gpu", "A10G")
    assert done.code == 0, done.err
    assert "so       production under load" in done.out
    assert "1  vLLM, 16 bits\n" in done.out
    assert "vllm serve model --served-model-name tuned --max-model-len 768\n" in done.out
    assert "Text Generation Inference (TGI)" in done.out
    assert listing(folder) == before
    facts = luthier(
        folder, "advise", "deploy", "model/config.json", "--gpu", "A10G", "--gpus", "2", "--json"
    ).json
    assert (facts["machine"]["name"], facts["situation"]) == ("2 x A10G", "local")
    assert facts["ways"][0]["is_guides_pick"]
    assert facts["model"]["cache_bytes_per_token"] == 131072


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--gpu", "A1OG"), "'A1OG' is no GPU that is known here; did you mean A10G?"),
        (("--gpu", "A10G", "--cpu"), "--cpu and --gpu exclude each other"),
        (("--cpu", "--memory", "lots"), "'lots' is no size of memory"),
        (("--for", "fun"), "fun"),
        (("--requests-per-second", "nan"), "--requests-per-second"),
        (("--requests-per-second", "inf"), "inf is no number of requests a second"),
        (("--users", "0"), "--users"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_can(
    folder: Path, words: tuple[str, ...], says: str
) -> None:
    done = luthier(folder, "advise", "deploy", "model", *words)
    assert done.code == 2, done.said
    assert says in done.err


def test_a_model_without_the_usual_sizes_and_a_run_that_is_not_there_are_refused(folder: Path) -> None:
    (folder / "model" / "config.json").write_text('{"model_type": "mamba"}')
    assert luthier(folder, "advise", "deploy", "model").code == 4
    assert luthier(folder, "advise", "deploy", "nothing").code == 2


def test_sizes_and_traffic_are_read_as_people_write_them() -> None:
    assert [parse_size(text) for text in ("16GiB", "16", "512m", "1.5 T")] == [
        16 << 30,
        16 << 30,
        512 << 20,
        3 << 39,
    ]
    for wrong in ("", "-1", "0", "9" * 30, "1e9"):
        with pytest.raises(UsageError):
            parse_size(wrong)
    given = {"prompt_tokens": 100, "answer_tokens": 200}
    assert traffic_of(None, None, None, **given).at_once == 1
    assert traffic_of(60, None, None, **given).at_once == 10  # half a request a second, each 20 s
    assert traffic_of(None, 2.0, None, **given).at_once == 40
    assert traffic_of(None, None, 8, **given).tokens_per_second == 80


@pytest.mark.slow
def test_nothing_is_fetched_for_an_advice(folder: Path, tiny_base: Path) -> None:
    """A run whose base is on the hub and not in its cache."""
    run = RunDir(folder / "outputs" / "runs" / "2026-11-25_10-00-00")
    write_train_report(run, "lora", tiny_base)
    assert luthier(folder, "advise", "deploy", "latest", "--cpu").code == 2
    assert luthier(folder, "advise", "deploy", "--cpu", "--json").json["model"]["folder"] == str(tiny_base)
    report = TrainReport.read(run.report("train"))
    report.model_copy(update={"base": "nobody/no-such-base-anywhere"}).write(run.report("train"))
    done = luthier(folder, "advise", "deploy", str(run.path), "--cpu")
    assert done.code == 4, done.said
    assert "nothing is fetched for an advice" in done.err


@pytest.mark.slow
def test_it_loads_neither_torch_nor_transformers(folder: Path) -> None:
    code = (
        "import sys; from luthier.cli.app import run_command; code = run_command(['advise', 'deploy', 'model', '--cpu']); "
        "bad = {'torch', 'transformers', 'hydra'} & set(sys.modules); sys.exit(code or len(bad))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
