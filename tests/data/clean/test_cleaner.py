"""The cleaner's books balance, and what it did can be looked at."""

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.clean import CleanConfig
from luthier.data.clean.cleaner import Cleaner, open_cleaner
from luthier.data.clean.ledger import DIFF, DROPPED, EDITS, FOLDER
from luthier.data.clean.presets import make_filters
from luthier.data.clean.samples import SAMPLES_A_FILTER, EditSample, Samples, diff_of
from luthier.data.clean.tell import cleaning_lines, cleaning_summary
from luthier.encoding.books import why_empty
from luthier.floor.errors import Interrupted
from luthier.floor.stop import StopFlag
from luthier.reports.data import CleaningCounts
from luthier.text.rows import Row
from tests.data.clean.cleaning import chat_row, pair_row, run, text_row

STANDARD = {"preset": "standard"}
TOKEN = "hf_" + "abcdefghij" * 3
TEXTS = st.text(st.sampled_from("ab \n\u200b\ufeffÃ©@.1"), max_size=12)
ROWS = st.one_of(
    st.builds(pair_row, TEXTS, TEXTS), st.builds(text_row, TEXTS), st.lists(TEXTS, max_size=3).map(lambda each: chat_row(*each))
)  # fmt: skip


def clean_to(folder: Path, settings: dict[str, object], rows: list[Row]) -> CleaningCounts:
    """Clean the rows with a ledger below `folder`."""
    filters = make_filters(CleanConfig.model_validate(settings))
    with open_cleaner(filters, folder, StopFlag()) as cleaner:
        list(cleaner.clean(iter(rows)))
        counts = cleaner.counts()
    assert counts is not None
    return counts


