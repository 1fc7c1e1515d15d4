"""Rows of tokens prepare to what the same rows give as text, whatever file they come in, and nothing of them is lost unseen."""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.cli.app import run_command
from luthier.data.stage import prepare
from luthier.floor.errors import DataError, RecipeError
from luthier.reports.data import DataReport
from luthier.text.render import Renderer, choose_template
from luthier.text.rows import read_held_out, read_rows
from luthier.text.tokenizer import load_tokenizer
from tests.data.preparing import make_recipe, make_run, pairs, store_of, write_rows

Record = dict[str, Any]
CHATS: list[Record] = [
    {
        "messages": [
            {"role": "user", "content": f"{n}?"},
            {"role": "assistant", "content": "no", "weight": n % 2},
            {"role": "user", "content": "sure?"},
            {"role": "assistant", "content": f"it is {n}"},
        ]
    }
    for n in range(12)
] + [{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "b"}]}]
TEXTS = [{"text": "word " * n} for n in range(1, 12)]
PAIRS: list[Record] = [*pairs(12), {"prompt": "a", "completion": "b"}]


def as_tokens(base: Path, file: Path, *, padded_to: int = 0) -> list[Record]:
    """The rows of a file, rendered and written down as Transformers' users have them."""
    rows = list(read_rows([file], "auto"))
    tokenizer = load_tokenizer(base)
    renderer = Renderer(tokenizer, template=choose_template("auto", rows[0].kind))
    written = []
    for rendered in map(renderer.render, rows):
        ids = rendered.ids
        padding = max(0, padded_to - len(ids))
        labels = [id if flag else -100 for id, flag in zip(ids, rendered.trained, strict=True)]
        written.append(
            {
                "input_ids": ids + [tokenizer.pad_token_id] * padding,
                "attention_mask": [1] * len(ids) + [0] * padding,
                "labels": labels + [-100] * padding,
            }
        )
    return written


def prepared(base: Path, folder: Path, rows: Sequence[object], **data: Any) -> DataReport:
    write_rows(folder / "data" / "rows.jsonl", rows)
    return prepare(make_recipe(base, folder, **{"validation_fraction": 0, **data}), make_run(folder))


@pytest.mark.parametrize("rows", [PAIRS, CHATS, TEXTS], ids=["pairs", "chats", "texts"])
@pytest.mark.parametrize("settings", [{}, {"overlong": "truncate_left", "max_length": 20}, {"overlong": "drop", "max_length": 30}], ids=["whole", "left", "drop"])  # fmt: skip
def test_tokens_prepare_to_what_their_rows_prepare_to(
    tiny_base: Path, tmp_path: Path, rows: list[Record], settings: Record
) -> None:
    text = prepared(tiny_base, tmp_path / "text", rows, **settings)
    written = as_tokens(tiny_base, tmp_path / "text" / "data" / "rows.jsonl", padded_to=100)
    tokens = prepared(tiny_base, tmp_path / "tokens", written, **settings)
    assert tokens.format == "tokens"
    assert tokens.train == text.train
    fitted = {stage.stage: stage for stage in tokens.ledger}["fitted"]
    assert fitted == {stage.stage: stage for stage in text.ledger}["fitted"]


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=6))
def test_any_pairs_prepare_to_the_same_as_tokens(
    tiny_base: Path, tmp_path: Path, said: list[tuple[str, str]]
) -> None:
    rows = [{"prompt": "a", "completion": "b"}]  # one at least has something to learn from
    rows += [{"prompt": f"Q {prompt}", "completion": f"A {answer}"} for prompt, answer in said]
    text = prepared(tiny_base, tmp_path / "text", rows, max_length=30, overlong="truncate")
    written = as_tokens(tiny_base, tmp_path / "text" / "data" / "rows.jsonl")
    tokens = prepared(tiny_base, tmp_path / "tokens", written, max_length=30, overlong="truncate")
    assert tokens.train == text.train


