"""Tests of the rules that choose the bundled rows, and of the bundled rows themselves."""

import json
from pathlib import Path

import pytest
from demo_data import (
    first_fault,
    keep_faithful,
    parse_record,
    place_names,
    prompt_key,
    read_rows,
    render_record,
)
from wording import AREAS, FOODS, UNCLEAR, fold, said_choice, said_family, said_price, said_rating

DATA = Path(__file__).resolve().parents[2] / "data"

PRICES = [
    ("it is cheap and cheerful", "cheap"),
    ("an affordable pub", "cheap"),
    ("in the low price range", "cheap"),
    ("moderately priced", "moderate"),
    ("a mid-range place", "moderate"),
    ("prices are average and the customer rating is high", "moderate"),
    ("a high price range and an average rating", "high"),
    ("pricey dishes", "high"),
    ("for under £20 a head", "less than £20"),
    ("from twenty to 25 pounds", "£20-25"),
    ("over £30", "more than £30"),
    ("rated 3 out of 5", None),
    ("a low customer rating", None),
    ("cheap, at more than £30", UNCLEAR),
    ("its price and its ambience", UNCLEAR),
    ("about £22", UNCLEAR),
]

RATINGS = [
    ("a low customer rating", "low"),
    ("poorly rated by all", "low"),
    ("the rating is average and the price is high", "average"),
    ("highly rated, cheap", "high"),
    ("excellent reviews", "high"),
    ("rated 3 out of 5", "3 out of 5"),
    ("a one-star rating", "1 out of 5"),
    ("five stars", "5 out of 5"),
    ("customer rating 5/5", "5 out of 5"),
    ("in the high price range", None),
    ("rated", UNCLEAR),
    ("highly rated with 3 out of 5", UNCLEAR),
]

FAMILIES = [
    ("a family-friendly pub", "yes"),
    ("it welcomes children", "yes"),
    ("it is not kid friendly", "no"),
    ("no children are allowed", "no"),
    ("it isn't for families", "no"),
    ("a non-family-friendly place", "no"),
    ("adults only", "no"),
    ("it is not cheap, but it is family friendly", "yes"),
    ("a quiet pub", None),
    ("family friendly. children are not welcome", UNCLEAR),
]


@pytest.mark.parametrize(("sentence", "value"), PRICES)
def test_a_price_is_read_in_figures_or_in_words_and_never_guessed(sentence: str, value: str | None) -> None:
    assert said_price(fold(sentence)) == value


@pytest.mark.parametrize(("sentence", "value"), RATINGS)
def test_a_rating_is_read_in_points_or_in_words_and_never_guessed(sentence: str, value: str | None) -> None:
    assert said_rating(fold(sentence)) == value


@pytest.mark.parametrize(("sentence", "value"), FAMILIES)
def test_a_negation_counts_only_in_its_own_clause(sentence: str, value: str | None) -> None:
    assert said_family(fold(sentence)) == value


def test_two_cuisines_are_unclear_and_none_is_silence() -> None:
    assert said_choice("chinese food beside an italian", FOODS) == UNCLEAR
    assert said_choice("british food", FOODS) == "English"
    assert said_choice("nice food", FOODS) is None
    assert said_choice("in the centre by the river", AREAS) == UNCLEAR


def fault(sentence: str, record: str) -> str | None:
    return first_fault(
        sentence, parse_record(record), {"The Mill", "Burger King", "Café Rouge", "Raja Indian Cuisine"}
    )


def test_a_row_is_kept_only_if_sentence_and_record_agree_in_both_directions() -> None:
    record = "name[The Mill], eatType[pub], area[riverside], near[Café Rouge]"
    assert fault("The Mill is a pub by the river near Cafe Rouge.", record) is None
    assert fault("The Mill is a pub near Café Rouge.", record) == "area: not said"
    assert fault("The Mill is a cheap pub by the river near Café Rouge.", record) == (
        "priceRange: said, not in the record"
    )
    assert (
        fault("The Mill is a restaurant by the river near Café Rouge.", record) == "eatType: said otherwise"
    )
    assert fault("The Mill is a pub by the river near Burger King.", record) == "near: not said"
    assert fault("The Mill, a pub by the river, is near Café Rouge and Burger King.", record) == (
        "near: said, not in the record"
    )


def test_a_neighbours_name_is_no_statement_about_the_food() -> None:
    assert (
        fault(
            "The Mill is a pub near Raja Indian Cuisine.",
            "name[The Mill], eatType[pub], near[Raja Indian Cuisine]",
        )
        is None
    )


def test_repeated_and_leaked_prompts_are_dropped_however_they_are_punctuated() -> None:
    row = {"prompt": "The Mill is  a pub.", "completion": "eatType[pub], name[The Mill]"}
    again = {"prompt": "the mill is a PUB", "completion": row["completion"]}
    kept, report = keep_faithful([row, again], place_names([row]), taken=set())
    assert kept == [{"prompt": "The Mill is a pub.", "completion": "name[The Mill], eatType[pub]"}]
    assert report["dropped"] == {"prompt repeats": 1}
    kept, _ = keep_faithful([again], place_names([row]), taken={prompt_key(row["prompt"])})
    assert kept == []


def test_the_bundled_rows_are_faithful_unique_and_shared_by_no_split() -> None:
    train, test = read_rows(DATA / "train.jsonl"), read_rows(DATA / "eval/test.jsonl")
    names = place_names(train + test)
    for row in train[::10] + test[::2]:  # a sample: all of them take four seconds
        record = parse_record(row["completion"])
        assert first_fault(row["prompt"], record, names) is None
        assert render_record(record) == row["completion"]
    keys = [{prompt_key(row["prompt"]) for row in rows} for rows in (train, test)]
    assert [len(split) for split in keys] == [len(train), len(test)]
    assert not keys[0] & keys[1]
    assert not {row["completion"] for row in train} & {row["completion"] for row in test}


def test_the_bundle_is_small_licensed_and_counted() -> None:
    files = [file for file in DATA.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < 3_000_000
    assert sorted(file.name for file in DATA.glob("*.jsonl")) == ["train.jsonl"]
    assert "Attribution-ShareAlike 4.0" in (DATA / "LICENSE").read_text(encoding="utf-8")
    report = json.loads((DATA / "demo.report.json").read_text(encoding="utf-8"))
    for split, name in (("train", "train.jsonl"), ("test", "eval/test.jsonl")):
        assert report[split]["kept"] == len(read_rows(DATA / name))
        assert report[split]["kept"] + sum(report[split]["dropped"].values()) == report[split]["read"]
