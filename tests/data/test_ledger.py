"""The ledger balances whatever the rows and the settings are, and training refuses one that does not."""

import json
import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data.stage import prepare
from luthier.floor.errors import DataError
from luthier.reports.data import DataReport
from luthier.reports.ledger import Account, StageBooks, check_ledger
from tests.data.preparing import make_recipe, make_run, store_of, write_rows

pytestmark = pytest.mark.slow

PROMPTS = ["What is two and two?", "what is two and two", "Name a colour.", "", "  ", "long " * 60]
ANSWERS = [
    "four",
    "",
    "\n\t ",
    "red, or blue",
    "a great many words " * 30,
    "<|im_end|>",
    "a\u200bb",
    "x" * 90,
]

pairs = st.lists(
    st.fixed_dictionaries({"prompt": st.sampled_from(PROMPTS), "completion": st.sampled_from(ANSWERS)}),
    max_size=14,
)
chats = st.lists(
    st.lists(
        st.builds(
            lambda asked, said: [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": said},
            ],
            st.sampled_from(PROMPTS),
            st.sampled_from(ANSWERS),
        ),
        max_size=2,
    ).map(lambda turns: {"messages": [message for turn in turns for message in turn]}),
    max_size=10,
)
texts = st.lists(st.fixed_dictionaries({"text": st.sampled_from([*PROMPTS, *ANSWERS])}), max_size=14)
GOOD: dict[str, dict[str, Any]] = {
    "pairs": {"prompt": "a sound row", "completion": "an answer"},
    "chats": {
        "messages": [{"role": "user", "content": "a sound row"}, {"role": "assistant", "content": "yes"}]
    },
    "texts": {"text": "a sound row of text"},
}
data_settings = st.fixed_dictionaries(
    {
        "max_length": st.integers(20, 60),
        "validation_fraction": st.sampled_from([0.0, 0.3]),
        "clean": st.sampled_from(
            [{}, {"preset": "guide"}, {"characters": True, "length": {"least_characters": 12}}]
        ),
        "dedup": st.sampled_from([{}, {"kind": "exact"}, {"kind": "near", "threshold": 0.5}]),
        "leaks": st.sampled_from([{}, {"validation": True}, {"validation": True, "found": "drop"}]),
    }
)


def dropped_of(report: DataReport) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(report.dropped_file).read_text().splitlines()]


def assert_the_books_are_right(report: DataReport) -> None:
    """They balance, the stores hold what they say, and dropped.jsonl names as many rows as they count."""
    check_ledger(report.ledger)
    lines = dropped_of(report)
    for books in report.ledger:
        own = [line for line in lines if (line["stage"], line.get("split")) == (books.stage, books.split)]
        assert Counter(line["reason"] for line in own if not line["is_kept"]) == books.rows.dropped
        for name in ("tokens", "trained_tokens"):
            account = getattr(books, name)
            told: Counter[str] = Counter()
            for line in own:
                told[line["reason"]] += line.get(name, 0)
            assert account is None or {r: n for r, n in told.items() if n} == account.dropped
    by_name = {books.name: books for books in report.ledger}
    store = store_of(report)
    fitted = by_name["fitted (train)"]
    assert fitted.tokens and fitted.trained_tokens
    assert (fitted.rows.kept, fitted.tokens.kept) == (store.rows, store.tokens)
    assert fitted.trained_tokens.kept == store.trained_tokens
    assert by_name["packed (train)"].tokens == Account(came_in=store.tokens, kept=store.tokens)


@pytest.mark.parametrize("kind", ["pairs", "chats", "texts"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_ledger_balances_under_any_mix_of_faults_and_policies(
    kind: str, data: st.DataObject, tiny_base: Path
) -> None:
    rows = data.draw({"pairs": pairs, "chats": chats, "texts": texts}[kind])
    chosen = data.draw(data_settings)
    policies = ["auto", "truncate", "truncate_left", "drop", "error"] + ["split"] * (kind == "texts")
    policy = data.draw(st.sampled_from(policies))
    folder = Path(tempfile.mkdtemp())
    try:
        write_rows(folder / "data" / "a.jsonl", [GOOD[kind], *rows, GOOD[kind]])
        recipe = make_recipe(tiny_base, folder, overlong=policy, **chosen)
        try:
            report = prepare(recipe, make_run(folder))
        except DataError as fault:
            allowed = {"data-untrained"} | ({"data-long"} if policy in ("auto", "error") else set())
            assert fault.code in allowed
            return
        assert report.ledger[0].rows.came_in == len(rows) + 2
        assert_the_books_are_right(report)
    finally:
        shutil.rmtree(folder)


accounts = st.builds(
    lambda kept, dropped, added: Account(
        came_in=kept + sum(dropped.values()) - added, added=added, kept=kept, dropped=dropped
    ),
    st.integers(50, 90),
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)),
    st.integers(0, 20),
)


@given(accounts, st.sampled_from(["came_in", "added", "kept"]), st.integers(1, 9))
def test_a_changed_number_is_told_with_the_two_that_differ(account: Account, name: str, by: int) -> None:
    assert account.fault("rows") is None
    changed = account.model_copy(update={name: getattr(account, name) + by})
    fault = changed.fault("rows")
    assert fault
    assert f"{changed.came_in + changed.added:,} came in" in fault
    assert f"{changed.kept + changed.left_out:,} were kept or dropped" in fault


