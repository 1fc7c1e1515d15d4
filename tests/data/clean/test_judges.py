"""What leaves rows out: lengths, Gopher's and C4's published rules, languages, word lists, personal data."""

import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from luthier.config.clean import CleanConfig, QualityRule
from luthier.data.clean.gopher import QUALITY, REPETITION, duplicate_ngram_share, top_ngram_share
from luthier.data.clean.presets import make_filters
from luthier.data.clean.words import WordListScorer
from luthier.floor.errors import DataError, EnvironmentFault, RecipeError
from tests.data.clean.cleaning import chat_row, dropped, pair_row, run, text_row

# Sixty words of prose that keep every rule.
PROSE = (
    "The river rises in the hills to the north of the town and runs for forty miles before it meets the sea. "
    "People have lived beside it with their boats since the oldest maps were drawn. "
    "In spring the water is high, and that is when most of the fish come back. "
    "A small bridge, built by hand, still stands near the old mill today."
)
GOPHER: dict[str, Any] = {"quality": {"gopher_quality": True, "gopher_repetition": True}}
C4: dict[str, Any] = {"quality": {"c4": True}}


@pytest.mark.parametrize(
    "bounds, text, reason",
    [
        ({"least_characters": 4}, "abc", "fewer than 4 characters"),
        ({"most_characters": 2}, "abc", "more than 2 characters"),
        ({"least_words": 3}, "two words", "fewer than 3 words"),
        ({"most_words": 1}, "two words", "more than 1 words"),
    ],
)
def test_a_row_outside_the_bounds_is_left_out(bounds: dict[str, int], text: str, reason: str) -> None:
    assert dropped({"length": bounds}, text_row(text)) == {"length": {reason: 1}}


def test_a_row_on_the_bounds_stays_and_all_its_texts_count() -> None:
    bounds = {"least_characters": 3, "most_characters": 3, "least_words": 2, "most_words": 2}
    assert dropped({"length": bounds}, pair_row("a", "b"), chat_row("a", "b")) == {}


def test_prose_keeps_every_rule() -> None:
    assert dropped(GOPHER | {}, text_row(PROSE)) == {}
    assert dropped(C4, text_row(PROSE)) == {}


@pytest.mark.parametrize(
    "rule, text",
    [
        ("words below 50", "The end of it."),
        ("word_length above 10", " ".join(["incomprehensibilities"] * 60)),
        ("word_length below 3", " ".join(["a"] * 60)),
        ("hashes above 0.1", PROSE + " #tag" * 8),
        ("ellipses above 0.1", PROSE + " so…" * 8),
        ("bullet_lines above 0.9", "\n".join(f"- {part}" for part in PROSE.split(". "))),
        ("ellipsis_lines above 0.3", PROSE + "\nand so...\n"),
        ("alphabetic_words below 0.8", PROSE + " 100001" * 20),
        ("stop_words below 2", " ".join(f"word{number}" for number in range(60))),
    ],
)
def test_gophers_quality_rules_leave_out_what_breaks_them(rule: str, text: str) -> None:
    found = dropped({"quality": {"gopher_quality": True}}, text_row(text))
    assert found == {"gopher_quality": {rule: 1}}


@pytest.mark.parametrize(
    "rule, text",
    [
        ("duplicate_lines above 0.3", "a\nb\na\nb"),
        ("duplicate_line_characters above 0.2", "\n".join([*"abcdefg", *["a long line that repeats"] * 2])),
        ("duplicate_paragraphs above 0.3", "one\n\ntwo\n\none\n\ntwo"),
        ("duplicate_paragraph_characters above 0.2", "\n\n".join([*"abcdefgh", *["a long\nparagraph"] * 2])),
        ("top_2_gram above 0.2", "so far x so far y so far z so far"),
        ("duplicate_5_grams above 0.15", "a1 b2 c3 d4 e5 f6 then " + PROSE[:20] + " a1 b2 c3 d4 e5 f6"),
    ],
)
def test_gophers_repetition_rules_leave_out_what_breaks_them(rule: str, text: str) -> None:
    skip = [name for name in get_args(QualityRule) if name != rule.split()[0]]
    settings = {"quality": {"gopher_repetition": True, "skip_rules": skip}}
    assert dropped(settings, text_row(text)) == {"gopher_repetition": {rule: 1}}
    everything = {"quality": {"gopher_repetition": True, "skip_rules": list(get_args(QualityRule))}}
    assert dropped(everything, text_row(text)) == {}