def test_tokens_of_text_are_split_as_text_is(tiny_base: Path, tmp_path: Path) -> None:
    text = prepared(tiny_base, tmp_path / "text", TEXTS, overlong="split", max_length=20)
    written = as_tokens(tiny_base, tmp_path / "text" / "data" / "rows.jsonl")
    tokens = prepared(tiny_base, tmp_path / "tokens", written, overlong="split", max_length=20)
    assert tokens.train == text.train and text.train.rows_added_by_splitting


def as_parquet(rows: list[Record]) -> bytes:
    arrow = pytest.importorskip("pyarrow", reason="the extra formats is not installed")
    from pyarrow import parquet

    sink = io.BytesIO()
    table = arrow.Table.from_pylist(rows)
    # int32 and int8, as `datasets` writes them
    schema = arrow.schema([("input_ids", arrow.list_(arrow.int32())), ("attention_mask", arrow.list_(arrow.int8())), ("labels", arrow.list_(arrow.int64()))])  # fmt: skip
    parquet.write_table(table.cast(schema), sink)
    return sink.getvalue()


def as_arrow(rows: list[Record]) -> bytes:
    arrow = pytest.importorskip("pyarrow", reason="the extra formats is not installed")
    sink = io.BytesIO()
    table = arrow.Table.from_pylist(rows)
    with arrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


FILES: dict[str, Callable[[list[Record]], bytes]] = {
    "rows.json": lambda rows: json.dumps(rows, indent=1).encode(),
    "rows.parquet": as_parquet,
    "rows.arrow": as_arrow,
}


@pytest.mark.parametrize("name", FILES)
def test_every_file_that_holds_lists_gives_the_same_tokens(
    tiny_base: Path, tmp_path: Path, name: str
) -> None:
    lines = prepared(tiny_base, tmp_path / "text", pairs(9))
    written = as_tokens(tiny_base, tmp_path / "text" / "data" / "rows.jsonl", padded_to=60)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / name).write_bytes(FILES[name](written))
    recipe = make_recipe(tiny_base, tmp_path, pattern="rows.*", validation_fraction=0, format="tokens")
    assert prepare(recipe, make_run(tmp_path)).train.fingerprint == lines.train.fingerprint


def test_padding_stands_in_the_ledger_and_in_the_list_of_what_went(tiny_base: Path, tmp_path: Path) -> None:
    rows = [
        {"input_ids": [5, 6, 7, 0, 0], "labels": [-100, 6, 7, -100, -100], "attention_mask": [1, 1, 1, 0, 0]},
        {"input_ids": [5, 6], "labels": [5, 6]},
        {"input_ids": [5, 6], "labels": [-100, -100]},
        {"input_ids": []},
    ]
    report = prepared(tiny_base, tmp_path, rows)
    rendered = {stage.stage: stage for stage in report.ledger}["rendered"]
    assert rendered.rows.dropped == {"no tokens": 1}
    assert rendered.tokens is not None and rendered.trained_tokens is not None
    assert rendered.tokens.dropped == {"padding of a row that came as tokens": 2}
    assert (rendered.tokens.came_in, rendered.tokens.kept, rendered.trained_tokens.kept) == (9, 7, 3)
    assert report.train.dropped == {"no tokens": 1, "no trained token": 1}
    assert [store_of(report).trained(row).tolist() for row in range(2)] == [
        [False, True, True],
        [False, True],
    ]
    assert report.dropped_file
    noted = [json.loads(line) for line in Path(report.dropped_file).read_text().splitlines()]
    assert [(each["origin"].split(":")[1], each["reason"], each["is_kept"]) for each in noted] == [
        ("4", "no tokens", False),
        ("1", "padding of a row that came as tokens", True),
        ("3", "no trained token", False),
    ]


def test_rows_that_ask_the_same_are_on_one_side(tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"input_ids": [20, n % 7, 30, n], "labels": [-100, -100, 30, n]} for n in range(200)]
    report = prepared(tiny_base, tmp_path, rows, validation_fraction=0.3)
    sides = {}
    for split in ("train", "validation"):
        store = store_of(report, split)
        sides[split] = {tuple(store.ids(row)[:2].tolist()) for row in range(store.rows)}
    assert sides["train"] and sides["validation"] and not sides["train"] & sides["validation"]


