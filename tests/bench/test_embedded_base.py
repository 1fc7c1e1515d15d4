"""The base that ships: its files are those that were measured, its card says what facts.json says, its form is the promised one."""

import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from luthier.config.compose import load_recipe
from luthier.knowledge.model_folder import find_model
from luthier.text.train_tokenizer import CHAT_TEMPLATE

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "assets" / "embedded-base"
CORPUS = json.loads((ROOT / "bench/embedded_base/corpus.json").read_text())
FACTS: dict[str, Any] = json.loads((BASE / "facts.json").read_text())
CONFIG: dict[str, Any] = json.loads((BASE / "config.json").read_text())
CARD = (BASE / "README.md").read_text()
MOST_BYTES = 16_000_000
SPECIAL = {"<|endoftext|>": 4093, "<|im_start|>": 4094, "<|im_end|>": 4095}


def row(name: str) -> str:
    """What the card's row of this name says; exactly one has it."""
    (found,) = re.findall(rf"^\| {re.escape(name)} \| (.*) \|$", CARD, re.MULTILINE)
    return str(found)


def test_every_file_is_the_one_that_was_measured() -> None:
    files = {file.name: file.read_bytes() for file in BASE.iterdir()}
    assert set(files) == {*FACTS["files"], "facts.json", "README.md"}
    for name, facts in FACTS["files"].items():
        found = {"bytes": len(files[name]), "sha256": hashlib.sha256(files[name]).hexdigest()}
        assert found == facts, name
    assert sum(map(len, files.values())) <= MOST_BYTES


def test_the_card_says_what_the_run_measured() -> None:
    validation, files = FACTS["validation"], FACTS["files"]
    assert (
        row("tokens seen")
        == f"{FACTS['tokens_seen']:,} in {FACTS['steps']:,} steps, {FACTS['epochs']} epochs"
    )
    assert (
        row("corpus")
        == f"{FACTS['corpus_tokens']:,} tokens for training, {validation['tokens']:,} for validation"
    )
    assert row("hardware") == f"one {FACTS['hardware']}"
    assert row("wall time").startswith(f"{FACTS['seconds']} s ")
    assert f" {FACTS['tokens_per_second']:,} tokens/s" in row("wall time")
    assert row("GPU memory") == f"{FACTS['peak_bytes'] / 2**30:.1f} GiB at most"
    assert row("precision").startswith(f"{FACTS['precision']},")
    assert row("validation loss").startswith(f"{validation['loss_nats_a_token']} nats a token")
    assert f"({validation['loss_of_the_run_in_fp32']:.4f} before rounding)" in row("validation loss")
    assert row("bits per byte") == f"{validation['bits_a_byte']}, over {validation['bytes']:,} bytes"
    assert (
        row("parameters")
        == f"{FACTS['parameters']:,}, stored in bf16 ({files['model.safetensors']['bytes']:,} bytes)"
    )
    assert f"Python {FACTS['python']}" in row("software")
    for package in ("torch", "transformers", "tokenizers", "safetensors"):
        assert f"{package} {FACTS['packages'][package]}" in row("software")
    assert f"make_base.sh CORPUS WORK train.most_steps={FACTS['steps']}\n" in CARD


def test_the_figures_of_the_run_agree_with_one_another() -> None:
    validation = FACTS["validation"]
    bits = validation["loss_nats_a_token"] * validation["tokens"] / math.log(2) / validation["bytes"]
    assert bits == pytest.approx(validation["bits_a_byte"], abs=1e-4)
    assert FACTS["tokens_seen"] / FACTS["corpus_tokens"] == pytest.approx(FACTS["epochs"], abs=5e-3)
    assert validation["loss_nats_a_token"] == pytest.approx(validation["loss_of_the_run_in_fp32"], abs=1e-3)
    recipe = load_recipe(ROOT / "configs" / "pretrain.yaml").recipe
    assert recipe.train.most_steps == FACTS["steps"]


