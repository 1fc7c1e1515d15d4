"""What counts as the same: exact keys, shingles, folded prompts, labels."""

import pytest

from luthier.data.alike.wording import (
    Wording,
    exact_key,
    fold,
    jaccard,
    label_of,
    shingles_of,
    tokens_of,
    wording_of,
)
from luthier.text.rows import Message, Row


def text_row(text: str) -> Wording:
    return wording_of(Row("text", "a:1", text=text))


def pair(prompt: str, completion: str) -> Wording:
    return wording_of(Row("prompt_completion", "a:1", prompt, completion))


@pytest.mark.parametrize(
    "left, right",
    [("a  b", "a b"), (" a b\n", "a b"), ("a\r\nb", "a\nb"), ("e\u0301te", "\u00e9te"), ("a\u3000b", "a b")],
)
def test_white_space_and_composition_do_not_make_another_row(left: str, right: str) -> None:
    assert exact_key(text_row(left)) == exact_key(text_row(right))


@pytest.mark.parametrize("left, right", [("ls -l", "ls -L"), ("2+2", "2-2"), ("x²", "x2"), ("ab", "a b")])
def test_case_signs_and_superscripts_make_another_row(left: str, right: str) -> None:
    assert exact_key(text_row(left)) != exact_key(text_row(right))


def test_text_that_moved_from_prompt_to_answer_is_another_row() -> None:
    assert exact_key(pair("a b", "c")) != exact_key(pair("a", "b c"))
    said = (Message("user", "a"), Message("assistant", "b"))
    other = (Message("system", "a"), Message("assistant", "b"))
    keys = {exact_key(wording_of(Row("messages", "a:1", messages=each))) for each in (said, other)}
    assert len(keys) == 2


def test_a_conversation_asks_what_stands_before_its_first_answer() -> None:
    turns = (Message("system", "s"), Message("user", "u"), Message("assistant", "a"), Message("user", "v"))
    wording = wording_of(Row("messages", "a:1", messages=turns))
    assert (wording.prompt, wording.answer, wording.body) == ("s\nu", "a\nv", "s\nu\na\nv")


def test_tokens_are_words_signs_and_single_characters_of_unspaced_scripts() -> None:
    assert tokens_of("Don't stop: x_1=2!") == ["don", "'", "t", "stop", ":", "x_1", "=", "2", "!"]
    assert tokens_of("東京は大きい") == list("東京は大きい")
    assert tokens_of("Ｆｕｌｌ ﬁn") == ["full", "fin"]
    assert tokens_of(" \n\t") == []


def test_short_rows_have_one_shingle_of_their_own() -> None:
    assert shingles_of([]) == {("", "", "")}
    assert shingles_of(["a"]) == {("a", "", "")}
    assert shingles_of(list("abcd")) == {("a", "b", "c"), ("b", "c", "d")}
    assert shingles_of(list("abab")) == {("a", "b", "a"), ("b", "a", "b")}


def test_the_jaccard_is_shared_over_all() -> None:
    assert jaccard(shingles_of(list("abcd")), shingles_of(list("bcde"))) == 1 / 3
    assert jaccard(shingles_of(list("abcd")), shingles_of(list("abcd"))) == 1
    assert jaccard(shingles_of(list("abc")), shingles_of(list("xyz"))) == 0


def test_folding_leaves_letters_and_digits_and_never_nothing() -> None:
    assert fold("  What's UP, doc?! ") == "what s up doc"
    assert fold("STRASSE") == fold("straße")
    assert fold("+++") != fold("---")


def test_only_short_answers_are_labels_and_their_case_counts() -> None:
    assert label_of(pair("p", "ls -L")) == ("ls", "-", "L")
    assert label_of(pair("p", "word " * 10)) is None
    assert label_of(text_row("word")) is None
