import subprocess
import sys

import numpy as np
import pytest

from luthier.measure.metrics import LOWER_IS_BETTER, PROPORTIONS, score_rows

RECORDS = [
    "name[Aromi], food[Thai]",
    "name[Zizzi], food[Thai]",
    "name[Aromi], food[Indian]",
]
COMMON = {
    "exact_match",
    "avg_jaccard_overlap",
    "token_f1",
    "rouge1",
    "rouge2",
    "rougeL",
    "bleu",
    "chrf",
}


def test_records_get_slot_f1_and_no_accuracy() -> None:
    # Records may repeat as labels do; they are still no labels.
    scores = score_rows(RECORDS * 4, RECORDS * 4)
    assert set(scores.corpus) == COMMON | {"slot_f1"}
    assert scores.rows[0].accuracy is None
    assert "accuracy" not in scores.rows[0].as_dict()
    assert scores.values() == pytest.approx(dict.fromkeys(COMMON | {"slot_f1"}, 1.0))


def test_labels_get_accuracy_and_no_slot_f1() -> None:
    scores = score_rows(["yes", "no"] * 4, ["Yes.", "no"] * 3 + ["no", "yes"])
    assert set(scores.corpus) == COMMON | {"accuracy"}
    assert scores.values()["accuracy"] == 6 / 8
    assert scores.values()["exact_match"] == 3 / 8  # `Yes.` is no exact match
    assert scores.rows[0].slot_f1 is None


def test_free_text_gets_neither() -> None:
    scores = score_rows(["One of a kind.", "Another."], ["One.", ""])
    assert set(scores.corpus) == COMMON


def test_one_row_that_is_no_record_takes_slot_f1_away() -> None:
    assert "slot_f1" not in score_rows([*RECORDS, "I do not know"], [*RECORDS, ""]).corpus


def test_rows_keep_their_order_and_means_are_means_of_rows() -> None:
    generated = [RECORDS[0], "name[Zizzi]", ""]
    scores = score_rows(RECORDS, generated)
    assert [row.exact_match for row in scores.rows] == [1, 0, 0]
    assert [row.slot_f1 for row in scores.rows] == pytest.approx([1, 2 / 3, 0])
    for name in ("exact_match", "token_f1", "rouge1", "rouge2", "rougeL"):
        assert scores.values()[name] == pytest.approx(np.mean([row.as_dict()[name] for row in scores.rows]))
    assert scores.values()["avg_jaccard_overlap"] == pytest.approx(
        np.mean([row.jaccard_overlap for row in scores.rows])
    )


def test_the_names_that_need_special_care_are_metrics() -> None:
    assert {"exact_match", "accuracy"} == PROPORTIONS
    assert not LOWER_IS_BETTER & COMMON


def test_measuring_loads_neither_torch_nor_transformers() -> None:
    code = (
        "import sys, luthier.measure.metrics, luthier.measure.intervals, luthier.measure.parity, luthier.measure.likelihood;"
        "print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
