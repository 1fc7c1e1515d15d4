"""A recipe that leaves repeats out and looks for leaks: what goes, what it is told for, and what stays."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.config.recipe import Recipe
from luthier.data.repeats import Repeats
from luthier.data.sources import find_sources
from luthier.data.stage import prepare
from luthier.data.tokenizer import _training_texts, train_on_rows
from luthier.floor.errors import DataError
from luthier.floor.log import Recorder
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.reports.ledger import StageBooks
from tests.data.dedup.planting import changed, sentence
from tests.data.preparing import make_recipe, make_run, store_of, write_rows


def pair(prompt: str, completion: str = "an answer") -> dict[str, str]:
    return {"prompt": prompt, "completion": completion}


def dropped_of(report: DataReport, stage: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in Path(report.dropped_file).read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage]


def books_of(report: DataReport, stage: str) -> StageBooks:
    return next(books for books in report.ledger if books.stage == stage)


def origins(report: DataReport, split: str = "train") -> set[int]:
    store = store_of(report, split)
    return {int(store.origin(row).rpartition(":")[2]) for row in range(store.rows)}


A, B = sentence(1), sentence(2)


def test_exact_repeats_go_and_name_the_row_that_stays(tiny_base: Path, tmp_path: Path) -> None:
    file = write_rows(
        tmp_path / "data" / "a.jsonl", [pair("one"), pair("two"), pair(" one "), pair("one", "other")]
    )
    recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0, dedup={"kind": "exact"})
    report = prepare(recipe, make_run(tmp_path))
    assert origins(report) == {1, 2, 4}
    [gone] = dropped_of(report, "deduplicated")
    assert (gone["origin"], gone["repeats"], gone["reason"]) == (f"{file}:3", f"{file}:1", "exact repeat")
    assert books_of(report, "deduplicated").rows.dropped == {"exact repeat": 1}


def test_near_repeats_go_with_their_jaccard(tiny_base: Path, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "data" / "a.jsonl", [pair(A), pair(B), pair(changed(A, 1))])
    recipe = make_recipe(
        tiny_base, tmp_path, validation_fraction=0, dedup={"kind": "near"}, overlong="truncate"
    )
    report = prepare(recipe, make_run(tmp_path))
    [gone] = dropped_of(report, "deduplicated")
    assert (gone["origin"], gone["repeats"], gone["reason"]) == (f"{file}:3", f"{file}:1", "near repeat")
    assert 0.8 <= gone["jaccard"] < 1
    assert not list(Path(report.store).glob("repeats")), "the texts that waited are gone"


def test_repeats_by_meaning_go_with_their_cosine_and_the_model_is_part_of_the_key(
    tiny_base: Path, tmp_path: Path
) -> None:
    pytest.importorskip("model2vec", reason="needs pip install 'luthier[semantic]'")
    from tests.data.dedup.test_semantic import make_model

    model = make_model(tmp_path / "static")
    rows = [{"text": "buy large house"}, {"text": "quick cat"}, {"text": "purchase big home"}]
    file = write_rows(tmp_path / "data" / "a.jsonl", rows)
    dedup = {"kind": "semantic", "model": str(model)}
    recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0, dedup=dedup)
    report = prepare(recipe, make_run(tmp_path))
    [gone] = dropped_of(report, "deduplicated")
    assert (gone["origin"], gone["repeats"], gone["reason"]) == (f"{file}:3", f"{file}:1", "semantic repeat")
    assert gone["cosine"] == pytest.approx(1)
    assert books_of(report, "deduplicated").rows.dropped == {"semantic repeat": 1}
    (model / "config.json").write_text('{"normalize": false}')
    assert prepare(recipe, make_run(tmp_path / "again")).inputs_hash != report.inputs_hash


def test_cleaning_comes_before_the_comparison(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "a.jsonl", [pair("caf\u00e9"), pair("cafe\u0301\u200b")])
    recipe = make_recipe(
        tiny_base, tmp_path, validation_fraction=0, dedup={"kind": "exact"}, clean={"preset": "guide"}
    )
    assert origins(prepare(recipe, make_run(tmp_path))) == {1}


def test_validation_rows_that_repeat_training_rows_go(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "a.jsonl", [pair("one"), pair("two")])
    held_out = write_rows(tmp_path / "held-out.jsonl", [pair("three"), pair("two")])
    recipe = make_recipe(tiny_base, tmp_path, validation_path=str(held_out), dedup={"kind": "exact"})
    report = prepare(recipe, make_run(tmp_path))
    assert (origins(report), origins(report, "validation")) == ({1, 2}, {1})
    [gone] = dropped_of(report, "deduplicated")
    assert gone["origin"] == f"{held_out}:2"


def suite(folder: Path) -> Path:
    """Questions as suites have them, none in a shape of ours."""
    return write_rows(folder / "suite.jsonl", [{"query": A, "choices": ["x", "y"], "gold": 0}, {"query": B}])


def contaminated(folder: Path) -> Path:
    rows = [pair(f"question {n}") for n in range(8)]
    rows[3] = pair("unlike", f"as the exam says: {A}")
    rows[6] = pair(B.upper())
    return write_rows(folder / "data" / "a.jsonl", rows)


def test_contamination_is_a_warning_unless_asked_otherwise(tiny_base: Path, tmp_path: Path) -> None:
    file = contaminated(tmp_path)
    exam = suite(tmp_path)
    settings: dict[str, Any] = {"validation_fraction": 0, "overlong": "truncate"}
    recipe = make_recipe(tiny_base, tmp_path, leaks={"suites": [str(exam)]}, **settings)
    listener = Recorder()
    report = prepare(recipe, make_run(tmp_path), listener=listener)
    assert report.leaks
    assert report.leaks.suites
    assert report.leaks.suites.kinds == {"exact": 1, "run": 1}
    assert [(found.row, found.against) for found in report.leaks.pairs] == [
        (f"{file}:4", f"{exam}:1"),
        (f"{file}:7", f"{exam}:2"),
    ]
    assert store_of(report).rows == 8
    told = f"data: leaks: 2 training rows still trained on: holds a question of {exam}"
    assert told in listener.warnings
    again = Recorder()
    found = prepare(recipe, make_run(tmp_path, "again"), listener=again)
    assert found.was_cached
    assert told in again.warnings, "what was found before is said again"


def test_contaminated_rows_are_left_out_if_asked(tiny_base: Path, tmp_path: Path) -> None:
    file = contaminated(tmp_path)
    exam = suite(tmp_path)
    recipe = make_recipe(
        tiny_base, tmp_path, validation_fraction=0, leaks={"suites": [str(exam)], "found": "drop"}
    )
    report = prepare(recipe, make_run(tmp_path))
    assert origins(report) == {1, 2, 3, 5, 6, 8}
    assert books_of(report, "leaks").rows.dropped == {f"holds a question of {exam}": 2}
    assert [gone["origin"] for gone in dropped_of(report, "leaks")] == [f"{file}:4", f"{file}:7"]


def test_contamination_ends_the_preparation_if_asked(tiny_base: Path, tmp_path: Path) -> None:
    file = contaminated(tmp_path)
    exam = suite(tmp_path)
    leaks = {"suites": [str(exam)], "found": "refuse"}
    with pytest.raises(DataError, match="2 training rows hold a question") as caught:
        prepare(
            make_recipe(tiny_base, tmp_path, leaks=leaks, overlong="truncate", validation_fraction=0),
            make_run(tmp_path),
        )
    assert caught.value.code == "data-leak"
    assert caught.value.problems == (f"{file}:4: run: {exam}:1", f"{file}:7: exact: {exam}:2")


def test_a_changed_suite_is_looked_at_again(tiny_base: Path, tmp_path: Path) -> None:
    contaminated(tmp_path)
    exam = suite(tmp_path)
    recipe = make_recipe(tiny_base, tmp_path, overlong="truncate", leaks={"suites": [str(exam)]})
    first = prepare(recipe, make_run(tmp_path))
    write_rows(exam, [{"query": "Something else entirely?"}])
    second = prepare(recipe, make_run(tmp_path))
    assert first.leaks and second.leaks and first.leaks.suites and second.leaks.suites
    assert (first.leaks.suites.rows_leaking, second.leaks.suites.rows_leaking) == (2, 0)


def test_training_rows_that_ask_what_validation_asks_are_found_in_files_and_shares(
    tiny_base: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "data" / "a.jsonl", [pair("one"), pair("Two!"), pair("three")])
    held_out = write_rows(tmp_path / "held-out.jsonl", [pair("two", "another answer")])
    leaks = {"validation": True, "found": "drop"}
    recipe = make_recipe(tiny_base, tmp_path, validation_path=str(held_out), leaks=leaks)
    assert origins(prepare(recipe, make_run(tmp_path))) == {1, 3}
    # Case and signs alone part no questions, so here they are nearly the same.
    stories = [" ".join(f"w{n * word}" for word in range(1, 20)) for n in range(101, 201)]
    write_rows(tmp_path / "data" / "a.jsonl", [pair(f"{story} {end}") for story in stories for end in "ab"])
    recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0.3, leaks=leaks)
    report = prepare(recipe, make_run(tmp_path, "shares"))
    asked = [{(line - 1) // 2 for line in origins(report, split)} for split in ("train", "validation")]
    assert not asked[0] & asked[1]
    assert books_of(report, "leaks").rows.left_out > 10


def test_a_suite_that_is_not_there_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "a.jsonl", [pair("one")])
    with pytest.raises(DataError, match="there is no"):
        prepare(make_recipe(tiny_base, tmp_path, leaks={"suites": ["no-such"]}), make_run(tmp_path))


def test_a_tokenizer_that_is_trained_here_sees_no_row_that_goes(tmp_path: Path) -> None:
    kept, gone = pair("one two three"), pair("one  two   three")
    write_rows(tmp_path / "data" / "a.jsonl", [kept, gone, pair("four", "five")])
    held_out = write_rows(tmp_path / "held-out.jsonl", [pair("six")])
    data = {"path": str(tmp_path / "data"), "validation_path": str(held_out), "dedup": {"kind": "exact"}}
    recipe = Recipe.model_validate({"method": {"kind": "scratch", "vocabulary_size": 261}, "data": data})
    sources = find_sources(recipe.data, Recorder())
    with Repeats(recipe.data.dedup, tmp_path, Recorder(), StopFlag()) as repeats:
        texts = list(_training_texts(recipe, sources, StopFlag(), repeats))
    assert texts == ["one two three", "an answer", "four", "five"]
    train_on_rows(recipe, sources, tmp_path / "out" / "tokenizer", listener=Recorder(), stop=StopFlag())
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["tokenizer"]
