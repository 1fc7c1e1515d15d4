"""The bytes of tokens, end to end, are the text that was encoded, whatever the tokenizer writes blanks and bytes as."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from luthier.text.token_text import TokenBytes
from tests.tiny import TURN_END, make_tiny_tokenizer

TINY = make_tiny_tokenizer()


def sentencepiece_like() -> PreTrainedTokenizerFast:
    """Blanks are written as a mark, what the vocabulary lacks as bytes: the way of Llama 2, Mistral and Gemma."""
    signs = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "b", "\u2581a"]
    vocabulary = {sign: id for id, sign in enumerate(signs)}
    backend = Tokenizer(models.BPE(vocabulary, [("\u2581", "a")], unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")


MARKED = sentencepiece_like()


def joined(tokenizer: PreTrainedTokenizerBase, text: str) -> bytes:
    token_bytes = TokenBytes(tokenizer)
    return b"".join(
        token_bytes.of(id) for id in tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids
    )


@given(text=st.text(alphabet=st.characters(codec="utf-8")))
def test_byte_level_tokens_make_the_text_again(text: str) -> None:
    normalized = TINY.backend_tokenizer.normalizer.normalize_str(text)
    assert joined(TINY, text) == normalized.encode()


@given(text=st.text(alphabet="ab c\u00e9\U0001f600\n"))
def test_marked_blanks_and_byte_tokens_make_the_text_again(text: str) -> None:
    assert joined(MARKED, text) == text.encode()


def test_half_a_character_is_its_byte() -> None:
    token_bytes = TokenBytes(TINY)
    ids = TINY.backend_tokenizer.encode("\u20ac", add_special_tokens=False).ids
    assert [token_bytes.of(id) for id in ids] == [b"\xe2", b"\x82", b"\xac"]


@pytest.mark.parametrize("tokenizer", [TINY, MARKED])
def test_control_tokens_and_ids_that_are_no_token_have_a_name(tokenizer: PreTrainedTokenizerBase) -> None:
    token_bytes = TokenBytes(tokenizer)
    assert token_bytes.of(len(tokenizer) + 7) == f"<no token {len(tokenizer) + 7}>".encode()
    for id, token in tokenizer.added_tokens_decoder.items():
        assert token_bytes.of(id) == token.content.encode()


def test_the_end_of_a_turn_is_spelt_as_it_is_written() -> None:
    assert TokenBytes(TINY).of(TINY.convert_tokens_to_ids(TURN_END)) == TURN_END.encode()
