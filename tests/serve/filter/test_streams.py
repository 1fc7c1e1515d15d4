"""A filtered stream: nothing that is looked for goes out, wherever the model cuts its text, and nothing else is kept back for good."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luthier.config.clean import PersonalConfig
from luthier.serve.filter.patterns import PatternSeeker
from luthier.serve.filter.seeker import PersonalSeeker, Seekers
from luthier.serve.filter.words import WordSeeker
from tests.serve.filter.streams import cut, due, looking_for, sent, stream

pytestmark = pytest.mark.slow
KINDS = PersonalConfig().kinds
PRIVATE_KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7bq\nabc+/=\n-----END RSA PRIVATE KEY-----"
PERSONAL = (
    "jo.doe+x@mail.example.co.uk",
    "+49 (30) 1234 5678",
    "(555) 234-5678",
    "555-234-5678",
    "4111 1111 1111 1111",
    "378282246310005",
    "DE89 3704 0044 0532 0130 00",
    "GB29NWBK60161331926819",
    "8.8.8.8",
    "2001:4860:4860::8888",
    "hf_abcdefghijklmnopqrstuvwxyz",
    "sk-proj_0123456789abcdefXYZ",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    PRIVATE_KEY,
)
FILLER = (
    " ",
    ", ",
    "\n",
    ". ",
    "word ",
    "Ünïcode ",
    "12 ",
    "1.5 ",
    "-",
    "(",
    "a@",
    "DE89 ",
    "sk-",
    "-----BEGIN ",
    "x",
    "007",
    "语言。",
    "5",
)
MIXED = st.lists(st.one_of(st.sampled_from(FILLER), st.sampled_from(PERSONAL)), max_size=7).map("".join)
# Dense in what the forms are made of, so that finds touch, cross and fail by one character.
DENSE = st.text("ab1234567 .@-+(:/DE89sk_hf\n", max_size=60)
CUTS = st.lists(st.integers(0, 400), max_size=12)


@settings(max_examples=400, deadline=None)
@given(text=st.one_of(MIXED, DENSE), places=CUTS, is_masking=st.booleans())
@example("call 555-234-5678.9", [18], True)
@example("a@b.co.", [6], True)
def test_personal_data_goes_out_masked_or_not_at_all_whatever_the_cuts(
    text: str, places: list[int], is_masking: bool
) -> None:
    seekers = Seekers([PersonalSeeker(KINDS)])
    assert sent(cut(text, places), seekers, is_masking=is_masking) == due(
        text, seekers, is_masking=is_masking
    )


@pytest.mark.parametrize("secret", PERSONAL)
def test_each_kind_is_caught_cut_at_every_place_and_letter_by_letter(secret: str) -> None:
    seekers = Seekers([PersonalSeeker(KINDS)])
    text = f"Write to {secret}, please."
    for pieces in (list(text), *([text[:at], text[at:]] for at in range(len(text) + 1))):
        out, ended_itself = sent(pieces, seekers)
        assert (out, ended_itself) == ("Write to ", False)
        masked, _ = sent(pieces, seekers, is_masking=True)
        assert re.fullmatch(r"Write to \[[A-Z]+\], please\.", masked), masked


WORDS = ("damn", "red flag", "red flag day", "can't", "straße", "übel", "a b a c")
WORDY = st.lists(
    st.sampled_from(
        (
            "damn",
            "dam",
            "n",
            "red",
            "flag",
            "day",
            "Can",
            "'t",
            "t",
            "’",
            " ",
            ", ",
            "STRASSE",
            "straße",
            "Übel",
            "a",
            "b",
            "c",
            "_",
        )
    ),
    max_size=14,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(text=WORDY, places=CUTS, is_masking=st.booleans())
def test_words_and_phrases_go_out_masked_or_not_at_all_whatever_the_cuts(
    text: str, places: list[int], is_masking: bool
) -> None:
    seekers = Seekers([WordSeeker(WORDS)])
    assert sent(cut(text, places), seekers, is_masking=is_masking) == due(
        text, seekers, is_masking=is_masking
    )


PATTERNS = (
    "abc", "a+b", r"\bab\b", r"ab \b", "a.*b|a", "ab?c?", "^ab", "b$", r"(?m)^b", r"(?m)b$", "(?i)A[bc]", r"(ab)+", r"(a|b)\1", r"\d{3}-\d{2}",
    "a{2,4}", "a+?b", r"b\b a", r"[^a]b", r"\W\bb", "(?s)b.a", r"a\Z", r"(?:ab|abab)c", r"\s+b", r"x*b", "ba|b a|b  a",
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS),
    text=st.text("abc 12-\nAx", max_size=24),
    places=CUTS,
    is_masking=st.booleans(),
)
@example(r"ab \b", "ab b", [3], True)
@example("a.*b|a", "a cb", [2], True)
def test_matches_of_a_pattern_go_out_masked_or_not_at_all_whatever_the_cuts(
    pattern: str, text: str, places: list[int], is_masking: bool
) -> None:
    seekers = Seekers([PatternSeeker(pattern, timeout_s=5.0, where="test")])
    assert sent(cut(text, places), seekers, is_masking=is_masking) == due(
        text, seekers, is_masking=is_masking
    )


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(MIXED, DENSE, WORDY), places=CUTS, is_masking=st.booleans())
def test_all_of_them_together_let_no_find_through(text: str, places: list[int], is_masking: bool) -> None:
    seekers = Seekers(
        [
            WordSeeker(WORDS),
            PatternSeeker(r"a\d+", timeout_s=5.0, where="test"),
            PatternSeeker(r"\d \d", timeout_s=5.0, where="test"),
            PersonalSeeker(KINDS),
        ]
    )
    assert sent(cut(text, places), seekers, is_masking=is_masking) == due(
        text, seekers, is_masking=is_masking
    )


def test_plain_prose_is_held_for_a_word_and_no_longer() -> None:
    text = "The quick brown fox jumps over the lazy dog, and nobody minds. " * 5
    seekers = looking_for(personal=list(KINDS), patterns=[r"\bfoxes\b", r"\d{4}"])
    out, _ = stream(list(text), seekers)
    shown = 0
    for read, piece in enumerate(out[:-1], 1):
        shown += len(piece)
        assert read - shown <= len("nobody") + 1
    assert "".join(out) == text


def test_a_pattern_that_never_ends_ends_the_stream_and_passes_only_where_the_operator_says_so() -> None:
    seekers = Seekers([PatternSeeker("(a|a)+b", timeout_s=0.02, where="test")])
    pieces = ["fine. ", "a" * 60, "c and more"]
    out, reason = stream(pieces, seekers)
    assert (out[0], reason is not None and "took over" in reason) == ("fine.", True)
    assert "c and" not in "".join(out)
    assert "".join(stream(pieces, seekers, fails_open=True)[0]) == "".join(pieces)
