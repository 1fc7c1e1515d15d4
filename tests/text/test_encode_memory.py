"""Texts encoded word by word have the tokens that the tokenizer finds in the whole, for every way of cutting we know."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, Tokenizer, normalizers, processors
from tokenizers.models import BPE, WordPiece
from tokenizers.pre_tokenizers import ByteLevel, Digits, Metaspace, PreTokenizer, Sequence, Split
from tokenizers.trainers import BpeTrainer

from luthier.text import encode_memory
from luthier.text.encode_memory import Encoder
from luthier.text.word_cuts import WORDS, WORDS_AND_LINES, keeps_offsets, word_cut_of

CONTRACTIONS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LINES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
EXPRESSIONS = {
    "cl100k": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*" + LINES,
    "qwen2": CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*" + LINES,
    "qwen3.5": CONTRACTIONS
    + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"
    + LINES,
    "o200k": rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{CONTRACTIONS}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{CONTRACTIONS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*" + LINES,
}
# What the cuts could stumble over: white space of every engine's opinion, marks that compose, contractions, slashes, digits.
NASTY = [
    "a",
    "B",
    "é",
    "e\u0301",
    "Ж",
    "ж",
    "日本",
    "🙂",
    "7",
    "123",
    ".",
    ",",
    "!",
    ")",
    "(",
    "/",
    "'s",
    "'LL",
    "'",
    "-",
    '"',
]
NASTY += [
    " ",
    "  ",
    "\n",
    "\n\n",
    "\r",
    "\r\n",
    "\t",
    "\x0b",
    "\x1c",
    "\x85",
    "\xa0",
    "\u2028",
    "\u3000",
    "\u0301",
    "\u0345",
]
NASTY += [
    "\u1fef",
    "\u037e",
    "\u0e33",
    "\u200b",
    "\ufeff",
    "\x00",
    "<|im_end|>",
    ".\n/",
    "the",
    " the",
    "Word",
    "ing",
]
texts_of_it = st.lists(st.sampled_from(NASTY), max_size=24).map("".join)


def cut_by(expression: str) -> PreTokenizer:
    return Sequence(
        [Split(Regex(expression), "isolated"), ByteLevel(add_prefix_space=False, use_regex=False)]
    )


CUTS: dict[str, PreTokenizer] = {name: cut_by(expression) for name, expression in EXPRESSIONS.items()} | {
    "gpt2": ByteLevel(add_prefix_space=False),
    "smollm": Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]),
}


def make(cut: PreTokenizer, *, normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    """A tokenizer that merges whatever its pieces let it merge: a wrong cut shows."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = cut
    if normalizer:
        tokenizer.normalizer = normalizer
    corpus = ["".join(NASTY[at:] + NASTY[:at]) for at in range(len(NASTY))]
    corpus += [first + second for first in NASTY for second in NASTY]
    trainer = BpeTrainer(
        vocab_size=1400,
        initial_alphabet=ByteLevel.alphabet(),
        special_tokens=["<|im_end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus * 2, trainer)
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=True)
    return tokenizer


@pytest.fixture(scope="module", params=[*CUTS, "qwen2 with NFC", "gpt2 with NFC"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    name, _, form = request.param.partition(" with ")
    return make(CUTS[name], normalizer=getattr(normalizers, form)() if form else None)


def check(tokenizer: Tokenizer, encoder: Encoder, texts: list[str]) -> None:
    for control_tokens in (False, True):
        for offsets in (False, True):
            found = encoder.encode(texts, control_tokens=control_tokens, offsets=offsets)
            tokenizer.encode_special_tokens = not control_tokens
            whole = tokenizer.encode_batch(texts, add_special_tokens=False)
            assert found.lengths == [len(each) for each in whole]
            ids = [id for each in whole for id in each.ids]
            assert found.ids == b"".join(id.to_bytes(4, "little") for id in ids)
            if offsets:
                ends = [place for each in whole for span in each.offsets for place in span]
                assert found.offsets == b"".join(place.to_bytes(4, "little") for place in ends)
    assert encoder._cut, "the encoder found its cuts wrong and gave them up"


@given(texts=st.lists(texts_of_it, max_size=8))
@settings(max_examples=100, deadline=None)
def test_words_have_the_tokens_of_the_whole(tokenizer: Tokenizer, texts: list[str]) -> None:
    encoder = Encoder(tokenizer)
    for control_tokens in (False, True):
        for offsets in (False, True):  # trusted from here on: the probe would hide what is wrong
            encoder.encode([""], control_tokens=control_tokens, offsets=offsets)
    check(tokenizer, encoder, texts)
    check(tokenizer, encoder, texts)  # and once more, from memory


@given(text=texts_of_it)
@settings(max_examples=300, deadline=None)
def test_the_words_of_a_text_are_the_text(text: str) -> None:
    for cut in (WORDS, WORDS_AND_LINES):
        assert "".join(cut.findall(text)) == text


def test_running_text_is_cut_into_words_and_lines() -> None:
    assert WORDS_AND_LINES.findall("The cat, 3 of  them.\n\nNo\n  more") == [
        *("The", " cat", ",", " 3", " of", "  them.\n\n", "No\n  more")
    ]


def test_a_full_memory_is_emptied_and_long_words_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode_memory, "MOST_WORDS", 50)
    tokenizer = make(CUTS["qwen2"])
    encoder = Encoder(tokenizer)
    for start in range(0, 400, 20):
        check(tokenizer, encoder, [" ".join(f"w{n}" for n in range(start, start + 40)), "y" * 200])
    for memory in encoder._memories.values():
        assert len(memory.ids) <= 50
        assert set(memory.offsets) <= set(memory.ids)
        assert all(len(word) <= encode_memory.LONGEST_WORD for word in memory.ids)


def test_a_tokenizer_that_reads_its_expression_otherwise_gets_its_texts_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encode_memory, "word_cut_of", lambda description: re.compile(r"(?s:.)"))
    tokenizer = make(CUTS["qwen2"])
    encoder = Encoder(tokenizer)
    found = encoder.encode(["the Word"], control_tokens=False, offsets=False)
    assert found.lengths == [len(tokenizer.encode("the Word", add_special_tokens=False))]
    assert encoder._cut is None


def changed(**parts: object) -> str:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = CUTS["qwen2"]
    assert word_cut_of(tokenizer.to_str())
    return json.dumps(json.loads(tokenizer.to_str()) | parts)


@pytest.mark.parametrize(
    "description",
    [
        changed(normalizer={"type": "Prepend", "prepend": "▁"}),
        changed(normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Strip"}]}),
        changed(normalizer={"type": "NFD"}),
        changed(pre_tokenizer=None),
        changed(model=json.loads(Tokenizer(WordPiece()).to_str())["model"]),
        changed(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}),
        changed(
            pre_tokenizer={
                "type": "Split",
                "pattern": {"Regex": r" ?\p{L}+ \p{L}+"},
                "behavior": "Isolated",
                "invert": False,
            }
        ),
    ],
)
def test_what_may_merge_across_every_cut_is_not_cut(description: str) -> None:
    assert word_cut_of(description) is None


def test_added_tokens_that_take_their_surroundings_forbid_the_cuts() -> None:
    for token in (AddedToken("<a>", rstrip=True), AddedToken("<a>", lstrip=True), AddedToken("two words")):
        tokenizer = make(CUTS["qwen2"])
        tokenizer.add_tokens([token])
        assert word_cut_of(tokenizer.to_str()) is None


def test_offsets_that_depend_on_the_beginning_of_a_text_are_found_in_the_whole() -> None:
    tokenizer = make(CUTS["cl100k"])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=True)
    assert not keeps_offsets(tokenizer.to_str())
    check(tokenizer, Encoder(tokenizer), ["the Word the 123", " the"])


def test_a_sentencepiece_tokenizer_is_not_cut() -> None:
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = Metaspace()
    assert word_cut_of(tokenizer.to_str()) is None
