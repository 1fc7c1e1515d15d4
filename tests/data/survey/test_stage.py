"""The numbers of the page are those of the store."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.dedup.stage import DedupTask, dedup
from luthier.data.survey import languages as languages_file
from luthier.data.survey.languages import count_languages
from luthier.data.survey.lengths import count_lengths
from luthier.data.survey.ngrams import FrequentRuns, count_ngrams, words_of
from luthier.data.survey.origins import text_of
from luthier.data.survey.pairs import GONE
from luthier.data.survey.stage import survey
from luthier.floor.errors import EnvironmentFault
from luthier.tokens.store import StoreWriter, TokenStore
from tests.data.preparing import pairs, write_rows
from tests.data.survey.surveying import HOSTILE, chats, hostile_rows, prepared, surveyed


def test_every_number_adds_up_to_the_store(tiny_base: Path, tmp_path: Path) -> None:
    recipe, report = prepared(tiny_base, tmp_path, pairs(40))
    found = survey(recipe, report, title="rows")
    train = found.splits[0]
    assert (train.rows, train.tokens) == (report.train.rows_kept, report.train.tokens)
    assert sum(each.rows for each in found.lengths.bins) == train.rows
    assert sum(each.tokens for each in found.sources) == train.tokens
    assert sum(each.trained_tokens for each in found.sources) == train.trained_tokens
    assert found.ledger == report.ledger
    assert found.sample_of == "all"


def test_the_rows_shown_are_the_stored_tokens(tiny_base: Path, tmp_path: Path) -> None:
    found = surveyed(tiny_base, tmp_path, hostile_rows())
    assert len(found.rows) == len(hostile_rows())
    said = ["".join(row.tokens) for row in found.rows]
    for text in HOSTILE:
        assert any(text in each for each in said), text
    for row in found.rows:
        assert len(row.tokens) == len(row.trained) == row.token_count
        assert row.trained.count("1") == row.trained_count
    trained = {
        "".join(text for text, mark in zip(row.tokens, row.trained, strict=True) if mark == "1")
        for row in found.rows
    }
    assert f"{HOSTILE[0]}<|endoftext|>" in trained


def test_roles_are_counted_by_who_speaks(tiny_base: Path, tmp_path: Path) -> None:
    found = surveyed(tiny_base, tmp_path, chats(20), validation_fraction=0.0)
    roles = {each.role: each for each in found.roles}
    assert {name: each.turns for name, each in roles.items()} == {"assistant": 20, "user": 20, "system": 10}
    assert roles["assistant"].tokens_of_learnt_turns == roles["assistant"].tokens
    assert roles["user"].tokens_of_learnt_turns == roles["system"].tokens_of_learnt_turns == 0


def test_boilerplate_stands_out_and_control_tokens_are_no_words(tiny_base: Path, tmp_path: Path) -> None:
    found = surveyed(tiny_base, tmp_path, chats(20), validation_fraction=0.0)
    assert [table.n for table in found.ngrams] == [1, 2, 3, 4, 5]
    five = found.ngrams[4].top[0]
    assert (five.text, five.count, five.rows) == ("here is what i know", 20, 20)
    assert not any("im_end" in each.text or "endoftext" in each.text for t in found.ngrams for each in t.top)


def test_what_is_cut_off_is_in_the_lengths(tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"prompt": "p", "completion": "x" * length} for length in (3, 5, 90)]
    recipe, report = prepared(
        tiny_base, tmp_path, rows, max_length=32, overlong="truncate", validation_fraction=0.0
    )
    found = survey(recipe, report, title="rows").lengths
    assert (found.rows_cut, found.max_length) == (1, 32)
    assert found.tokens_lost == found.longest - 32
    assert found.trained_tokens_lost == report.train.trained_tokens_lost
    assert found.costs[-1].max_length == 32
    assert found.costs[-1].trained_tokens_lost == found.trained_tokens_lost


@given(lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=60), max_length=st.integers(1, 4000))
def test_every_row_is_in_one_bin_and_the_cost_of_a_cut_is_exact(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], max_length: int
) -> None:
    folder = tmp_path_factory.mktemp("store") / "train"
    stored = [min(length, max_length) for length in lengths]
    trained = [[place % 3 == 1 for place in range(length)] for length in lengths]
    lost = [(n - s, sum(t[s:])) for n, s, t in zip(lengths, stored, trained, strict=True)]
    with StoreWriter(folder, is_synced=False) as writer:
        writer.append_block(
            np.zeros(sum(stored), dtype=np.int64),
            np.concatenate([mask[:s] for mask, s in zip(trained, stored, strict=True)]),
            np.array(stored),
            [f"f:{number}" for number in range(1, len(stored) + 1)],
            lost_N2=np.array(lost),
        )
    found = count_lengths(
        TokenStore.open(folder), max_length, trained_tokens_lost=sum(each[1] for each in lost) + 5
    )
    assert found.trained_tokens_gone == 5
    for each in found.bins:
        assert each.rows == sum(each.low <= length <= each.high for length in lengths)
    assert sum(each.rows for each in found.bins) == len(lengths)
    assert len(found.bins) <= 80
    for cost in found.costs:
        assert cost.tokens_lost == sum(max(0, length - cost.max_length) for length in lengths)
        assert cost.trained_tokens_lost == sum(sum(mask[cost.max_length :]) for mask in trained)
        assert cost.rows_cut == sum(length > cost.max_length for length in lengths)


@given(
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=30), max_size=30),
    st.integers(1, 3),
    st.integers(4, 40),
)
def test_bounded_counts_are_never_too_high_and_too_low_by_no_more_than_they_say(
    rows: list[list[str]], n: int, most_held: int
) -> None:
    counter = FrequentRuns(n, most_held=most_held)
    for number, words in enumerate(rows):
        counter.add(words, number)
    exact: dict[str, int] = {}
    for words in rows:
        for start in range(len(words) - n + 1):
            run = " ".join(words[start : start + n])
            exact[run] = exact.get(run, 0) + 1
    table = counter.top(1000)
    shown = {each.text: each.count for each in table.top}
    for run, count in exact.items():
        assert shown.get(run, 0) <= count
        if count > table.most_missed + 1:
            assert shown[run] >= count - table.most_missed


def test_words_keep_the_signs_that_join_them() -> None:
    assert words_of("Don't SHOUT, twenty-one ___ Ünï 3.5") == [
        "don't",
        "shout",
        "twenty-one",
        "ünï",
        "3",
        "5",
    ]
    (one, *_) = count_ngrams([(0, "b a b a")])
    assert [(each.text, each.count, each.rows) for each in one.top] == [("a", 2, 1), ("b", 2, 1)]


def test_languages_are_told_apart_or_it_is_said_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lingua")
    texts = ["Der schnelle braune Fuchs springt über den faulen Hund."] * 2 + [
        "The quick brown fox jumps over the lazy dog near the river.",
        "ok",
    ]
    shares, told = count_languages(texts)
    assert {each.language: each.rows for each in shares} == {
        "German": 2,
        "English": 1,
        "too short or unsure": 1,
    }
    assert "4 rows" in told

    def missing(config: object) -> None:
        raise EnvironmentFault("env-extra", "no lingua", fix="Install it: pip install x, or leave it")

    monkeypatch.setattr(languages_file, "language_filter", missing)
    assert count_languages(texts) == (
        [],
        "Languages were not told apart: no lingua. Install it: pip install x.",
    )


def test_pairs_come_from_a_deduplication_of_the_same_files(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [*pairs(10), pairs(10)[3]]
    recipe, report = prepared(tiny_base, tmp_path, rows)
    nothing = survey(recipe, report, title="rows")
    assert not nothing.repeats.pairs
    assert "luthier data dedup FILE --show" in nothing.repeats.told
    write_rows(tmp_path / "test.jsonl", [pairs(10)[5]])
    (file,) = report.files
    task = DedupTask(
        sources=(Path(file),), against=(tmp_path / "test.jsonl",), exact_only=True,
        out=Path("outputs/dedup/rows.jsonl"), pairs_shown=9,
    )  # fmt: skip
    dedup(task)
    dedup(DedupTask((Path(file),), exact_only=True, out=Path("outputs/dedup/all.jsonl"), pairs_shown=9))
    found = survey(recipe, report, title="rows")
    assert (found.repeats.found, len(found.repeats.pairs)) == (1, 1)
    pair = found.repeats.pairs[0]
    assert (pair.row.rpartition(":")[2], pair.other.rpartition(":")[2]) == ("4", "11")
    assert "What is number 3?" in pair.text
    assert found.leaks.found == 1
    assert found.leaks.pairs[0].row.endswith("test.jsonl:1")


def test_repeats_are_those_that_the_preparation_left_out(tiny_base: Path, tmp_path: Path) -> None:
    rows = [*pairs(10), pairs(10)[3]]
    recipe, report = prepared(tiny_base, tmp_path, rows, dedup={"kind": "exact"})
    found = survey(recipe, report, title="rows").repeats
    assert (found.found, found.told) == (1, "Left out while the rows were prepared.")
    (pair,) = found.pairs
    assert (pair.row.rpartition(":")[2], pair.other.rpartition(":")[2]) == ("4", "11")
    assert (pair.kind, pair.likeness) == ("exact repeat", "Jaccard 1.000")
    assert pair.text == pair.other_text == "What is number 3?\nIt is 3."
    Path(next(iter(report.files))).unlink()
    assert survey(recipe, report, title="rows").repeats.pairs[0].text == GONE


@pytest.mark.parametrize(("found", "became"), [("warn", "still trained on"), ("drop", "were left out")])
def test_leaks_are_those_that_the_preparation_found(
    tiny_base: Path, tmp_path: Path, found: str, became: str
) -> None:
    question = "Which river of the north runs through the old town and turns the wheel of the mill at night?"
    rows = [*pairs(6), {"prompt": question, "completion": "That one."}]
    suite = write_rows(tmp_path / "suite.jsonl", [{"prompt": question, "completion": "The other."}])
    leaks = {"suites": [str(suite)], "found": found}
    recipe, report = prepared(tiny_base, tmp_path, rows, leaks=leaks, validation_fraction=0.0)
    seen = survey(recipe, report, title="rows").leaks
    assert seen.found == 1
    assert became in seen.told
    (pair,) = seen.pairs
    assert pair.row == f"{suite}:1"
    assert pair.other.endswith(":7")
    assert question in pair.text


def test_the_text_of_a_row_is_all_that_it_says() -> None:
    fields = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "id": 7}
    assert text_of(fields) == "user\na\nassistant\nb"
