"""Each edit does one thing, does it once, and leaves the rest of the text alone."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.data.clean.characters import remove_invisible
from luthier.data.clean.filter import EditText, Kept, edit_texts, taught_text, texts_of, whole_text
from luthier.data.clean.guide import GUIDE, clean_text
from luthier.data.clean.normalize import normalize_filter
from luthier.data.clean.repair import repair_filter
from luthier.data.clean.white_space import collapse, trim
from luthier.text.row import Message, Row, ToolCall

EDITS: dict[str, EditText] = {
    "repair": repair_filter().edit,
    "characters": remove_invisible,
    "nfc": normalize_filter("nfc").edit,
    "nfkc": normalize_filter("nfkc").edit,
    "trim": trim,
    "collapse": collapse,
}
ODD = st.text(
    st.sampled_from(
        " \t\r\n`~#-ab.\u00a0\u200b\ufeff\u0301\u202e\x1b[0m\x85\U0001f3f4\U000e0067\U000e007fÃ©Âﬁ"
    ),
    max_size=60,
)
TEXTS = st.one_of(st.text(max_size=40), ODD)
ROWS = st.one_of(
    st.builds(lambda a, b: Row("prompt_completion", "f:1", a, b), TEXTS, TEXTS),
    st.builds(lambda a: Row("text", "f:1", text=a), TEXTS),
    st.builds(
        lambda texts: Row("messages", "f:1", messages=tuple(Message("user", each) for each in texts)),
        st.lists(TEXTS, max_size=3),
    ),
)


def guides_own(text: str) -> str:
    """The guide's listing, written down again."""
    text = " ".join(text.split())
    text = text.replace("\u200b", "")
    text = unicodedata.normalize("NFKC", text)
    return text


@pytest.mark.parametrize("name", EDITS)
@given(text=TEXTS)
@settings(max_examples=150)
def test_an_edit_done_twice_is_the_edit_done_once(name: str, text: str) -> None:
    once = EDITS[name](text)
    assert EDITS[name](once) == once


@given(text=TEXTS)
def test_the_guide_filter_is_the_guides_function(text: str) -> None:
    assert clean_text(text) == guides_own(text)
    verdict = GUIDE.apply(Row("text", "f:1", text=text))
    assert isinstance(verdict, Kept)
    assert verdict.row.text == guides_own(text)


def test_the_guides_function_is_not_stable_which_is_why_it_is_no_default() -> None:
    once = clean_text("a \u200b b")
    assert once == "a  b"
    assert clean_text(once) == "a b"


@pytest.mark.parametrize("name", EDITS)
@given(row=ROWS)
@settings(max_examples=50)
def test_a_row_is_edited_text_by_text_and_otherwise_the_same(name: str, row: Row) -> None:
    edited = edit_texts(row, EDITS[name])
    assert [text for _, text in texts_of(edited)] == [EDITS[name](text) for _, text in texts_of(row)]
    assert (edited.kind, edited.origin) == (row.kind, row.origin)
    assert [message.role for message in edited.messages] == [message.role for message in row.messages]
    assert (edited is row) == (edited == row)


def test_the_texts_of_a_row_are_named_and_told_apart() -> None:
    chat = Row("messages", "f:1", messages=(Message("user", "ask"), Message("assistant", "say")))
    assert list(texts_of(chat)) == [("messages[0]", "ask"), ("messages[1]", "say")]
    assert (whole_text(chat), taught_text(chat)) == ("ask\nsay", "say")
    pair = Row("prompt_completion", "f:1", "p", "c")
    assert (whole_text(pair), taught_text(pair)) == ("p\nc", "c")


@pytest.mark.parametrize(
    "wrong, right",
    [
        ("clichÃ©s", "clichés"),
        ("RenÃ©e Zellweger", "Renée Zellweger"),
        ("youâ\x80\x99re", "you’re"),
        ("plain text", "plain text"),
        ("“quotes” ﬁne &amp; ½ x² ＡＢ", "“quotes” ﬁne &amp; ½ x² ＡＢ"),
        ("schön, naïve, 日本語", "schön, naïve, 日本語"),
    ],
)
def test_wrong_decoding_is_mended_and_nothing_else(wrong: str, right: str) -> None:
    assert EDITS["repair"](wrong) == right


@pytest.mark.parametrize(
    "text, cleaned",
    [
        ("a\u200bb\ufeff\u00ad\u2060c", "abc"),
        ("\x00\x07bell\x7f\x85", "bell"),
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\u202eevil\u202c\u2066x\u2069", "evilx"),
        ("hid\U000e0068\U000e0069den", "hidden"),
        ("tab\tline\r\n", "tab\tline\r\n"),
        ("👩\u200d🚀 می\u200cخواهم \u200e \ufffd", "👩\u200d🚀 می\u200cخواهم \u200e \ufffd"),
        ("🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",) * 2,
    ],
)
def test_invisible_characters_go_and_those_that_mean_something_stay(text: str, cleaned: str) -> None:
    assert remove_invisible(text) == cleaned


def test_nfc_composes_and_nfkc_also_replaces() -> None:
    text = "cafe\u0301 ﬁ x² ＡＢ"
    assert EDITS["nfc"](text) == "café ﬁ x² ＡＢ"
    assert EDITS["nfkc"](text) == "café fi x2 AB"


def test_what_tools_are_called_with_is_looked_at_and_edited_only_where_that_is_asked_for() -> None:
    call = ToolCall("send", '{"to": "a  b", "many": ["c  d", 1]}')
    row = Row("messages", "f:1", messages=(Message("assistant", "e  f", 0, (call,)),))
    assert list(texts_of(row))[1] == ("messages[0].tool_calls[0]", call.arguments)
    (left,), (edited,) = (edit_texts(row, collapse, calls=each).messages for each in (False, True))
    assert (left.content, left.weight, left.tool_calls) == ("e f", 0, (call,))
    assert edited.tool_calls[0].arguments == '{"to": "a b", "many": ["c d", 1]}'