@pytest.mark.parametrize(
    "data, key",
    [
        ({"clean": {"preset": "standard"}}, "data.clean"),
        ({"clean": {"length": {"least_words": 2}}}, "data.clean"),
        ({"leaks": {"validation": True}}, "data.leaks"),
        ({"dedup": {"kind": "semantic", "model": "m"}}, "data.dedup.kind=semantic"),
    ],
)
def test_what_works_on_text_says_that_it_cannot(
    tiny_base: Path, tmp_path: Path, data: Record, key: str
) -> None:
    with pytest.raises(RecipeError, match="works on text, and the rows are tokens") as caught:
        prepared(tiny_base, tmp_path, [{"input_ids": [5, 6]}], **data)
    assert caught.value.where == key


@pytest.mark.parametrize("kind, kept", [("exact", 3), ("near", 2)])
def test_repeats_are_found_by_ids_and_mask(tiny_base: Path, tmp_path: Path, kind: str, kept: int) -> None:
    ids = list(range(10, 60))
    rows = [{"input_ids": ids}, {"input_ids": ids}, {"input_ids": [*ids, 9]}, {"input_ids": [7, 8, 9]}]
    report = prepared(tiny_base, tmp_path, rows, dedup={"kind": kind})
    assert report.train.rows_kept == kept


def test_held_out_rows_of_tokens_are_refused_and_validation_rows_are_not(
    tiny_base: Path, tmp_path: Path
) -> None:
    file = write_rows(tmp_path / "held.jsonl", [{"input_ids": [5, 6, 7]}])
    recipe = make_recipe(tiny_base, tmp_path)
    with pytest.raises(DataError, match="the held-out rows are tokens"):
        list(read_held_out(file, recipe.data, "auto"))
    report = prepared(tiny_base, tmp_path, [{"input_ids": [1, 2]}], validation_path=str(file))
    assert report.validation and report.validation.tokens == 3


def test_show_spells_the_tokens_and_check_tells_of_what_is_wrong(
    tiny_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "text.jsonl", pairs(3))
    rows = as_tokens(tiny_base, tmp_path / "text.jsonl")
    write_rows(tmp_path / "rows.jsonl", rows)
    (tmp_path / "mine.yaml").write_text(f"model: {{name: {tiny_base}}}\ndata: {{path: rows.jsonl, validation_fraction: 0}}\n")  # fmt: skip
    assert run_command(["data", "show", "mine", "--row", "0"]) == 0
    shown = capsys.readouterr().out
    assert "What is number 0?" in shown and "It is 0." in shown
    write_rows(tmp_path / "rows.jsonl", [*rows, rows[0], {"input_ids": [1, 2], "labels": [3, 4]}])
    assert run_command(["data", "check", "rows.jsonl", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert sorted((each["line"], each["kind"]) for each in findings) == [
        (4, "duplicate"),
        (4, "guide-duplicates"),
        (5, "refused"),
    ]


def test_a_search_for_leaks_refuses_tokens(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = write_rows(tmp_path / "a.jsonl", [{"input_ids": [1, 2, 3]}])
    suite = write_rows(tmp_path / "b.jsonl", pairs(3))
    assert run_command(["data", "leaks", str(rows), "--against", str(suite)]) == 3
    assert "the rows are tokens" in capsys.readouterr().err


def test_ids_mean_nothing_and_are_not_compared_by_meaning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("model2vec", reason="the extra semantic is not installed")
    from tests.data.dedup.test_semantic import make_model

    rows = write_rows(tmp_path / "a.jsonl", [{"input_ids": [1, 2, 3]}, {"input_ids": [4, 5, 6]}])
    model = make_model(tmp_path / "static")
    assert run_command(["data", "dedup", str(rows), "--semantic", str(model)]) == 3
    assert "the rows are tokens, and meanings are those of words" in capsys.readouterr().err
