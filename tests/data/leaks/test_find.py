"""Leaks between splits: known answers, planted ones, and what must not be told as a leak."""

import json
import os
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.alike.wording import jaccard, shingles_of, tokens_of
from luthier.data.leaks.find import PAIRS_OF_ROW, find_leaks
from luthier.data.leaks.runs import RunHashes
from luthier.data.leaks.words import RUN_WORDS, words_of
from luthier.text.rows import Message, Row, read_rows

pytestmark = pytest.mark.slow

SHARED = Path(os.environ.get("LUTHIER_SHARED_DATA", "../shared/data"))
WORDS = [f"word{number}" for number in range(5000)]


def pair(number: int, prompt: str, completion: str = "yes") -> Row:
    return Row("prompt_completion", f"a.jsonl:{number}", prompt=prompt, completion=completion)


def question(seed: int, words: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=words))


@pytest.mark.parametrize(
    ("name", "leaked"), [("demo-e2e-extract", 20), ("demo-banking77", 6), ("demo-snips-json", 9)]
)
def test_the_natural_leaks_of_the_demo_sets_are_found_to_the_row(name: str, leaked: int) -> None:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"the shared data folder has no {name} here")
    found = find_leaks(
        read_rows([folder / "train.jsonl"], "auto"), read_rows([folder / "test.jsonl"], "auto")
    )
    assert found.counts.leaked_kinds["exact"] == leaked


def test_each_planted_likeness_is_told_by_its_strictest_kind() -> None:
    asked = [question(seed, 30) for seed in range(5)]
    near = asked[2].replace(asked[2].split()[15], "another")
    rows = [
        pair(1, asked[0].upper()),
        pair(2, asked[1].replace(" ", ", ") + "?!"),
        pair(3, near),
        pair(4, f"Something else. {' '.join(asked[3].split()[5:18])} and more"),
        pair(5, "unrelated", completion=f"As the test says: {asked[4]}"),
    ]
    found = find_leaks(rows, [pair(100 + number, each) for number, each in enumerate(asked)])
    assert [(each.row, each.kind) for each in found.pairs] == [
        ("a.jsonl:1", "exact"),
        ("a.jsonl:2", "folded"),
        ("a.jsonl:3", "near"),
        ("a.jsonl:4", "run"),
        ("a.jsonl:5", "run"),
    ]
    assert found.pairs[3].run_words == RUN_WORDS
    assert found.counts.rows_leaked == found.counts.rows_leaking == 5


def test_twelve_words_of_a_long_question_are_no_leak_but_all_of_a_short_one_are() -> None:
    long, short = question(1, 30), question(2, 9)
    rows = [pair(1, "x " + " ".join(long.split()[:12])), pair(2, f"x {short} y")]
    found = find_leaks(rows, [pair(3, long), pair(4, short)])
    assert [(each.row, each.run_words) for each in found.pairs] == [("a.jsonl:2", 9)]


def test_the_same_answer_alone_is_no_leak() -> None:
    answer = question(3, 40)
    found = find_leaks([pair(1, question(4, 20), answer)], [pair(2, question(5, 20), answer)])
    assert found.counts.rows_leaking == 0


def test_wording_that_many_questions_share_tells_nothing() -> None:
    preamble = question(6, 20)
    against = [pair(number, f"{preamble} {question(100 + number, 20)}") for number in range(20)]
    found = find_leaks([pair(99, f"{preamble} {question(7, 20)}")], against, threshold=None)
    assert found.counts.rows_leaking == 0
    assert found.counts.boilerplate_runs == 13  # the runs of eight words in twenty


def test_a_question_in_common_wording_throughout_is_found_where_the_whole_of_it_stands() -> None:
    preamble = question(6, 20)
    against = [pair(number, f"{preamble} {'[' * number}") for number in range(20)]  # brackets are no words
    rows = [pair(98, "x", f"so: {preamble} ["), pair(99, f"{' '.join(preamble.split()[:19])} and more")]
    found = find_leaks(rows, against, threshold=None)
    assert {each.row for each in found.pairs} == {"a.jsonl:98"}


def test_a_system_message_that_all_rows_share_is_no_question() -> None:
    def chat(number: int, asked: str) -> Row:
        turns = (Message("system", question(8, 30)), Message("user", asked), Message("assistant", "yes"))
        return Row("messages", f"c.jsonl:{number}", messages=turns)

    found = find_leaks([chat(1, question(9, 9))], [chat(2, question(10, 9))])
    assert found.counts.rows_leaking == 0


def test_a_preference_asks_what_both_answers_follow_and_holds_what_either_says() -> None:
    """The better and the worse answer are trained on alike, so that a question in the worse one has been seen."""

    def preference(number: int, asked: str, *, chosen: str = "yes", rejected: str = "no") -> Row:
        both = (Message("system", "Answer in one word."), Message("user", asked))
        answers = ((Message("assistant", chosen),), (Message("assistant", rejected),))
        return Row("preference", f"a.jsonl:{number}", messages=both, chosen=answers[0], rejected=answers[1])

    first, second, third = question(11, 20), question(12, 20), question(13, 20)
    rows = [
        preference(1, first),
        preference(2, "something else", rejected=f"They ask: {second}"),
        preference(3, "Answer in one word."),
    ]
    asked = [pair(10, first), preference(11, second), pair(12, third)]
    found = find_leaks(rows, asked)
    assert [(each.row, each.kind) for each in found.pairs] == [("a.jsonl:1", "exact"), ("a.jsonl:2", "run")]


