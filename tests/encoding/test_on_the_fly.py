"""Training on rows that are tokenized on the fly is the training on cached tokens: same rows, same packs, same losses, bit for bit."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.config.recipe import Recipe
from luthier.data.stage import prepare
from luthier.floor.errors import DataError, LuthierError, UnhealthyError
from luthier.floor.rundir import RunDir
from luthier.reports.data import DataReport
from luthier.reports.train import TrainReport
from luthier.train import loop
from luthier.train.stage import train
from tests.data.preparing import make_run, write_rows
from tests.train.runs import logged_losses
from tests.whole.same_run import assert_same_run, what_a_run_is

pytestmark = pytest.mark.slow

WORDS = ["the", "mill", "by", "the", "river", "serves", "cheap", "dishes", "with", "a", "view", "of", "hills"]
ROWS = 60


def pair(number: int) -> dict[str, str]:
    asked = " ".join(WORDS[(number + at) % len(WORDS)] for at in range(1 + number % 7))
    said = " ".join(WORDS[(3 * number + at) % len(WORDS)] for at in range(1 + number % 5))
    return {"prompt": f"{number}: {asked}?", "completion": f"{said}."}


def talk(number: int) -> dict[str, Any]:
    row = pair(number)
    turns = [
        {"role": "user", "content": row["prompt"]},
        {"role": "assistant", "content": row["completion"]},
    ]
    return {"messages": turns * (1 + number % 2)}


def recipe_of(
    base: Path, folder: Path, tokenization: str, *, data: dict[str, Any] | None = None, **train: Any
) -> Recipe:
    places = {"path": str(folder / "data"), "cache_path": str(folder / "cache")}
    return Recipe.model_validate(
        {
            "model": {"name": str(base), "device": "cpu"},
            "data": {**places, "max_length": 64, "tokenization": tokenization, **(data or {})},
            "method": {"kind": "lora", "rank": 4, "dropout": 0.05},
            "train": {
                "epochs": 2,
                "lr": 1e-3,
                "seed": 5,
                "log": {"logging_steps": 1, "trackers": []},
                "checkpoint": {"save_steps": 3, "keep_last": 2},
                "validation": {"sample_prompts": 0},
                **train,
            },
        }
    )


def run_of(
    base: Path, folder: Path, tokenization: str, *, name: str = "", **settings: Any
) -> tuple[RunDir, TrainReport]:
    recipe = recipe_of(base, folder, tokenization, **settings)
    run = make_run(folder, name or tokenization)
    prepare(recipe, run)
    return run, train(recipe, run)


def without_data(facts: dict[str, Any]) -> dict[str, Any]:
    """All that a run is but the hash of what its data was prepared as."""
    facts["facts"]["identity"].pop("training tokens")
    return facts


LAYOUTS: dict[str, dict[str, Any]] = {
    "rows packed": {"data": {"max_length": 90, "overlong": "truncate"}},
    "rows padded": {"packing": False},
    "bucketed": {"packing": False, "padding": "bucketed"},
    "tokens": {"tokens_per_step": 256, "pack_tokens": 128, "most_steps": 12},
}


@pytest.mark.parametrize("layout", list(LAYOUTS))
def test_losses_and_weights_are_those_of_cached_tokens(layout: str, tiny_base: Path, tmp_path: Path) -> None:
    make = talk if layout == "rows packed" else pair
    write_rows(tmp_path / "data/rows.jsonl", [make(number) for number in range(ROWS)])
    cached, before = run_of(tiny_base, tmp_path, "cached", **LAYOUTS[layout])
    fly, after = run_of(tiny_base, tmp_path, "on_the_fly", **LAYOUTS[layout])
    assert logged_losses(cached) == logged_losses(fly)
    assert without_data(what_a_run_is(cached))["model"] == without_data(what_a_run_is(fly))["model"]
    assert (before.tokens_seen, before.validation_loss) == (after.tokens_seen, after.validation_loss)
    assert not (Path(DataReport.read(fly.report("data")).store) / "train").exists(), "no token is kept"
    (books,) = after.ledger
    assert books.rows.came_in == before.rows_seen / 2 if layout != "tokens" else True
    said = DataReport.read(cached.report("data")).train
    if layout != "tokens":  # both epochs were seen
        assert books.tokens and books.trained_tokens
        assert (books.rows.kept, books.tokens.kept, books.trained_tokens.kept) == (
            said.rows_kept,
            said.tokens,
            said.trained_tokens,
        )
        assert books.trained_tokens.left_out == said.trained_tokens_lost
        assert said.trained_tokens_lost or layout != "rows packed"


class Killed(Exception):
    """The process ends here, without a chance to save."""


@pytest.mark.parametrize("layout", ["rows packed", "tokens"])
def test_a_run_killed_in_mid_epoch_goes_on_as_if_it_had_not_been(
    layout: str, tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_rows(tmp_path / "data/rows.jsonl", [pair(number) for number in range(ROWS)])
    reference, whole = run_of(tiny_base, tmp_path, "on_the_fly", **LAYOUTS[layout])
    recipe, run = (
        recipe_of(tiny_base, tmp_path, "on_the_fly", **LAYOUTS[layout]),
        make_run(tmp_path, "killed"),
    )
    prepare(recipe, run)
    honest = loop.take_step

    def killed(*arguments: Any, number: int, **named: Any) -> Any:
        if number == 5:
            raise Killed
        return honest(*arguments, number=number, **named)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "take_step", killed)
        with pytest.raises(Killed):
            train(recipe, run)
    (run.path / "train/outcomes.bin").unlink()  # as a disk that lost it would
    report = train(recipe, run)
    assert report.resumed_from_steps == (3,)
    assert_same_run(run, reference)
    if layout == "rows packed":
        assert report.ledger == whole.ledger


def test_rows_left_out_when_tokenized_are_counted_and_named(tiny_base: Path, tmp_path: Path) -> None:
    rows: list[Any] = [pair(number) for number in range(30)]
    rows[7] = {"prompt": "long " * 60, "completion": "yes"}
    rows[11] = {"prompt": "p", "completion": ""}
    write_rows(tmp_path / "data/rows.jsonl", rows)
    data = {"overlong": "drop", "validation_fraction": 0}
    run, report = run_of(tiny_base, tmp_path, "on_the_fly", data=data, epochs=1)
    prepared = DataReport.read(run.report("data"))
    assert prepared.train.dropped == {"empty completion": 1}
    assert (prepared.train.rows_kept, prepared.train.tokens) == (29, None)
    (books,) = report.ledger
    assert (books.rows.came_in, books.rows.kept) == (29, 28)
    assert books.rows.dropped == {"longer than max_length": 1}
    assert report.rows_seen == 28
    assert report.dropped_file
    (dropped,) = [json.loads(line) for line in Path(report.dropped_file).read_text().splitlines()]
    assert dropped["origin"].endswith("rows.jsonl:8")


def test_a_run_that_ends_within_an_epoch_says_how_many_rows_it_did_not_reach(
    tiny_base: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "data/rows.jsonl", [pair(number) for number in range(ROWS)])
    _, report = run_of(tiny_base, tmp_path, "on_the_fly", data={"validation_fraction": 0}, most_steps=3)
    (books,) = report.ledger
    assert (books.rows.came_in, books.rows.kept) == (ROWS, 24)
    assert books.rows.dropped == {"not reached before the training ended": 36}


def test_what_is_refused_is_refused_with_the_words_and_the_place_of_a_preparation(
    tiny_base: Path, tmp_path: Path
) -> None:
    write_rows(
        tmp_path / "data/rows.jsonl",
        [*[pair(number) for number in range(5)], {"prompt": "long " * 60, "completion": "yes"}],
    )
    found = []
    for tokenization in ("cached", "on_the_fly"):
        for data in ({"overlong": "error"}, {"overlong": "auto", "max_length": 8}):
            settings = {"validation_fraction": 0, **data}
            with pytest.raises(DataError) as caught:
                run_of(tiny_base, tmp_path, tokenization, data=settings)
            found.append(caught.value)
    assert [fault.code for fault in found] == ["data-long"] * 4
    assert (found[0].what, found[0].where) == (found[2].what, found[2].where)
    assert found[1].problems == found[3].problems, "the price of every choice"
    assert "of the 6 rows drawn" in found[3].what


def test_rows_beyond_the_sample_are_refused_when_training_reaches_them(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("luthier.data.text_split.ROWS_JUDGED", 4)
    rows = [pair(number) for number in range(ROWS)]
    write_rows(tmp_path / "data/rows.jsonl", [*rows[:40], {"prompt": "long " * 60, "completion": "yes"}])
    data = {"overlong": "error", "validation_fraction": 0}
    recipe, run = recipe_of(tiny_base, tmp_path, "on_the_fly", data=data), make_run(tmp_path)
    prepare(recipe, run)
    with pytest.raises(DataError) as caught:
        train(recipe, run)
    assert (caught.value.code, caught.value.where) == ("data-long", f"{tmp_path}/data/rows.jsonl:41")


def test_more_steps_than_the_rows_have_end_the_run_with_what_to_type(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data/rows.jsonl", [pair(number) for number in range(20)])
    dial = LAYOUTS["tokens"] | {"most_steps": 50, "epochs": 1}
    with pytest.raises(UnhealthyError) as caught:
        run_of(tiny_base, tmp_path, "on_the_fly", **dial)
    assert "train.most_steps is 50" in caught.value.what
    assert "train.most_steps=" in caught.value.fix


@pytest.mark.parametrize(
    ("data", "train_section", "told"),
    [
        ({"overlong": "split", "format": "text"}, {}, "data.tokenization=cached"),
        ({"format": "tokens"}, {}, "data.tokenization=cached"),
        ({}, {"tokens_per_step": 256}, "train.most_steps=1000"),
        ({}, {"tokens_per_step": 256, "most_steps": 9, "epochs": 1.5}, "whole epochs"),
    ],
)
def test_what_only_tokens_could_tell_is_refused_at_the_door(
    data: dict[str, Any], train_section: dict[str, Any], told: str
) -> None:
    sections = {"model": {"name": "x"}, "data": data | {"tokenization": "on_the_fly"}, "train": train_section}
    with pytest.raises(ValueError, match=told):
        Recipe.model_validate(sections)


def test_rows_of_tokens_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "data/rows.jsonl", [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}])
    with pytest.raises(LuthierError) as caught:
        run_of(tiny_base, tmp_path, "on_the_fly")
    assert (caught.value.code, caught.value.where) == ("cfg-conflict", "data.tokenization=on_the_fly")
