"""The side of a row depends on itself and the seed alone."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.data.split import HashSplitter, Keys, Side, StratifiedSplitter, choose_splitter
from luthier.floor.errors import DataError
from luthier.text.rows import Message, Row


def pair(prompt: str, completion: str = "c", line: int = 1) -> Row:
    return Row("prompt_completion", f"a.jsonl:{line}", prompt=prompt, completion=completion)


def by_hash(seed: int, fraction: float) -> HashSplitter:
    return HashSplitter(Keys(seed=seed), validation=fraction)


def sides(seed: int, fraction: float, count: int = 4000) -> list[bool]:
    splitter = by_hash(seed, fraction)
    return [splitter.side(pair(f"prompt {n}")) == "validation" for n in range(count)]


def test_about_the_fraction_asked_for_is_set_apart() -> None:
    assert 0.04 < sum(sides(42, 0.05)) / 4000 < 0.06  # sigma 0.0034
    assert not any(sides(42, 0.0))


def test_the_seed_decides_and_nothing_else() -> None:
    assert sides(1, 0.5) == sides(1, 0.5)
    assert 0.4 < sum(a != b for a, b in zip(sides(1, 0.5), sides(2, 0.5), strict=True)) / 4000 < 0.6
    # Golden: rows must stay on their side from release to release.
    assert [number for number, side in enumerate(sides(42, 0.05, 120)) if side] == GOLDEN_SIDES


@given(prompt=st.text(max_size=20).filter(lambda text: text.isprintable()), seed=st.integers(0, 100))
def test_rows_that_ask_the_same_are_on_the_same_side(prompt: str, seed: int) -> None:
    splitter = by_hash(seed, 0.5)
    assert splitter.side(pair(prompt, "one", 1)) == splitter.side(pair(prompt, "two", 99))


@given(prompt=st.sampled_from(["list all files", "ÉTÉ", "2 + 2"]), seed=st.integers(0, 100))
def test_rows_that_ask_the_same_but_for_case_and_signs_are_on_the_same_side(prompt: str, seed: int) -> None:
    """The check calls it a leak where they are not."""
    splitter = by_hash(seed, 0.5)
    assert splitter.side(pair(prompt)) == splitter.side(pair(f" {prompt.upper()}?!"))


def test_conversations_that_begin_the_same_are_on_the_same_side() -> None:
    def chat(question: str, answer: str) -> Row:
        turns = (Message("user", question), Message("assistant", answer), Message("user", answer + "?"))
        return Row("messages", "a:1", messages=turns)

    splitter = by_hash(0, 0.5)
    for number in range(50):
        assert splitter.side(chat(f"q{number}", "a")) == splitter.side(chat(f"q{number}", "b"))
    assert len({splitter.side(chat(f"q{number}", "a")) for number in range(50)}) == 2


def grouped(group: str, prompt: str) -> Row:
    return replace(pair(prompt), group=group)


def labelled(number: int, stratum: str) -> Row:
    return replace(pair(f"prompt {number} of {stratum}"), stratum=stratum)


def test_no_group_is_parted() -> None:
    rows = [grouped(f"author {n % 40}", f"prompt {n}") for n in range(2000)]
    splitter = HashSplitter(Keys(seed=3, by_group=True), validation=0.3, test=0.3)
    of_group: dict[str, set[Side]] = {}
    for row in rows:
        of_group.setdefault(row.group, set()).add(splitter.side(row))
    assert all(len(found) == 1 for found in of_group.values())
    assert {side for found in of_group.values() for side in found} == {"train", "validation", "test"}


def test_each_stratum_gives_its_exact_share() -> None:
    rows = [labelled(n, name) for name, count in (("a", 1000), ("b", 200), ("c", 20)) for n in range(count)]
    splitter = StratifiedSplitter(rows, Keys(seed=7), validation=0.1, test=0.05)
    found = Counter((row.stratum, splitter.side(row)) for row in rows)
    assert [found[name, "validation"] for name in "abc"] == [100, 20, 2]
    assert [found[name, "test"] for name in "abc"] == [50, 10, 1]


@given(
    strata=st.lists(st.sampled_from("abc"), min_size=40, max_size=120),
    added=st.sampled_from("abc"),
    seed=st.integers(0, 50),
)
def test_a_row_more_changes_the_side_of_at_most_one_other_row_a_side(
    strata: list[str], added: str, seed: int
) -> None:
    rows = [labelled(number, stratum) for number, stratum in enumerate(strata)]
    keys = Keys(seed=seed)
    before = StratifiedSplitter(rows, keys, validation=0.2, test=0.1)
    after = StratifiedSplitter([*rows, labelled(-1, added)], keys, validation=0.2, test=0.1)
    moved = [row for row in rows if before.side(row) != after.side(row)]
    assert len(moved) <= 2
    assert all(row.stratum == added for row in moved)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from("xy")), min_size=20, max_size=60))
def test_a_question_of_two_strata_stays_whole_and_every_row_has_one_side(data: list[tuple[str, str]]) -> None:
    rows = [replace(pair(prompt), stratum=stratum) for prompt, stratum in data]
    rows += [labelled(number, "x") for number in range(20)]
    splitter = StratifiedSplitter(rows, Keys(seed=1), validation=0.5)
    of_prompt: dict[str, set[Side]] = {}
    for row in rows:
        of_prompt.setdefault(row.prompt, set()).add(splitter.side(row))
    assert all(len(found) == 1 for found in of_prompt.values())


def test_strata_too_small_to_give_anything_are_refused() -> None:
    rows = [labelled(number, f"id {number}") for number in range(50)]
    with pytest.raises(DataError, match="50 rows are of 50 strata") as caught:
        choose_splitter(rows, seed=1, shares={"validation": 0.05}, stratified=True)
    assert caught.value.code == "data-split"


GOLDEN_SIDES = [3, 9, 13, 42, 61, 81, 87, 105]
