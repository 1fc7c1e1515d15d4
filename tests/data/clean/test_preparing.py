"""Cleaning inside the data stage: before the split, in the books, in the key, and nowhere if it is off."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from luthier.cli.prepare import prepared_text
from luthier.config.clean import CleanConfig
from luthier.config.recipe import Recipe
from luthier.data.clean import presets
from luthier.data.stage import prepare
from luthier.data.tokenizer import _training_texts
from luthier.floor.errors import DataError
from luthier.floor.log import Recorder
from luthier.floor.stop import StopFlag
from luthier.reports.data import DataReport
from luthier.text.tokenizer import load_tokenizer
from tests.data.preparing import make_recipe, make_run, pairs, store_of, write_rows

SAMPLE = Path(__file__).parent / "opentriviaqa" / "mojibake.jsonl"
DIRTY = {"prompt": "  clichÃ©\u200b  ", "completion": "a  b \n\n\n\n c\ufeff"}
# Made by Luthier as it was before it could clean.
BEFORE_THERE_WAS_CLEANING = (
    "07d10ca4eb6b0a6f9e8e9c0dd8c6f8f99456c2dd7bcabb0e5595f0889e663631",
    "9ab7d57d850dc1376ecf83d2decc666707ced22e1b05d4d5ec502bf367988442",
)


def prepare_rows(base: Path, folder: Path, rows: Sequence[object], **settings: Any) -> DataReport:
    write_rows(folder / "data" / "rows.jsonl", rows)
    data: dict[str, Any] = {"clean": settings} if settings else {}
    return prepare(make_recipe(base, folder, **data), make_run(folder, "run"))


def texts(report: DataReport, split: str = "train") -> set[str]:
    store = store_of(report, split)
    tokenizer = load_tokenizer(Path(report.tokenizer))
    return {tokenizer.decode(store.ids(row), skip_special_tokens=True) for row in range(store.rows)}


def test_without_cleaning_the_tokens_are_those_of_before(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sides were chosen by what a row asks, letter for letter; since then case and signs are put aside.
    monkeypatch.setattr("luthier.data.split.fold", lambda text: text)
    report = prepare_rows(tiny_base, tmp_path, [*pairs(30), DIRTY])
    assert report.validation is not None
    assert (report.train.fingerprint, report.validation.fingerprint) == BEFORE_THERE_WAS_CLEANING
    assert report.cleaning is None
    assert not (Path(report.store) / "cleaning").exists()


def test_settings_that_turn_nothing_on_lead_to_the_same_tokens(tiny_base: Path, tmp_path: Path) -> None:
    first = prepare_rows(tiny_base, tmp_path, pairs(5))
    again = prepare_rows(tiny_base, tmp_path, pairs(5), preset="none", personal={"kinds": ["email"]})
    assert again.inputs_hash == first.inputs_hash


def test_rows_are_cleaned_before_they_are_rendered(tiny_base: Path, tmp_path: Path) -> None:
    report = prepare_rows(tiny_base, tmp_path, [*pairs(3), DIRTY], preset="standard")
    assert "cliché\na  b\n\n\n c" in texts(report) | texts(
        report, "validation" if report.validation else "train"
    )
    assert report.cleaning is not None
    assert (report.cleaning.rows_in, report.cleaning.rows_edited) == (4, 1)


def test_the_guide_preset_prepares_what_the_guides_function_makes(tiny_base: Path, tmp_path: Path) -> None:
    report = prepare_rows(tiny_base, tmp_path, [*pairs(3), DIRTY], preset="guide")
    both = texts(report) | (texts(report, "validation") if report.validation else set())
    assert "clichÃ©\na b c\ufeff" in both


def test_rows_that_are_alike_after_cleaning_are_on_one_side_of_the_split(
    tiny_base: Path, tmp_path: Path
) -> None:
    asked = [f"Question {number}" for number in range(40)]
    rows = [{"prompt": form, "completion": "x"} for each in asked for form in (each, f" {each}\u200b ")]
    report = prepare_rows(tiny_base, tmp_path, rows, preset="standard")
    assert report.validation is not None
    assert texts(report) & texts(report, "validation") == set()
    assert report.train.rows_in % 2 == report.validation.rows_in % 2 == 0


def test_the_books_go_on_where_those_of_the_cleaning_end(tiny_base: Path, tmp_path: Path) -> None:
    rows = [*pairs(20), {"prompt": "a", "completion": "\u200b"}, {"prompt": "b", "completion": " "}]
    report = prepare_rows(tiny_base, tmp_path, rows, preset="standard")
    assert report.cleaning is not None
    assert (report.cleaning.rows_in, report.cleaning.rows_kept) == (22, 20)
    assert report.train.rows_in + (report.validation.rows_in if report.validation else 0) == 20
    assert report.train.dropped == {}


def test_validation_rows_of_their_own_are_cleaned_as_well(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "own.jsonl", [DIRTY])
    write_rows(tmp_path / "data" / "rows.jsonl", pairs(3))
    recipe = make_recipe(
        tiny_base, tmp_path, validation_path=str(tmp_path / "own.jsonl"), clean={"preset": "standard"}
    )
    report = prepare(recipe, make_run(tmp_path))
    assert texts(report, "validation") == {"cliché\na  b\n\n\n c"}


def test_what_was_cleaned_is_found_again_with_its_books(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "rows.jsonl", [*pairs(3), DIRTY])
    recipe = make_recipe(tiny_base, tmp_path, clean={"preset": "standard"})
    first = prepare(recipe, make_run(tmp_path, "one"))
    second = prepare(recipe, make_run(tmp_path, "two"))
    assert (first.was_cached, second.was_cached) == (False, True)
    assert first.cleaning == second.cleaning is not None


def test_every_setting_of_cleaning_is_part_of_the_key() -> None:
    keys = [
        presets.cleaning_key(CleanConfig.model_validate(settings))
        for settings in (
            {"preset": "guide"},
            {"preset": "standard"},
            {"preset": "standard", "repair": False},
            {"preset": "standard", "white_space": "collapse"},
            {"preset": "standard", "normalize": "nfkc"},
            {"preset": "standard", "personal": {"action": "mask"}},
            {"preset": "standard", "personal": {"action": "mask", "kinds": ["ip"]}},
            {"length": {"least_words": 2}},
            {"length": {"least_words": 3}},
            {"quality": {"c4": True}},
            {"quality": {"c4": True, "skip_rules": ["c4_policy"]}},
            {"language": {"keep": ["en"]}},
            {"language": {"keep": ["en"], "least_confidence": 0.6}},
        )
    ]
    assert None not in keys
    assert len({json.dumps(key, sort_keys=True) for key in keys}) == len(keys)


def test_the_version_of_ftfy_and_the_word_list_are_part_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "words.txt"
    path.write_text("one\n", encoding="utf-8")
    settings = {"preset": "standard", "words": {"path": str(path)}}
    clean = Recipe.model_validate({"model": {"name": "x"}, "data": {"clean": settings}}).data.clean
    first = presets.cleaning_key(clean)
    path.write_text("two\n", encoding="utf-8")
    second = presets.cleaning_key(clean)
    monkeypatch.setattr(presets, "ftfy_version", lambda: "0.0")
    third = presets.cleaning_key(clean)
    assert first != second != third != first


def test_a_tokenizer_is_trained_on_the_rows_as_they_are_cleaned(tmp_path: Path) -> None:
    write_rows(tmp_path / "data" / "rows.jsonl", [DIRTY, {"prompt": "a", "completion": "\u200b"}])
    settings = {
        "method": {"kind": "scratch"},
        "data": {"path": str(tmp_path / "data"), "validation_fraction": 0, "clean": {"preset": "standard"}},
    }
    recipe = Recipe.model_validate(settings)
    from luthier.data.sources import find_sources

    sources = find_sources(recipe.data, Recorder())
    assert list(_training_texts(recipe, sources, StopFlag())) == ["cliché", "a  b\n\n\n c"]


def test_all_114_questions_with_mojibake_are_mended(tiny_base: Path, tmp_path: Path) -> None:
    """The number is that of the set's description: questions of OpenTriviaQA that hold Ã."""
    rows = SAMPLE.read_text(encoding="utf-8").splitlines()
    assert len(rows) == 114
    report = prepare_rows(tiny_base, tmp_path, rows, repair=True)
    assert report.cleaning is not None
    assert report.cleaning.rows_in == 114
    assert report.cleaning.filters["repair"].rows_edited == 114
    mended = texts(report) | texts(report, "validation")
    assert not any("Ã" in text for text in mended)


def test_rows_that_are_all_left_out_say_which_filter_did_it(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare_rows(tiny_base, tmp_path, pairs(3), length={"least_words": 100})
    assert caught.value.code == "data-untrained"
    assert "length: 3 rows left out (fewer than 100 words 3)" in caught.value.problems
    assert "data.clean" in caught.value.fix
    assert not list((tmp_path / "cache").glob("[!.]*"))


def test_the_command_prints_the_counts_and_where_to_look(tiny_base: Path, tmp_path: Path) -> None:
    report = prepare_rows(
        tiny_base, tmp_path, [*pairs(3), DIRTY, {"prompt": "a", "completion": ""}], preset="standard"
    )
    text = prepared_text(make_run(tmp_path), report)
    assert "cleaning    5 rows, 1 edited and kept, 1 left out" in text
    assert "            repair: 1 row edited" in text
    assert f"edits       {report.store}/cleaning/edits.diff" in text
    assert f"left out    {report.store}/cleaning/dropped.jsonl" in text
    plain = prepare_rows(tiny_base, tmp_path / "plain", pairs(3))
    assert "cleaning" not in prepared_text(make_run(tmp_path), plain)