def test_the_run_is_among_those_that_were_measured_for_its_length() -> None:
    runs = json.loads((ROOT / "bench/embedded_base/steps.json").read_text())["runs"]
    (shipped,) = [run for run in runs if run.get("shipped")]
    named = ("tokens", "epochs", "seconds", "tokens_per_second")
    measured = ("tokens_seen", "epochs", "seconds", "tokens_per_second")
    assert [shipped[name] for name in named] == [FACTS[name] for name in measured]
    last = shipped["validation_loss_by_step"][str(FACTS["steps"])]
    assert last == pytest.approx(FACTS["validation"]["loss_of_the_run_in_fp32"], abs=1e-4)


@pytest.mark.parametrize("name", sorted(CORPUS["sources"]))
def test_the_card_names_every_source_with_its_licence(name: str) -> None:
    source, tokens = CORPUS["sources"][name], CORPUS["tokens"][name]["tokens"]
    assert row(name).endswith(f" | {source['licence']} | {source['passes']}x | {tokens:,}")


def test_the_card_counts_what_decontamination_cut() -> None:
    cut = {suite: count for suite, count in CORPUS["cut_by_suite"].items() if suite != "repeated or broken"}
    assert f"\n{sum(cut.values())} cuts, none of them for E2E, Banking77 or SNIPS." in CARD
    assert [suite for suite in cut if re.search("e2e|banking|snips", suite)] == []


def test_every_link_of_the_card_leads_to_a_file() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", CARD)
    assert [target for target in targets if not (BASE / target).exists()] == []
    assert len(targets) == 2


def test_it_is_a_qwen2_whose_sizes_gguf_can_quantize() -> None:
    assert (CONFIG["architectures"], CONFIG["model_type"], CONFIG["dtype"]) == (
        ["Qwen2ForCausalLM"],
        "qwen2",
        "bfloat16",
    )
    assert CONFIG["tie_word_embeddings"]
    sizes = ("hidden_size", "intermediate_size", "vocab_size")
    assert [CONFIG[size] % 256 for size in sizes] == [0, 0, 0]
    said = (
        f"{CONFIG['num_hidden_layers']} layers, hidden size {CONFIG['hidden_size']}, "
        f"feed-forward {CONFIG['intermediate_size']}, {CONFIG['num_attention_heads']} heads over "
        f"{CONFIG['num_key_value_heads']} key-value heads, tied embeddings"
    )
    assert row("architecture") == f"Qwen2ForCausalLM, {said}"
    assert row("context").startswith(f"{CONFIG['max_position_embeddings']:,} tokens")
    assert 5_000_000 <= FACTS["parameters"] <= 8_000_000


def test_the_weights_are_as_many_as_the_facts_say() -> None:
    with (BASE / "model.safetensors").open("rb") as file:
        head = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    head.pop("__metadata__", None)
    assert {tensor["dtype"] for tensor in head.values()} == {"BF16"}
    assert sum(math.prod(tensor["shape"]) for tensor in head.values()) == FACTS["parameters"]


def test_its_tokenizer_is_what_transformers_and_llama_cpp_assume() -> None:
    pipeline = json.loads((BASE / "tokenizer.json").read_text())
    assert pipeline["normalizer"] == {"type": "NFC"}
    split, level = pipeline["pre_tokenizer"]["pretokenizers"]
    assert (split["type"], split["pattern"]) == ("Split", {"Regex": PRETOKENIZE_REGEX})
    assert (level["type"], level["use_regex"]) == ("ByteLevel", False)
    assert pipeline["model"]["type"] == "BPE"
    assert {token["content"]: token["id"] for token in pipeline["added_tokens"]} == SPECIAL
    assert all(token["special"] for token in pipeline["added_tokens"])


def test_transformers_loads_its_tokenizer_unchanged_with_the_template() -> None:
    loaded = AutoTokenizer.from_pretrained(find_model("embedded"))
    raw = Tokenizer.from_file(str(BASE / "tokenizer.json"))
    text = "Cafe\N{COMBINING ACUTE ACCENT} Sicilia isn't far: 3 out of 5!\n  naïve 数\N{ROCKET}"
    assert loaded(text)["input_ids"] == raw.encode(text).ids
    assert (len(loaded), loaded.eos_token_id, loaded.pad_token_id) == (CONFIG["vocab_size"], 4093, 4093)
    assert (CONFIG["eos_token_id"], CONFIG["pad_token_id"]) == (4093, 4093)
    assert loaded.chat_template == CHAT_TEMPLATE
    asked = loaded.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    assert asked == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