def test_the_shares_are_those_counted_by_hand() -> None:
    words = ["a", "b", "a", "b", "a", "b"]
    assert top_ngram_share(words, 2, 11) == pytest.approx(3 * 3 / 11)
    assert top_ngram_share(["a", "b", "c"], 2, 5) == 0, "what stands there once is no repetition"
    assert duplicate_ngram_share(["a", "b", "c", "a", "b", "c"], 3, 11) == pytest.approx(3 / 11)
    assert duplicate_ngram_share(["a", "a", "a", "a"], 5, 7) == 0


def test_the_table_is_gophers() -> None:
    assert {name: rule.most for name, rule in REPETITION.items()} == {
        "duplicate_lines": 0.30, "duplicate_line_characters": 0.20, "duplicate_paragraphs": 0.30, "duplicate_paragraph_characters": 0.20,
        "top_2_gram": 0.20, "top_3_gram": 0.18, "top_4_gram": 0.16, "duplicate_5_grams": 0.15, "duplicate_6_grams": 0.14,
        "duplicate_7_grams": 0.13, "duplicate_8_grams": 0.12, "duplicate_9_grams": 0.11, "duplicate_10_grams": 0.10,
    }  # fmt: skip


def test_every_rule_can_be_skipped_by_its_name_in_the_recipe() -> None:
    ours = {rule for rule in get_args(QualityRule) if not rule.startswith("c4_")}
    assert ours == {*REPETITION, *QUALITY}


@pytest.mark.parametrize(
    "reason, text",
    [
        ("c4_lorem_ipsum: holds placeholder text", PROSE + " Lorem ipsum dolor sit amet is here."),
        ("c4_curly_bracket: holds a curly bracket, as code does", PROSE + " Here is a { in the text."),
        ("c4_sentences below 3", "Only one sentence stands here today."),
    ],
)
def test_c4_leaves_out_what_breaks_a_rule_of_pages(reason: str, text: str) -> None:
    assert dropped(C4, text_row(text)) == {"c4": {reason: 1}}


def test_c4_takes_lines_that_are_no_sentence_out_of_text_rows() -> None:
    lines = [
        PROSE,
        "Home | About | Contact",
        "Too short.",
        "You need Javascript to see this page.",
        "We make use of cookies on this site.",
        f"What a page encodes {'x' * 1001} is not a word.",
    ]
    kept, counts = run(C4, text_row("\n".join(lines)), text_row(PROSE.replace("town", "town[12]")))
    assert [row.text for row in kept] == [PROSE, PROSE]
    assert counts.filters["c4"].rows_edited == 2


def test_c4_judges_an_answer_and_leaves_its_lines_alone() -> None:
    kept, _ = run(C4, chat_row("ask", f"A title\n{PROSE}"))
    assert kept[0].messages[1].content == f"A title\n{PROSE}"
    assert dropped(C4, chat_row(PROSE, "Too short."))["c4"] == {"c4_sentences below 3": 1}


ENGLISH = "This is a sentence in plain English about the weather."
GERMAN = "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter."


def test_rows_in_other_languages_are_left_out() -> None:
    settings = {"language": {"keep": ["en"], "among": ["en", "de"]}}
    kept, counts = run(settings, text_row(ENGLISH), text_row(GERMAN, 2), text_row("Wetter", 3))
    assert [row.text for row in kept] == [ENGLISH, "Wetter"], "too short a text is kept unjudged"
    assert counts.filters["language"].dropped == {"de, which is not to be kept": 1}


