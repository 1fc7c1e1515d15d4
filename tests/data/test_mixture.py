"""Sources are mixed as their weights say, the same way every time, and the books tell what each gave."""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.data import ColumnsConfig, DataConfig, SourceConfig
from luthier.data.mixture import NOT_DRAWN, Mixture
from luthier.data.sources import Source, find_sources
from luthier.data.stage import prepare
from luthier.floor.errors import DataError
from luthier.floor.log import Silent
from luthier.reports.ledger import check_ledger
from luthier.text.rows import FileSet, Row, read_held_out
from tests.data.preparing import make_recipe, make_run, pairs, store_of, write_rows


def mixture_of(weight: float) -> Mixture:
    return Mixture([Source("one", FileSet((Path("a.jsonl"),)), weight)])


def row(number: int, line: int = 1) -> Row:
    return Row("prompt_completion", f"a.jsonl:{line}", f"What is {number}?", f"It is {number}.")


@settings(deadline=None)
@given(weight=st.floats(0.01, 20), numbers=st.lists(st.integers(0, 50), max_size=60))
def test_a_row_is_seen_as_often_as_the_weight_says_whatever_stands_around_it(
    weight: float, numbers: list[int]
) -> None:
    mixture = mixture_of(weight)
    copies = [mixture.copies(row(number, at + 1), is_validation=False) for at, number in enumerate(numbers)]
    assert all(int(weight) <= count <= int(weight) + 1 for count in copies)
    alone = [mixture_of(weight).copies(row(number), is_validation=False) for number in numbers]
    assert copies == alone
    account = mixture.account(came_in=len(numbers))
    assert account.fault("rows") is None
    assert account.kept == sum(copies)


@pytest.mark.parametrize("weight", [0.25, 0.5, 1.75])
def test_the_share_drawn_is_the_weight(weight: float) -> None:
    mixture = mixture_of(weight)
    seen = sum(mixture.copies(row(number), is_validation=False) for number in range(10_000))
    assert seen == pytest.approx(10_000 * weight, rel=0.05)


def test_validation_rows_are_not_repeated() -> None:
    assert mixture_of(3).copies(row(1), is_validation=True) == 1


