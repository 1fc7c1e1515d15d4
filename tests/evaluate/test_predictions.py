"""predictions.jsonl keeps every row whole, and what is scored from it is what the model said."""

import json
import math
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.config.evaluate import EvaluateConfig
from luthier.evaluate.predictions import FILE, Prediction, hash_rows, read_predictions, write_predictions
from luthier.evaluate.score import all_metrics, estimate, row_values
from luthier.floor.errors import UsageError

TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def predict(
    row: int = 0, *, expected: str = "e", generated: str | None = "g", scores: dict[str, float] | None = None
) -> Prediction:
    """A prediction with its other fields filled in."""
    return Prediction(
        row=row,
        origin=f"rows.jsonl:{row + 1}",
        prompt="p",
        expected=expected,
        generated=generated,
        finished=None if generated is None else True,
        nll_nats=1.0 + row,
        tokens=2,
        bytes=len(expected.encode()),
        scores=scores or {},
    )


@given(expected=TEXTS, generated=st.none() | TEXTS)
def test_any_text_reads_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, expected: str, generated: str | None
) -> None:
    folder = tmp_path_factory.getbasetemp() / "predictions"
    predictions = [predict(0, expected=expected, generated=generated), predict(1, generated="\u2028\x85\r\n")]
    write_predictions(folder, predictions)
    assert read_predictions(folder) == predictions


def test_a_line_is_an_object_that_any_reader_takes(tmp_path: Path) -> None:
    write_predictions(tmp_path, [predict(0), predict(1)])
    lines = (tmp_path / FILE).read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == [asdict(predict(0)), asdict(predict(1))]
    assert lines[-1] == ""


def test_a_figure_that_is_not_finite_leaves_the_file_before(tmp_path: Path) -> None:
    write_predictions(tmp_path, [predict(0)])
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_predictions(tmp_path, [predict(0, scores={"bleu": math.nan})])
    assert read_predictions(tmp_path) == [predict(0)]
    assert os.listdir(tmp_path) == [FILE]


@pytest.mark.parametrize("damage", ["missing", "cut", "bytes", "field", "scalar"])
def test_a_file_that_is_not_whole_says_how_to_make_it_again(tmp_path: Path, damage: str) -> None:
    write_predictions(tmp_path, [predict(0)])
    path = tmp_path / FILE
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        damaged = {
            "cut": content[:-20],
            "bytes": content.replace(b'"p"', b'"\xff"'),
            "field": content.replace(b'"prompt"', b'"prompts"'),
            "scalar": b"5\n",
        }
        path.write_bytes(damaged[damage])
    with pytest.raises(UsageError) as caught:
        read_predictions(tmp_path)
    assert (caught.value.code, caught.value.where) == ("run-unfinished", str(path))
    assert "luthier eval --again" in caught.value.fix


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=4), st.lists(st.tuples(TEXTS, TEXTS), max_size=4))
def test_equal_rows_and_only_those_have_equal_hashes(
    first: list[tuple[str, str]], second: list[tuple[str, str]]
) -> None:
    assert (hash_rows(first) == hash_rows(second)) == (first == second)


LABELS = ["card_arrival", "lost_card", "card_arrival", "lost_card", "top_up", "top_up"]
ANSWERS = ["card_arrival", "Lost_card.", '"card_arrival"\nsince it came', "card", "top_up", ""]
RIGHT = [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]


def test_a_classification_is_judged_by_accuracy_with_its_interval() -> None:
    predictions = [
        predict(row, expected=label, generated=answer)
        for row, (label, answer) in enumerate(zip(LABELS, ANSWERS, strict=True))
    ]
    metrics = all_metrics(predictions)
    found = estimate(metrics, EvaluateConfig(bootstrap_samples=100), seed=1)
    assert found["accuracy"].value == pytest.approx(4 / 6)
    # Wilson's interval of 4 out of 6 at 95 %, by hand: (p + z²/2n ± z·sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n).
    assert (found["accuracy"].low, found["accuracy"].high) == pytest.approx((0.29999, 0.90323), abs=1e-4)
    assert found["accuracy"].value > found["exact_match"].value == pytest.approx(2 / 6)
    assert "slot_f1" not in found


def test_rows_won_and_lost_are_counted_by_the_accuracy_of_each() -> None:
    predictions = [predict(row, scores={"accuracy": right}) for row, right in enumerate(RIGHT)]
    assert row_values(predictions, "accuracy") == RIGHT


def test_free_answers_have_no_accuracy() -> None:
    predictions = [predict(row, expected=f"answer {row}", generated="x") for row in range(6)]
    assert "accuracy" not in all_metrics(predictions)
    assert "exact_match" in all_metrics(predictions)


def test_rows_that_ask_nothing_are_judged_by_their_loss_alone() -> None:
    assert all_metrics([predict(0, generated=None)]).keys() == {"loss", "perplexity", "bits_per_byte"}