def read(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@given(
    st.lists(ROWS, max_size=8),
    st.sampled_from([STANDARD, {"preset": "guide", "length": {"least_characters": 3}}]),
)
@settings(max_examples=200)
def test_rows_in_are_rows_kept_and_rows_left_out_and_no_kept_row_is_empty(
    rows: list[Row], chosen: dict[str, object]
) -> None:
    # A place of its own for each, or an edited row may equal another one that came in.
    rows = [replace(row, origin=f"f.jsonl:{line}") for line, row in enumerate(rows, start=1)]
    kept, counts = run(chosen, *rows)
    dropped = sum(sum(each.dropped.values()) for each in counts.filters.values())
    assert counts.rows_in == len(rows) == counts.rows_kept + dropped
    assert counts.rows_kept == len(kept)
    assert [why_empty(row) for row in kept] == [None] * len(kept)
    assert counts.rows_edited == sum(row not in rows for row in kept)


def test_without_filters_the_very_rows_come_back_and_nothing_is_written(tmp_path: Path) -> None:
    filters = make_filters(CleanConfig())
    assert filters == []
    with open_cleaner(filters, tmp_path, StopFlag()) as cleaner:
        rows = iter([text_row("  a\u200b ")])
        assert cleaner.clean(rows) is rows
        assert cleaner.counts() is None
    assert list(tmp_path.iterdir()) == []


def test_edits_are_counted_by_filter_row_and_text() -> None:
    _, counts = run(
        STANDARD, pair_row(" a ", "b\u200b "), pair_row("c", "d", 2), chat_row(" e", "f ", line=3)
    )
    assert (counts.rows_in, counts.rows_kept, counts.rows_edited) == (3, 3, 2)
    space, characters = counts.filters["white_space"], counts.filters["characters"]
    assert (space.rows_edited, space.texts_edited, space.characters_removed) == (2, 4, 5)
    assert (characters.rows_edited, characters.texts_edited, characters.characters_removed) == (1, 1, 1)
    assert counts.filters["repair"].rows_edited == 0


@pytest.mark.parametrize(
    "row, name, reason",
    [
        (pair_row("a", "  "), "empty", "empty completion"),
        (pair_row("", "b"), "empty", "empty prompt"),
        (chat_row("a"), "empty", "no answer"),
        (pair_row("a", "\u200b"), "characters", "empty completion"),
        (chat_row("a", "\ufeff"), "characters", "no answer"),
        (chat_row("\ufeff", "b"), "characters", "empty message"),
        (text_row("\u00ad\u200b"), "characters", "empty text"),
    ],
)
def test_a_row_that_becomes_empty_is_left_out_by_the_filter_that_emptied_it(
    row: Row, name: str, reason: str
) -> None:
    kept, counts = run(STANDARD, row)
    assert kept == []
    assert {each: books.dropped for each, books in counts.filters.items() if books.dropped} == {
        name: {reason: 1}
    }


def test_every_row_left_out_is_written_down_with_its_place_filter_and_reason(tmp_path: Path) -> None:
    rows = [text_row("long enough", 1), text_row("\u200b", 2), text_row("ab", 3)]
    clean_to(tmp_path, STANDARD | {"length": {"least_characters": 3}}, rows)
    assert read(tmp_path / FOLDER / DROPPED) == [
        {"origin": "f.jsonl:2", "filter": "characters", "reason": "empty text", "detail": "text"},
        {
            "origin": "f.jsonl:3",
            "filter": "length",
            "reason": "fewer than 3 characters",
            "detail": "2 characters",
        },
    ]


def test_samples_are_bounded_from_everywhere_and_the_same_every_time(tmp_path: Path) -> None:
    rows = [text_row(f"row {line}  ", line) for line in range(1, 2001)]
    for folder in ("a", "b"):
        clean_to(tmp_path / folder, STANDARD, rows)
    samples = read(tmp_path / "a" / FOLDER / EDITS)
    assert len(samples) == SAMPLES_A_FILTER
    lines = sorted(int(sample["origin"].split(":")[1]) for sample in samples)
    assert lines[0] < 1000 < lines[-1], "not the first rows alone"
    for name in (EDITS, DIFF):
        assert (tmp_path / "a" / FOLDER / name).read_bytes() == (tmp_path / "b" / FOLDER / name).read_bytes()
    assert (tmp_path / "a" / FOLDER / DIFF).read_text().count("+++ after white_space") == SAMPLES_A_FILTER


def test_a_sample_is_a_diff_with_the_invisible_spelt_out() -> None:
    sample = EditSample("characters", "f.jsonl:7", "prompt", "same\na\u200bb  ", "same\nab  ")
    assert diff_of(sample).splitlines() == [
        "--- f.jsonl:7 prompt", "+++ after characters", "@@ -1,2 +1,2 @@", " same", "-a\\u200bb··", "+ab··",
    ]  # fmt: skip


def test_a_long_text_is_shown_around_its_first_change() -> None:
    samples = Samples(lambda text: text)
    samples.offer("x", "f:1", [("text", "a" * 5000 + " b" + "c" * 5000, "a" * 5000 + "b" + "c" * 5000)])
    (sample,) = samples.in_order()
    assert len(sample.before) <= 300
    assert " b" in sample.before


@pytest.mark.parametrize("action", ["report", "mask"])
def test_no_sample_holds_what_is_personal_or_secret(tmp_path: Path, action: str) -> None:
    rows = [pair_row(f"  my token is {TOKEN}, I am ann@example.org ", "ok")]
    clean_to(tmp_path, STANDARD | {"personal": {"action": action}}, rows)
    for name in (EDITS, DIFF, DROPPED):
        text = (tmp_path / FOLDER / name).read_text(encoding="utf-8")
        assert TOKEN not in text
        assert "ann@" not in text
    assert "[SECRET]" in (tmp_path / FOLDER / DIFF).read_text(encoding="utf-8")


def test_no_sample_holds_a_token_even_where_nobody_looks_for_personal_data(tmp_path: Path) -> None:
    clean_to(tmp_path, STANDARD | {"personal": {"action": "off"}}, [text_row(f"  token {TOKEN} ")])
    text = (tmp_path / FOLDER / EDITS).read_text(encoding="utf-8")
    assert "hf_***" in text
    assert TOKEN not in text


def test_the_books_in_words_name_what_did_something_and_nothing_else() -> None:
    _, counts = run(STANDARD, text_row(" a ann@example.org "), text_row("b", 2), text_row("\u200b", 3))
    assert cleaning_summary(counts) == "3 rows, 1 edited and kept, 1 left out"
    assert cleaning_lines(counts) == [
        "characters: 1 row left out (empty text 1)",
        "white_space: 1 row edited",
        "personal: found email 1",
    ]


def test_a_stop_is_heard_though_every_row_is_left_out() -> None:
    stop = StopFlag()
    filters = make_filters(CleanConfig.model_validate({"length": {"least_characters": 100}}))

    def endless() -> object:
        while True:
            stop.set(signal.SIGINT)
            yield text_row("short")

    with pytest.raises(Interrupted, match="cleaning"):
        list(Cleaner(filters, stop=stop).clean(endless()))  # type: ignore[arg-type]
