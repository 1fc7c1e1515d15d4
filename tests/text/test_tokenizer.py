"""A tokenizer is loaded without running code, refused with a reason, and told apart from others by its hash."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from luthier.floor.errors import ModelError
from luthier.text.tokenizer import hash_tokenizer, load_tokenizer, vocabulary_size
from tests.tiny import make_tiny_tokenizer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    return tmp_path / "tokenizer"


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_saved_tokenizer_gives_the_same_ids(folder: Path) -> None:
    loaded = load_tokenizer(folder)
    made = make_tiny_tokenizer()
    text = "Caf\u00e9 \U0001f600 the river  runs\n\n<|im_end|>"
    assert loaded(text)["input_ids"] == made(text)["input_ids"]
    assert vocabulary_size(loaded) == 300


def test_the_hash_is_that_of_what_changes_ids(folder: Path) -> None:
    made = make_tiny_tokenizer()
    assert hash_tokenizer(made) == hash_tokenizer(make_tiny_tokenizer())
    before = hash_tokenizer(made)
    made.backend_tokenizer.enable_truncation(5)
    made("a", padding="max_length", max_length=9)
    assert hash_tokenizer(made) == before
    others: list[PreTrainedTokenizerFast] = [
        make_tiny_tokenizer(280),
        make_tiny_tokenizer(eos="<|im_end|>"),
        make_tiny_tokenizer(bos="<|im_start|>"),
        make_tiny_tokenizer(chat_template=None),
    ]
    assert len({before, *map(hash_tokenizer, others)}) == 5


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no_files": (lambda folder: (folder / "tokenizer.json").unlink(), "holds none of tokenizer.json"),
    "cut_off": (lambda folder: (folder / "tokenizer.json").write_text('{"version": "1.0", '), "is not JSON"),
    "an_array": (lambda folder: (folder / "tokenizer.json").write_text("[]"), "is no JSON object"),
    "nested_deep": (lambda folder: (folder / "tokenizer.json").write_text("[" * 100_000), "is not JSON"),
    "empty": (lambda folder: (folder / "tokenizer.json").write_text("{}"), "no usable tokenizer"),
    "another_model": (
        lambda folder: edit(folder / "tokenizer.json", model={"type": "Nonsense"}),
        "no usable",
    ),
    "no_vocabulary": (
        lambda folder: edit(folder / "tokenizer.json", model={"type": "BPE", "vocab": {}, "merges": []}),
        "turns the letter a into no token",
    ),
    "no_end_of_text": (
        lambda folder: edit(folder / "tokenizer_config.json", eos_token=None),
        "no end-of-text token",
    ),
    "broken_config": (lambda folder: (folder / "tokenizer_config.json").write_text("{"), "is not JSON"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_unusable_tokenizer_is_refused_with_the_reason(folder: Path, damage: str) -> None:
    inflict, said = DAMAGES[damage]
    inflict(folder)
    with pytest.raises(ModelError) as caught:
        load_tokenizer(folder)
    assert caught.value.code == "mdl-tokenizer"
    assert caught.value.where == str(folder)
    assert said in caught.value.what


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        load_tokenizer(tmp_path / "gone")


def test_code_of_the_folder_is_not_run(folder: Path, tmp_path: Path) -> None:
    proof = tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(proof)!r}, 'w').close()\nclass Evil: pass\n")
    edit(
        folder / "tokenizer_config.json",
        auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]},
        tokenizer_class="Evil",
    )
    try:
        load_tokenizer(folder)
    except ModelError as fault:
        assert fault.code == "mdl-tokenizer"
    assert not proof.exists()
