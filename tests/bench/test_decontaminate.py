"""Tests of the search for benchmark text in the pretraining corpus."""

import json
from collections import Counter
from pathlib import Path

import pytest
from decontaminate import Contamination

LONG = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
SHORT = "who was the first person on the moon"  # eight words: a run as a whole
TINY = "who are you"


@pytest.fixture
def contamination(tmp_path: Path) -> Contamination:
    file = tmp_path / "suite.jsonl"
    file.write_text("".join(json.dumps({"deep": [{"q": text}]}) + "\n" for text in (LONG, SHORT, TINY)))
    return Contamination({"suite": [file]})


def test_thirteen_shared_words_are_found_whatever_their_case_and_punctuation(
    contamination: Contamination,
) -> None:
    text = "Zero. One, TWO three-four 'five' six; seven eight nine ten eleven twelve THIRTEEN! Then more."
    ((start, end, suite),) = contamination.find(text)
    assert text[start:end] == text[text.index("One") : text.index("!")]
    assert suite == "suite"


def test_twelve_shared_words_of_a_long_text_are_no_hit(contamination: Contamination) -> None:
    assert (
        contamination.find("one two three four five six seven eight nine ten eleven twelve and so on") == []
    )


def test_a_short_question_is_a_hit_as_a_whole_and_a_tiny_one_never(contamination: Contamination) -> None:
    assert contamination.find("Tell me: who was the first person on the Moon?")
    assert contamination.find("who was the first person on the mountain") == []
    assert contamination.find("who are you") == []


def test_only_the_guilty_paragraph_is_cut_and_it_is_counted(contamination: Contamination) -> None:
    counts: Counter[str] = Counter()
    text = f"Stays.\n\nHere is {LONG} in a sentence.\n\nStays too."
    assert contamination.cut(text, counts) == "Stays.\n\n\nStays too."
    assert counts == {"suite": 1}
    assert contamination.cut("Nothing here.", counts) == "Nothing here."
