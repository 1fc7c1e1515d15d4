"""A report stands for a finished stage: whole or not there, of known fields, and readable by any JSON reader."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from luthier.floor import files
from luthier.floor.errors import EnvironmentFault, UsageError
from luthier.reports.base import Figure, Report
from luthier.reports.evaluate import Estimate, EvaluateReport
from luthier.reports.provenance import gather_provenance

PROVENANCE = gather_provenance()


class SmallReport(Report):
    """A stage of a test."""

    figure: Figure
    note: str = ""


def small(figure: float = 0.5, **fields: Any) -> SmallReport:
    """A report with its fields filled in."""
    return SmallReport(inputs_hash="abc", seconds=1.5, provenance=PROVENANCE, figure=figure, **fields)


def strict(text: str) -> Any:
    """JSON as every other reader takes it: without NaN and Infinity."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


@given(
    figure=st.floats(allow_nan=False, allow_infinity=False),
    note=st.text(st.characters(exclude_categories=["Cs"])),
)
def test_a_report_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, figure: float, note: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "stage" / "report.json"
    report = small(figure, note=note).write(path)
    assert SmallReport.read(path) == report


@pytest.mark.parametrize("figure", [math.inf, -math.inf, math.nan])
def test_a_figure_that_is_not_finite_is_null_in_the_file_and_no_number_when_read(
    tmp_path: Path, figure: float
) -> None:
    path = tmp_path / "report.json"
    small(figure).write(path)
    assert strict(path.read_text())["figure"] is None
    assert math.isnan(SmallReport.read(path).figure)


def test_an_evaluation_whose_perplexity_is_infinite_can_be_read_again(tmp_path: Path) -> None:
    estimate = Estimate(value=math.inf, low=3.0, high=math.inf)
    report = EvaluateReport(
        inputs_hash="abc",
        seconds=1.0,
        provenance=PROVENANCE,
        subject="tuned",
        model="m",
        rows=2,
        prompts_cut=0,
        answers_unfinished=0,
        metrics={"perplexity": estimate},
        bleu_signature="",
        chrf_signature="",
        new_tokens_per_second=1.0,
        data_sha256="",
    )
    report.write(tmp_path / "report.json")
    strict((tmp_path / "report.json").read_text())
    found = EvaluateReport.read(tmp_path / "report.json").metrics["perplexity"]
    assert (math.isnan(found.value), found.low) == (True, 3.0)


def test_a_report_is_frozen_and_takes_no_field_that_it_does_not_know() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        small().figure = 1.0  # type: ignore[misc]
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        small(surprise=1)


def test_a_disk_that_refuses_leaves_the_report_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "report.json"
    before = small().write(path)
    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(EnvironmentFault):
        small(2.0).write(path)
    assert SmallReport.read(path) == before
    assert os.listdir(tmp_path) == ["report.json"]


def test_a_stage_without_report_is_named(tmp_path: Path) -> None:
    path = tmp_path / "run-7" / "evaluate" / "report.json"
    with pytest.raises(UsageError, match="the stage evaluate of run-7 has no report yet") as caught:
        SmallReport.read(path)
    assert (caught.value.code, caught.value.where) == ("run-unfinished", str(path))


WHOLE = small(note="Größe").model_dump_json()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        WHOLE.encode()[:-1],
        WHOLE.encode("latin-1"),
        b"\x00" * 100,
        WHOLE.replace('"figure"', '"figures"').encode(),
        WHOLE.replace("0.5", '"half"').encode(),
    ],
    ids=["empty", "cut", "list", "end", "latin-1", "zeros", "unknown", "type"],
)
def test_a_report_that_cannot_be_read_says_how_to_go_on(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"report\.json cannot be read") as caught:
        SmallReport.read(tmp_path / "report.json")
    assert caught.value.where == str(tmp_path / "report.json")
    assert "--again" in caught.value.fix


def test_provenance_holds_no_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_thisisasecretandmustnotbeshown")
    monkeypatch.setenv("LUTHIER_ODD", "a-value-like-no-other")
    text = gather_provenance(device="cpu").model_dump_json()
    assert "hf_this" not in text
    assert "a-value-like-no-other" not in text
    assert str(Path.home()) not in text


def test_provenance_names_the_versions_and_the_commit_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PROVENANCE.packages.keys() >= {"luthier", "torch", "transformers", "peft", "numpy"}
    monkeypatch.chdir(tmp_path)
    assert gather_provenance().git_commit is None


def test_a_machine_without_git_has_no_commit_and_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert gather_provenance().git_commit is None
