import json
from pathlib import Path

import pytest

from luthier.config.evaluate import EvaluateConfig
from luthier.config.recipe import Recipe
from luthier.evaluate.compare import compare, passes
from luthier.evaluate.predictions import Prediction, read_predictions, write_predictions
from luthier.evaluate.score import all_metrics, estimate
from luthier.floor.errors import DataError, UsageError
from luthier.floor.rundir import RunDir
from luthier.measure.intervals import PairedDelta
from luthier.measure.metrics import score_rows
from luthier.reports.evaluate import CompareReport, EvaluateReport
from luthier.reports.provenance import gather_provenance

EXPECTED = [f"name[place {row}], area[riverside]" for row in range(30)]
BASE = ["I do not know"] * 30
TUNED = [text if row % 5 else "name[place]" for row, text in enumerate(EXPECTED)]


def recipe(**evaluate) -> Recipe:
    return Recipe.model_validate(
        {"model": {"name": "base"}, "evaluate": {"bootstrap_samples": 300, **evaluate}}
    )


def write_evaluation(
    run: RunDir,
    subject: str,
    generated: list[str] | None,
    *,
    nll: float = 5.0,
    expected: list[str] = EXPECTED,
) -> Path:
    """An evaluation as the stage leaves it."""
    folder = run.stage("evaluate") / subject
    scores = score_rows(expected, generated).rows if generated else None
    predictions = [
        Prediction(
            row=row,
            origin=f"test.jsonl:{row + 1}",
            prompt=f"prompt {row}" if generated else "",
            expected=text,
            generated=generated[row] if generated else None,
            finished=True if generated else None,
            nll_nats=nll + row % 3,
            tokens=4,
            bytes=len(text),
            scores=scores[row].as_dict() if scores else {},
        )
        for row, text in enumerate(expected)
    ]
    write_predictions(folder, predictions)
    EvaluateReport(
        inputs_hash=subject,
        seconds=0.1,
        provenance=gather_provenance(),
        subject=subject,
        model="model",
        rows=len(predictions),
        prompts_cut=0,
        answers_unfinished=0,
        metrics=estimate(all_metrics(predictions), recipe().evaluate, seed=1),
        bleu_signature="",
        chrf_signature="",
        new_tokens_per_second=1.0,
        data_sha256="",
    ).write(folder / "report.json")
    return folder


def make_run(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "2026-01-01_00-00-00")