def test_a_stage_must_take_in_what_the_one_before_kept() -> None:
    whole = Account(came_in=5, kept=5)
    less = Account(came_in=4, kept=4)
    ledger = [
        StageBooks(stage="read", rows=whole),
        StageBooks(stage="split", rows=whole),
        StageBooks(stage="rendered", split="train", rows=whole, tokens=whole),
        StageBooks(stage="fitted", split="train", rows=less, tokens=whole),
    ]
    with pytest.raises(DataError) as caught:
        check_ledger(ledger)
    assert caught.value.code == "data-books"
    assert "rendered (train) kept 5 rows, 4 came into fitted (train)" in str(caught.value)


def test_a_ledger_without_stages_is_no_ledger() -> None:
    with pytest.raises(DataError, match="lacks its stages"):
        check_ledger([])


def test_dropped_rows_are_named_with_stage_reason_and_place(tiny_base: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": "a", "completion": "an answer"},
        {"prompt": "b", "completion": " "},
        {"prompt": "c", "completion": "word " * 80},
    ]
    file = write_rows(tmp_path / "data" / "a.jsonl", rows)
    recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0, max_length=40, overlong="drop")
    report = prepare(recipe, make_run(tmp_path))
    empty, long = dropped_of(report)
    assert (empty["stage"], empty["reason"], empty["origin"]) == ("rendered", "empty completion", f"{file}:2")
    assert (long["stage"], long["reason"], long["origin"]) == (
        "fitted",
        "longer than max_length",
        f"{file}:3",
    )
    assert long["tokens"] > long["trained_tokens"] > 40
    assert os.path.getsize(file) == report.ledger[0].bytes


def test_the_default_refuses_a_large_cut_and_says_what_each_choice_costs(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"number {n}", "completion": f"{n} " * (5 + 10 * (n % 7 == 0))} for n in range(50)]
    write_rows(tmp_path / "data" / "a.jsonl", rows)
    with pytest.raises(DataError) as caught:
        prepare(make_recipe(tiny_base, tmp_path, max_length=30), make_run(tmp_path))
    fault = caught.value
    assert (fault.code, fault.where) == ("data-long", "data.max_length")
    assert "of the trained tokens" in fault.what
    truncate, left, drop, length = fault.problems
    assert truncate.startswith("data.overlong=truncate ")
    assert left.startswith("data.overlong=truncate_left")
    assert drop.startswith("data.overlong=drop")
    enough = int(length.split("=")[1].split()[0])
    report = prepare(make_recipe(tiny_base, tmp_path, max_length=enough), make_run(tmp_path, "long enough"))
    fitted = next(books for books in report.ledger if books.name == "fitted (train)")
    assert fitted.trained_tokens
    assert fitted.trained_tokens.left_out <= 0.01 * fitted.trained_tokens.came_in
    with pytest.raises(DataError):
        prepare(make_recipe(tiny_base, tmp_path, max_length=enough - 1), make_run(tmp_path, "too short"))


@pytest.mark.parametrize("policy", ["truncate", "truncate_left", "drop"])
def test_the_price_that_is_told_is_the_price_that_is_paid(
    policy: str, tiny_base: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"number {n}", "completion": f"{n} " * (5 + 3 * (n % 9))} for n in range(60)]
    write_rows(tmp_path / "data" / "a.jsonl", rows)
    with pytest.raises(DataError) as caught:
        prepare(make_recipe(tiny_base, tmp_path, max_length=40), make_run(tmp_path))
    line = next(line for line in caught.value.problems if line.startswith(f"data.overlong={policy} "))
    recipe = make_recipe(tiny_base, tmp_path, max_length=40, overlong=policy)
    report = prepare(recipe, make_run(tmp_path, policy))
    fitted = next(books for books in report.ledger if books.name == "fitted (train)")
    assert fitted.tokens and fitted.trained_tokens
    assert f" {fitted.trained_tokens.left_out:,} trained tokens lost" in line
    assert f" {fitted.tokens.left_out:,} tokens, {fitted.rows.left_out:,} rows" in line


def test_rows_are_split_by_a_field_that_no_format_uses(tiny_base: Path, tmp_path: Path) -> None:
    rows = [
        {"prompt": f"p{n}", "completion": "an answer", "author": n % 25, "topic": "ab"[n % 2]}
        for n in range(200)
    ]
    file = write_rows(tmp_path / "data" / "a.jsonl", rows)
    recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0.2, group_by="author")
    report = prepare(recipe, make_run(tmp_path))
    authors = [
        {rows[int(store.origin(row).rpartition(":")[2]) - 1]["author"] for row in range(store.rows)}
        for store in (store_of(report), store_of(report, "validation"))
    ]
    assert authors[0] | authors[1] == set(range(25))
    assert not authors[0] & authors[1]
    assert report.unused_fields == {"topic": 200}
    recipe = make_recipe(tiny_base, tmp_path, validation_fraction=0.2, stratify_by="topic")
    report = prepare(recipe, make_run(tmp_path, "stratified"))
    validation = store_of(report, "validation")
    topics = Counter(
        rows[int(validation.origin(row).rpartition(":")[2]) - 1]["topic"] for row in range(validation.rows)
    )
    assert topics == {"a": 20, "b": 20}
    assert str(file) in report.files


def test_a_row_without_the_field_to_split_by_is_refused_with_its_place(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = [{"prompt": f"p{n}", "completion": "c", "author": "me"} for n in range(5)]
    rows[2] = {"prompt": "p", "completion": "c", "autor": "me"}
    file = write_rows(tmp_path / "data" / "a.jsonl", rows)
    with pytest.raises(DataError, match=r"lacks the field 'author'.*did you mean autor") as caught:
        prepare(make_recipe(tiny_base, tmp_path, group_by="author"), make_run(tmp_path))
    assert (caught.value.code, caught.value.where) == ("data-field", f"{file}:3")