@pytest.fixture
def mixed(tmp_path: Path) -> list[dict[str, Any]]:
    """Three sources of different formats and weights."""
    write_rows(tmp_path / "a.jsonl", pairs(40))
    with open(tmp_path / "b.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["Frage", "Antwort", "id"])
        writer.writerows([f"Was ist {n}?", f"Das ist {n}.", n] for n in range(80))
    write_rows(tmp_path / "c" / "rows.jsonl", [{"question": f"Que es {n}?", "answer": n} for n in range(10)])
    columns = {"prompt": "Frage", "completion": "Antwort"}
    return [
        {"path": str(tmp_path / "a.jsonl"), "weight": 2, "name": "english"},
        {"path": str(tmp_path / "b.csv"), "weight": 0.25, "columns": columns, "name": "german"},
        {"path": str(tmp_path / "c"), "name": "spanish"},
    ]


def test_a_mixture_is_prepared_and_told(tmp_path: Path, tiny_base: Path, mixed: list[dict[str, Any]]) -> None:
    recipe = make_recipe(tiny_base, tmp_path, sources=mixed, validation_fraction=0.0)
    report = prepare(recipe, make_run(tmp_path))
    english, german, spanish = (report.sources[name] for name in ("english", "german", "spanish"))
    assert (english.rows_in, english.rows_repeated, english.train_rows) == (40, 40, 80)
    assert (german.rows_in, german.rows_not_drawn + german.train_rows) == (80, 80)
    assert 8 <= german.train_rows <= 34
    assert (spanish.weight, spanish.train_rows) == (1, 10)
    assert sum(each.train_tokens for each in report.sources.values()) == report.train.tokens
    assert sum(each.train_trained_tokens for each in report.sources.values()) == report.train.trained_tokens
    assert sum(each.token_share for each in report.sources.values()) == pytest.approx(1)
    check_ledger(report.ledger)
    split = next(books for books in report.ledger if books.stage == "split")
    assert (split.rows.added, split.rows.dropped) == (40, {NOT_DRAWN: german.rows_not_drawn})
    assert report.unused_fields == {"id": 80}
    store = store_of(report)
    origins = Counter(store.origin(number) for number in range(store.rows))
    assert origins[f"{tmp_path / 'a.jsonl'}:1"] == 2


def test_the_same_mixture_is_found_again_and_another_is_not(
    tmp_path: Path, tiny_base: Path, mixed: list[dict[str, Any]]
) -> None:
    first = prepare(make_recipe(tiny_base, tmp_path, sources=mixed), make_run(tmp_path))
    again = prepare(make_recipe(tiny_base, tmp_path, sources=mixed), make_run(tmp_path, "again"))
    assert again.was_cached
    assert again.sources == first.sources
    mixed[1]["weight"] = 0.5
    other = prepare(make_recipe(tiny_base, tmp_path, sources=mixed), make_run(tmp_path, "other"))
    assert not other.was_cached
    assert other.sources["german"].train_rows > first.sources["german"].train_rows


def test_a_plain_path_keeps_the_name_of_its_tokens(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", pairs(3))
    assert find_sources(DataConfig(path=str(path), validation_path=str(path)), Silent()).key() == []
    other = DataConfig(path=str(path), columns=ColumnsConfig(prompt=("prompt",), completion=("completion",)))
    assert find_sources(other, Silent()).key() != []


def fault_of(*sources: SourceConfig) -> DataError:
    with pytest.raises(DataError) as caught:
        find_sources(DataConfig(sources=sources), Silent())
    return caught.value


def test_sources_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    rows = str(write_rows(tmp_path / "a.jsonl", pairs(3)))
    texts = str(write_rows(tmp_path / "b.jsonl", [{"text": "t"}]))
    twice = fault_of(SourceConfig(path=rows), SourceConfig(path=rows))
    assert "two sources are called" in twice.what
    overlap = fault_of(SourceConfig(path=rows), SourceConfig(path=str(tmp_path), name="all"))
    assert "is in two sources" in overlap.what
    kinds = fault_of(SourceConfig(path=rows), SourceConfig(path=texts))
    assert kinds.problems == (f"{rows}: prompt_completion", f"{texts}: text")
    assert {twice.code, overlap.code, kinds.code} == {"data-source"}


def test_a_source_without_rows_is_refused(tmp_path: Path) -> None:
    rows = str(write_rows(tmp_path / "a.jsonl", pairs(3)))
    (tmp_path / "b.csv").write_text("prompt,completion\n")
    assert fault_of(SourceConfig(path=rows), SourceConfig(path=str(tmp_path / "b.csv"))).code == "data-empty"


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("question,answer\na,b\n")
    columns = ColumnsConfig(prompt=("qestion",), completion=("answer",))
    fault = fault_of(SourceConfig(path=str(tmp_path / "b.csv"), columns=columns))
    assert fault.what == "lacks the column 'qestion'; it has: question, answer; did you mean question?"
    assert fault.where == f"{tmp_path / 'b.csv'}:2"


def test_rows_to_judge_by_are_read_by_the_same_columns_where_they_have_them(tmp_path: Path) -> None:
    data = DataConfig(columns=ColumnsConfig(prompt=("Frage",), completion=("Antwort",)))
    (tmp_path / "test.csv").write_text("Frage,Antwort\nWas?,Das.\n", encoding="utf-8")
    rows = write_rows(tmp_path / "test.jsonl", pairs(1))
    assert [row.prompt for row in read_held_out(tmp_path / "test.csv", data, "auto")] == ["Was?"]
    assert [row.prompt for row in read_held_out(rows, data, "auto")] == ["What is number 0?"]