def test_a_better_model_passes_and_its_rows_are_counted(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    base, tuned = write_evaluation(run, "base", BASE, nll=9.0), write_evaluation(run, "tuned", TUNED, nll=5.0)
    report = compare(run, base, tuned, recipe())
    found = report.metrics["exact_match"]
    assert (found.base, found.tuned, found.delta) == (0, 0.8, 0.8)
    assert 0.6 < found.low < 0.8 < found.high <= 1
    assert report.passed
    assert report.rows_lost == ()
    assert report.rows_won == tuple(row for row in range(30) if row % 5)
    assert (report.base_name, report.tuned_name, report.rows) == ("base", "tuned", 30)
    assert report.metrics["loss"].delta == pytest.approx(-1.0)
    assert {"slot_f1", "bleu", "chrf", "perplexity", "bits_per_byte"} <= report.metrics.keys()
    assert CompareReport.read(run.report("compare")) == report


def test_the_figures_of_a_comparison_are_those_of_the_two_evaluations(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folders = write_evaluation(run, "base", BASE), write_evaluation(run, "tuned", TUNED)
    report = compare(run, *folders, recipe())
    for folder, side in zip(folders, ("base", "tuned"), strict=True):
        single = EvaluateReport.read(folder / "report.json").metrics
        assert single.keys() == report.metrics.keys()
        for name, found in report.metrics.items():
            assert getattr(found, side) == pytest.approx(single[name].value)


def test_a_model_against_itself_has_no_gain_and_does_not_pass_as_better(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folder = write_evaluation(run, "tuned", TUNED)
    report = compare(run, folder, folder, recipe())
    assert not report.passed
    assert (report.rows_won, report.rows_lost) == ((), ())
    assert all((found.delta, found.p_value) == (0, 1) for found in report.metrics.values())
    assert compare(run, folder, folder, recipe(gate="not_worse")).passed


def test_a_worse_model_passes_neither_gate(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    base, tuned = write_evaluation(run, "base", TUNED), write_evaluation(run, "tuned", BASE)
    for gate in ("better", "not_worse"):
        report = compare(run, base, tuned, recipe(gate=gate))
        assert not report.passed
        assert len(report.rows_lost) == 24


def test_a_lower_loss_is_a_gain(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    base, tuned = write_evaluation(run, "base", BASE, nll=9.0), write_evaluation(run, "tuned", BASE, nll=5.0)
    report = compare(run, base, tuned, recipe(gate_metric="loss"))
    assert report.passed
    assert len(report.rows_won) == 30
    assert not compare(run, tuned, base, recipe(gate_metric="loss")).passed


def test_the_guides_name_of_the_overlap_can_be_the_gate(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    base, tuned = write_evaluation(run, "base", BASE), write_evaluation(run, "tuned", TUNED)
    report = compare(run, base, tuned, recipe(gate_metric="avg_jaccard_overlap"))
    assert report.passed
    assert len(report.rows_won) >= 24


def test_plain_texts_are_judged_by_their_loss(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    base, tuned = write_evaluation(run, "base", None, nll=9.0), write_evaluation(run, "tuned", None, nll=5.0)
    report = compare(run, base, tuned, recipe())
    assert report.gate_metric == "loss"
    assert report.passed
    assert report.metrics.keys() == {"loss", "perplexity", "bits_per_byte"}


def test_a_gate_metric_that_was_not_measured_is_named_with_those_that_were(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    folder = write_evaluation(run, "base", BASE)
    with pytest.raises(UsageError, match="exact_mach was not measured; did you mean exact_match") as caught:
        compare(run, folder, folder, recipe(gate_metric="exact_mach"))
    assert "slot_f1" in caught.value.why
    assert not run.report("compare").exists()


def test_evaluations_of_other_rows_are_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    base = write_evaluation(run, "base", BASE[:-1], expected=EXPECTED[:-1])
    tuned = write_evaluation(run, "tuned", TUNED)
    with pytest.raises(DataError, match=r"different rows \(29 and 30\)") as caught:
        compare(run, base, tuned, recipe())
    assert caught.value.code == "compare-rows"


def test_a_missing_or_damaged_evaluation_is_named(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    base = write_evaluation(run, "base", BASE)
    with pytest.raises(UsageError) as caught:
        compare(run, base, run.stage("evaluate") / "tuned", recipe())
    assert caught.value.code == "run-unfinished"
    lines = (base / "predictions.jsonl").read_text().splitlines()
    (base / "predictions.jsonl").write_text("\n".join([*lines[:3], lines[3][:20]]))
    with pytest.raises(UsageError, match="cannot be read"):
        compare(run, base, base, recipe())


def test_another_runs_model_is_called_by_its_run(tmp_path: Path) -> None:
    run, other = make_run(tmp_path), RunDir(tmp_path / "2025-12-31_00-00-00")
    base, tuned = write_evaluation(other, "tuned", BASE), write_evaluation(run, "tuned", TUNED)
    assert compare(run, base, tuned, recipe()).base_name == "2025-12-31_00-00-00/tuned"


def test_predictions_read_back_as_they_were_written(tmp_path: Path) -> None:
    folder = write_evaluation(make_run(tmp_path), "tuned", [text + "\u2028é\n" for text in TUNED])
    rows = read_predictions(folder)
    assert rows[1].generated == TUNED[1] + "\u2028é\n"
    write_predictions(folder, rows)
    assert read_predictions(folder) == rows
    first = json.loads((folder / "predictions.jsonl").read_text(encoding="utf-8").split("\n")[0])
    assert {"prompt", "expected", "generated", "scores"} <= first.keys()


@pytest.mark.parametrize(
    ("low", "high", "lower_is_better", "better", "not_worse"),
    [
        (0.1, 0.3, False, True, True),
        (-0.1, 0.3, False, False, True),
        (0.0, 0.0, False, False, True),
        (-0.3, -0.1, False, False, False),
        (-0.3, -0.1, True, True, True),
        (0.1, 0.3, True, False, False),
    ],
)
def test_the_gate_looks_at_the_interval(
    low: float, high: float, lower_is_better: bool, better: bool, not_worse: bool
) -> None:
    delta = PairedDelta(0, 0, 0, low, high, 1)
    for gate, expected in (("better", better), ("not_worse", not_worse)):
        assert passes(delta, EvaluateConfig(gate=gate), lower_is_better=lower_is_better) is expected