def test_a_question_that_comes_again_is_one_pair_and_all_its_rows_are_counted() -> None:
    found = find_leaks([pair(1, "How are you?")], [pair(number, "how are you?") for number in range(2, 9)])
    assert len(found.pairs) == 1
    assert found.counts.rows_leaked == 7


def test_rows_without_a_question_leak_nothing() -> None:
    empty = Row("messages", "c.jsonl:1", messages=(Message("assistant", "hello"),))
    found = find_leaks([empty, pair(2, " ")], [empty, pair(3, "")])
    assert found.counts.rows_leaking == 0


def test_pairs_are_bounded_and_counts_are_not() -> None:
    rows = [pair(number, "How are you?") for number in range(50)]
    found = find_leaks(rows, [pair(99, "How are you?")], most_pairs=3)
    assert len(found.pairs) == 3
    assert found.counts.rows_leaking == 50


def test_a_chinese_sentence_is_found_though_it_has_no_blanks() -> None:
    asked = "请问今天下午三点的会议在哪一个房间里举行呢"
    found = find_leaks([pair(1, f"你好。{asked}谢谢")], [pair(2, asked + "我想知道答案")])
    assert [each.kind for each in found.pairs] == ["run"]


def test_near_questions_of_one_template_are_all_found_and_told_apart() -> None:
    """Of 300 questions each looks like every row; before, a row was compared with 200 of them at most."""
    shared = question(20, 100)
    asked = [f"{shared} {question(1000 + seed, 25)}" for seed in range(300)]
    chance = random.Random(3)
    rows, planted = [], {}
    for number in range(40):
        of = chance.randrange(300)
        planted[f"a.jsonl:{number}"] = f"a.jsonl:{1000 + of}"
        rows += [pair(number, asked[of].replace(" ", " copied ", 1)), pair(500 + number, shared)]
    found = find_leaks(rows, [pair(1000 + number, each) for number, each in enumerate(asked)])
    assert {each.row: each.against for each in found.pairs if each.kind == "near"} == planted
    assert found.counts.kinds == {"near": 40}


def test_a_row_near_very_many_questions_tells_some_and_all_are_counted() -> None:
    asked = [f"{question(21, 60)} number {number}" for number in range(300)]
    against = [pair(1000 + number, each) for number, each in enumerate(asked)]
    found = find_leaks([pair(1, question(21, 60)), pair(2, question(21, 60))], against)
    told = Counter(each.row for each in found.pairs)
    assert told == {"a.jsonl:1": 300, "a.jsonl:2": PAIRS_OF_ROW}, "each once, then no more than a row's share"
    assert found.counts.leaked_kinds == {"near": 300}


fillings = st.sampled_from(["", "one more", "two more words", "and so on", "three", "of nine a tenth"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(fillings, fillings), min_size=2, max_size=14),
    st.sampled_from([0.3, 0.6, 0.8, 0.95, 1.0]),
)
def test_near_rows_and_questions_are_those_that_comparing_each_with_each_finds(
    filled: list[tuple[str, str]], threshold: float
) -> None:
    texts = [f"a b c d {first} e f g h {second} i j" for first, second in filled]
    rows = [pair(number, each) for number, each in enumerate(texts[::2])]
    against = [pair(100 + number, each) for number, each in enumerate(texts[1::2])]
    sets = {each.origin: shingles_of(tokens_of(each.prompt)) for each in (*rows, *against)}
    near = {
        (row.origin, other.origin)
        for row in rows
        for other in against
        if jaccard(sets[row.origin], sets[other.origin]) >= threshold
    }
    found = find_leaks(rows, against, threshold=threshold)
    same = {(each.row, each.against) for each in found.pairs if each.kind in ("exact", "folded", "near")}
    # Questions that come again are one, told by its first row.
    first = {other.prompt: other.origin for other in reversed(against)}
    texts_of = {other.origin: other.prompt for other in against}
    assert same == {(row, first[texts_of[other]]) for row, other in near}


def test_wholes_of_one_wording_are_found_at_their_places_whatever_their_number() -> None:
    """A word forty times over: every length of it is a question, and each run of eight stands in all of them."""
    against = [pair(100 + number, " ".join(["again"] * number)) for number in range(8, 40)]
    found = find_leaks([pair(1, "x", " ".join(["again"] * 20))], against, threshold=None)
    assert {each.run_words for each in found.pairs} == set(range(8, 21))


short_words = st.lists(st.sampled_from("abcd"), max_size=30)


@given(short_words, short_words, st.integers(2, 5))
def test_a_run_is_found_exactly_where_one_exists(left: list[str], right: list[str], fewest: int) -> None:
    runs = {tuple(right[at : at + fewest]) for at in range(len(right) - fewest + 1)}
    exists = any(tuple(left[at : at + fewest]) in runs for at in range(len(left) - fewest + 1))
    hashes = RunHashes()
    found = hashes.runs(left).longest_shared(hashes.runs(right), fewest)
    assert (found is not None) == exists
    if found:
        start, other, length = found
        assert length >= fewest
        assert left[start : start + length] == right[other : other + length]


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=60), max_size=8))
def test_every_row_leaks_into_a_copy_of_itself(texts: list[str]) -> None:
    rows = [Row("text", f"t.jsonl:{number}", text=text) for number, text in enumerate(texts)]
    found = find_leaks(rows, rows, threshold=None)
    assert found.counts.rows_leaking == found.counts.rows_leaked == sum(bool(text.strip()) for text in texts)
    json.dumps([each.model_dump() for each in found.pairs])


def test_words_leave_case_signs_and_width_out() -> None:
    assert words_of("It's  ２０ Kg_m, STRASSE!") == ["it", "s", "20", "kg", "m", "strasse"]