def test_what_is_taught_decides_the_language() -> None:
    settings = {"language": {"keep": ["en"], "among": ["en", "de"]}}
    kept, _ = run(settings, pair_row(GERMAN, ENGLISH), pair_row(ENGLISH, GERMAN))
    assert [row.completion for row in kept] == [ENGLISH]


def test_a_language_that_lingua_does_not_know_is_refused_with_those_it_knows() -> None:
    with pytest.raises(RecipeError, match="'zz'") as caught:
        make_filters(CleanConfig.model_validate({"language": {"keep": ["zz"]}}))
    assert "en, eo, es" in caught.value.fix


def test_a_word_list_leaves_out_rows_with_too_many_of_its_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("# mild\nDarn\nsilly goose\n\n", encoding="utf-8")
    settings = {"words": {"path": str(path), "most_fraction": 0.25}}
    rows = [text_row("darn it all now"), text_row("DARN, a silly goose!", 2), text_row("darning geese", 3)]
    kept, counts = run(settings, *rows)
    assert [row.text for row in kept] == ["darn it all now", "darning geese"]
    assert counts.filters["words"].dropped == {"more than 0.25 of the words are on the list": 1}
    kept, counts = run({"words": settings["words"] | {"action": "report"}}, *rows)
    assert len(kept) == 3
    assert counts.filters["words"].found == {"rows over the bound": 1}


def test_a_score_is_the_share_of_words_with_the_longest_phrase_first() -> None:
    scorer = WordListScorer(iter([("a",), ("a", "b"), ("c",)]))
    assert scorer.score("a b x c") == 0.75
    assert scorer.score("a x") == 0.5
    assert scorer.score("") == 0


@pytest.mark.parametrize(
    "content, why",
    [(b"# nothing\n\n", "holds no word"), (b"\xff\xfe", "is not UTF-8 at byte 0"), (None, "is not a file")],
)
def test_a_word_list_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "words.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=why) as caught:
        make_filters(CleanConfig.model_validate({"words": {"path": str(path)}}))
    assert caught.value.code == "data-words"


PERSONAL = ("write to ann@example.org", "or call +49 30 1234567")


@pytest.mark.parametrize(
    "action, prompt", [("report", PERSONAL[0]), ("mask", "write to [EMAIL]"), ("drop", None)]
)
def test_personal_data_is_counted_masked_or_left_out(action: str, prompt: str | None) -> None:
    kept, counts = run({"personal": {"action": action}}, pair_row(*PERSONAL), pair_row("a", "b", 2))
    assert [row.prompt for row in kept] == ([prompt] if prompt else []) + ["a"]
    assert counts.filters["personal"].found == {"email": 1, "phone": 1}
    assert counts.filters["personal"].dropped == ({"holds email, phone": 1} if action == "drop" else {})


def test_only_the_kinds_of_personal_data_that_are_asked_for_are_masked() -> None:
    kept, _ = run({"personal": {"action": "mask", "kinds": ["phone"]}}, pair_row(*PERSONAL))
    assert (kept[0].prompt, kept[0].completion) == (PERSONAL[0], "or call [PHONE]")


@pytest.mark.parametrize(
    "module, settings, line",
    [
        ("ftfy", {"repair": True}, 'pip install "luthier[clean]"'),
        ("lingua", {"language": {"keep": ["en"]}}, 'pip install "luthier[language]"'),
    ],
)
def test_a_missing_extra_is_reported_with_its_install_line(
    monkeypatch: pytest.MonkeyPatch, module: str, settings: dict[str, Any], line: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EnvironmentFault) as caught:
        make_filters(CleanConfig.model_validate(settings))
    assert caught.value.code == "env-extra"
    assert line in caught.value.fix
