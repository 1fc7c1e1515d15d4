"""Tests of the tokenizer that a model from scratch gets."""

import json
import unicodedata
from pathlib import Path

import pytest
from transformers import AutoTokenizer, Qwen2Tokenizer

from luthier.floor.errors import DataError
from luthier.text.train_tokenizer import SPECIAL_TOKENS, train_tokenizer

VOCAB_SIZE = 384

TRAINING_TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the lazy dog sleeps.",
    "She sells sea shells; the shells that she sells are surely sea shells.",
    "Café Zürich isn't open on 24 December 2025, they've said.",
    "name[The Mill], food[English], area[riverside]\n\n    indented = {'key': 3.14}",
] * 5

HARD_TEXTS = [
    "plain words only",
    "naïve café, Ελληνικά, русский, 日本語, العربية, हिन्दी",
    "cafe\u0301 A\u030angstro\u0308m e\u0323\u0302",  # decomposed: NFC composes what it can
    "\u1e9b\u0323 \u212b \ufb01",  # NFC, not NFKC: the ligature must survive
    "in 1999 12345678 1,000.50 ٣٤٥ ½",
    "smile 😀 family 👨‍👩‍👧‍👦 flag 🇩🇪",
    "  leading, \t\ttabs,   runs    of     spaces \n\n\n lines\r\nand trailing   ",
    "I'll they'RE we've DON'T 'quoted'",
    "a<|endoftext|>b <|im_start|>user\nhi<|im_end|>\n<|im_end|><|im_end|>",
    "<|im_start |> <|endoftext",
    "\x00\x7f\u200b\ufeff\u2028",
    "",
]


@pytest.fixture(scope="module")
def tokenizer() -> Qwen2Tokenizer:
    return train_tokenizer(TRAINING_TEXTS, vocab_size=VOCAB_SIZE)


@pytest.fixture(scope="module")
def reloaded(tokenizer: Qwen2Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Qwen2Tokenizer:
    folder = tmp_path_factory.mktemp("model")
    tokenizer.save_pretrained(folder)
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "vocab_size": VOCAB_SIZE}
    (folder / "config.json").write_text(json.dumps(config))
    loaded = AutoTokenizer.from_pretrained(folder)
    assert isinstance(loaded, Qwen2Tokenizer)
    return loaded


def test_the_vocabulary_has_exactly_the_size_asked_for(tokenizer: Qwen2Tokenizer) -> None:
    assert len(tokenizer) == VOCAB_SIZE
    assert sorted(tokenizer.get_vocab().values()) == list(range(VOCAB_SIZE))


def test_special_tokens_take_the_last_ids_and_no_text_begins_with_one(tokenizer: Qwen2Tokenizer) -> None:
    last_ids = list(range(VOCAB_SIZE - len(SPECIAL_TOKENS), VOCAB_SIZE))
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == last_ids
    assert tokenizer.eos_token == tokenizer.pad_token == "<|endoftext|>"
    assert tokenizer.bos_token is None
    assert not set(tokenizer("fox")["input_ids"]) & set(last_ids)


@pytest.mark.parametrize("text", HARD_TEXTS, ids=ascii)
def test_ids_are_the_same_after_a_reload_as_a_qwen2_model(
    tokenizer: Qwen2Tokenizer, reloaded: Qwen2Tokenizer, text: str
) -> None:
    assert reloaded(text)["input_ids"] == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("text", HARD_TEXTS, ids=ascii)
def test_any_text_comes_back_as_its_nfc_form(reloaded: Qwen2Tokenizer, text: str) -> None:
    assert reloaded.decode(reloaded(text)["input_ids"]) == unicodedata.normalize("NFC", text)


def test_special_tokens_and_template_survive_a_reload(
    tokenizer: Qwen2Tokenizer, reloaded: Qwen2Tokenizer
) -> None:
    assert reloaded.get_vocab() == tokenizer.get_vocab()
    assert set(reloaded.all_special_tokens) == set(SPECIAL_TOKENS)
    assert reloaded.chat_template == tokenizer.chat_template
    assert (reloaded.eos_token_id, reloaded.pad_token_id) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


def test_the_template_is_its_own_file_beside_the_tokenizer(tokenizer: Qwen2Tokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").is_file()


def test_the_template_writes_chatml_and_invents_no_system_message(reloaded: Qwen2Tokenizer) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello\nthere"}]
    rendered = reloaded.apply_chat_template(turns, tokenize=False)
    assert rendered == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello\nthere<|im_end|>\n"
    prompted = reloaded.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert prompted == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_the_same_texts_give_the_same_tokenizer(tokenizer: Qwen2Tokenizer) -> None:
    again = train_tokenizer(iter(TRAINING_TEXTS), vocab_size=VOCAB_SIZE)
    assert again.backend_tokenizer.to_str() == tokenizer.backend_tokenizer.to_str()


def test_training_shortens_the_text_it_saw(tokenizer: Qwen2Tokenizer) -> None:
    text = TRAINING_TEXTS[0]
    assert len(tokenizer(text)["input_ids"]) < len(text.encode()) / 2


def test_too_little_text_is_refused_with_the_size_it_could_fill() -> None:
    with pytest.raises(DataError, match="the vocabulary should have 5000") as caught:
        train_tokenizer(TRAINING_TEXTS, vocab_size=5000)
    assert caught.value.code == "tokenizer-train"
    reachable = int(caught.value.fix.split("at most ")[1].split()[0])
    assert len(train_tokenizer(TRAINING_TEXTS, vocab_size=reachable)) == reachable


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(DataError, match="258 tokens is too small"):
        train_tokenizer(TRAINING_TEXTS, vocab_size=258)
    assert len(train_tokenizer(["no merge"], vocab_size=259)) == 259
