"""The dry run of a preparation: what it says is what the preparation does, and nothing is written."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from luthier.data.foresee import DRAWN_ROWS, count_rows
from luthier.data.stage import foresee, prepare
from luthier.floor.errors import DataError, UsageError
from luthier.floor.log import Recorder, Silent
from luthier.floor.stop import StopFlag
from luthier.text.rows import Row
from tests.cli.workshop import luthier
from tests.data.preparing import make_recipe, make_run

ROWS = [{"prompt": f"What is number {n}?", "completion": f"It is {n * n}."} for n in range(60)]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def test_a_dry_run_names_the_place_and_the_tokens_of_the_preparation(
    rows: Path, tiny_base: Path, tmp_path: Path
) -> None:
    recipe = make_recipe(tiny_base, tmp_path, overlong="truncate")
    before = sorted(tmp_path.rglob("*"))
    plan = foresee(recipe)
    assert sorted(tmp_path.rglob("*")) == before
    assert (plan.rows, plan.files, plan.is_prepared) == (60, {str(rows): rows.stat().st_size}, False)
    report = prepare(recipe, make_run(tmp_path))
    assert plan.store == report.store
    assert (plan.template, plan.format) == (report.template, report.format)
    assert plan.guessed
    read = next(books for books in report.ledger if books.name == "rendered (train)")
    held_out = next((b for b in report.ledger if b.name == "rendered (validation)"), None)
    whole = [books for books in (read, held_out) if books]
    assert plan.guessed.tokens == sum(b.tokens.came_in for b in whole if b.tokens), "all rows were drawn"
    assert plan.guessed.trained_tokens == sum(b.trained_tokens.came_in for b in whole if b.trained_tokens)
    assert foresee(recipe).is_prepared


def test_steps_are_told_in_their_order(rows: Path, tiny_base: Path, tmp_path: Path) -> None:
    recipe = make_recipe(
        tiny_base, tmp_path, dedup={"kind": "exact"}, leaks={"validation": True}, validation_fraction=0.2
    )
    assert foresee(recipe).steps[-4:] == [
        "leave out repeats: exact",
        "look for questions of the validation rows: warn",
        "set 0.2 of the rows apart to validate on",
        f"rows beyond {recipe.data.max_length:,} tokens: {recipe.data.overlong}",
    ]


def test_a_row_that_cannot_be_read_is_named(rows: Path, tiny_base: Path, tmp_path: Path) -> None:
    rows.write_text(rows.read_text() + '{"prompt": 1, "completion": "x"}\n')
    with pytest.raises(DataError) as caught:
        foresee(make_recipe(tiny_base, tmp_path))
    assert caught.value.where == f"{rows}:61"


def test_a_dataset_of_the_hub_is_not_fetched(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a dry run fetches nothing"):
        foresee(make_recipe(tiny_base, tmp_path, path="some-owner/some-rows"))


def test_of_many_rows_a_bounded_number_is_held_each_with_the_same_chance() -> None:
    def many() -> Iterator[Row]:
        return (Row("text", f"a:{n}", text=f"{n:06}") for n in range(20_000))

    listener = Recorder()
    found = count_rows(many(), total_bytes=10**6, seed=1, listener=listener, stop=StopFlag())
    assert (found.rows, found.size, len(found.drawn)) == (20_000, 120_000, DRAWN_ROWS)
    mean = sum(int(row.text) for row in found.drawn) / DRAWN_ROWS
    assert abs(mean - 10_000) < 4 * 20_000 / (12 * DRAWN_ROWS) ** 0.5
    again = count_rows(many(), total_bytes=10**6, seed=1, listener=Silent(), stop=StopFlag())
    assert again.drawn == found.drawn


def test_the_command_says_what_would_be_done(rows: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("model_name: embedded\ndata: {path: data}\n")
    done = luthier(tmp_path, "prepare", "mine.yaml", "--dry-run")
    assert done.code == 0, done.said
    assert f"read        data/{rows.name}, " in done.out
    assert "rows        60 rows of prompt_completion, by the guide template" in done.out
    assert "Nothing was written" in done.out
    assert not (tmp_path / "outputs").exists()
    refused = luthier(tmp_path, "prepare", "mine.yaml", "--dry-run", "--run", "x")
    assert refused.code == 2
    assert "--dry-run opens no run" in refused.err
