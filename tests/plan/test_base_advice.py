"""Which base to take: evidence from folders made for it, names by whole words, and the guide's table of right and wrong choices."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from luthier.knowledge.base_evidence import judge_folder, judge_name, words_of
from luthier.knowledge.model_folder import find_model
from luthier.plan.base_advice import Question, advise, suits
from luthier.reports.base_advice import Task
from tests.cli.workshop import luthier

TURN_TOKENS = {"<|im_start|>": 6, "<|im_end|>": 7}


def make_folder(
    folder: Path,
    *,
    end: str = "<|endoftext|>",
    template: bool = True,
    generation: dict[str, Any] | None = None,
    card: str = "",
    trained: bool | None = None,
) -> Path:
    """A model folder with what evidence is taken from; `trained` says whether the rows of the turn's tokens differ."""
    folder.mkdir()
    config = {
        "model_type": "llama",
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "vocab_size": 8,
        "max_position_embeddings": 64,
    }
    (folder / "config.json").write_text(json.dumps(config))
    settings = {"eos_token": end} | ({"chat_template": "{{ messages }}"} if template else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation))
    (folder / "README.md").write_text(card)
    if trained is not None:
        tokens = [{"id": id, "content": content} for content, id in TURN_TOKENS.items()]
        (folder / "tokenizer.json").write_text(json.dumps({"added_tokens": tokens}))
        chance = np.random.default_rng(1)
        rows = chance.standard_normal((8, 16), dtype=np.float32)
        if not trained:
            rows[7] = 1.1 * rows[6] + 0.01
        save_file({"model.embed_tokens.weight": rows}, folder / "model.safetensors")
    return folder


def test_a_base_and_a_tuned_model_are_told_apart_by_what_lies_there(tmp_path: Path) -> None:
    base = judge_folder(make_folder(tmp_path / "a", template=False, trained=False), "owner/a")
    assert (base.kind, base.confidence) == ("base", "high")
    sampling = {"eos_token_id": [1, 7], "temperature": 0.7, "do_sample": True}
    card = "---\nbase_model: owner/a\nbase_model_relation: finetune\nlicense: mit\ntags: [conversational]\n---\nText.\n"
    tuned = judge_folder(
        make_folder(tmp_path / "b", end="<|im_end|>", generation=sampling, card=card, trained=True), "owner/b"
    )
    assert (tuned.kind, tuned.confidence) == ("tuned", "high")
    assert tuned.derived_from == "owner/a"
    assert advise([str(tmp_path / "b")], Question("novel", None, None)).candidates[0].licence == "mit"
    assert len(tuned.pieces) == 7
    # A chat template alone makes no tuned model, and a name does not make a base of one.
    assert judge_folder(make_folder(tmp_path / "c"), "owner/c").kind == "base"
    assert judge_folder(tmp_path / "b", "owner/b-base").kind == "tuned"


def test_the_embedded_base_is_one_though_it_has_a_template_and_the_tokens_of_a_chat() -> None:
    found = judge_folder(find_model("embedded"), "embedded")
    assert (found.kind, found.confidence) == ("base", "high")
    assert any("are alike" in piece.says for piece in found.pieces)


@pytest.mark.parametrize(
    ("name", "kind", "domain"),
    [
        ("openai-community/gpt2-medium", "base", None),  # the guide's test finds "med" in it
        ("Qwen/Qwen2.5-0.5B", "base", None),
        ("meta-llama/Llama-3.2-1B-Instruct", "tuned", None),
        ("google/gemma-2-2b-it", "tuned", None),
        ("google/gemma-3-1b-pt", "base", None),
        ("codellama/CodeLlama-7b-Python-hf", "specialized", "code"),
        ("defog/sqlcoder-7b-2", "specialized", "code"),
        ("stanford-crfm/BioMedLM", "specialized", "medicine"),
        ("owner/sprite-encoder-7b", "base", None),
        ("owner/italian-7b", "base", None),
    ],
)
def test_a_name_is_read_by_whole_words_and_trusted_little(name: str, kind: str, domain: str | None) -> None:
    found = judge_name(name)
    assert (found.kind, found.domain, found.confidence) == (kind, domain, "low"), words_of(name)


@pytest.mark.parametrize(
    ("task", "domain", "wrong", "right"),
    [
        ("novel", None, "codellama/CodeLlama-7b-hf", "meta-llama/Llama-3.2-1B"),  # a new programming language
        (
            "extend",
            "code",
            "meta-llama/Llama-3.2-1B-Instruct",
            "codellama/CodeLlama-7b-hf",
        ),  # a house's Python
        ("novel", "law", "stanford-crfm/BioMedLM", "meta-llama/Llama-3.2-1B"),  # medical notes to legal texts
        (
            "behaviour",
            None,
            "meta-llama/Llama-3.2-1B-Instruct",
            "meta-llama/Llama-3.2-1B",
        ),  # another personality
        ("novel", None, "defog/sqlcoder-7b-2", "Qwen/Qwen2.5-0.5B"),  # a new query syntax
    ],
)
def test_the_guides_right_and_wrong_choices_come_out(
    task: Task, domain: str | None, wrong: str, right: str
) -> None:
    question = Question(task, domain, None)
    found = advise([wrong, right], question)
    assert found.recommended == right
    assert {each.name: each.suits for each in found.candidates} == {right: "yes", wrong: "no"}
    assert suits(judge_name(wrong), question)[0] == "no"
    nothing = advise([wrong], question)
    assert nothing.recommended is None
    assert "take a base" in nothing.why


def test_the_command_measures_bytes_a_token_and_says_what_it_could_not_see(tmp_path: Path) -> None:
    (tmp_path / "rows.txt").write_text("The Mill is an English pub by the river.\n" * 50)
    done = luthier(
        tmp_path, "advise", "base", "embedded", "Qwen/Qwen2.5-0.5B", "--rows", "rows.txt", "--json"
    )
    assert done.code == 0, done.err
    found = {each["name"]: each for each in done.json["candidates"]}
    assert 2 < found["embedded"]["bytes_per_token"] < 6
    assert found["embedded"]["parameters"] == 7_348_480
    assert found["Qwen/Qwen2.5-0.5B"]["parameters"] == 494_032_768
    assert "only its name was judged" in found["Qwen/Qwen2.5-0.5B"]["warnings"][0]
    shown = luthier(tmp_path, "advise", "base", "embedded").out
    assert "for a base: the rows of <|im_start|> and <|im_end|> are alike" in shown
    assert "too small to know much" in shown


def test_bits_a_byte_are_those_of_a_model_that_sees_the_whole_text(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    text = "The Mill is an English pub by the river, with cheap food.\n" * 3
    (tmp_path / "rows.txt").write_text(text)
    done = luthier(tmp_path, "advise", "base", "embedded", "--rows", "rows.txt", "--measure", "--json")
    assert done.code == 0, done.err
    folder = find_model("embedded")
    ids = AutoTokenizer.from_pretrained(folder)(text, return_tensors="pt", return_offsets_mapping=True)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        nats = float(model(input_ids=ids["input_ids"], labels=ids["input_ids"]).loss) * (
            ids["input_ids"].shape[1] - 1
        )
    scored_bytes = len(text[int(ids["offset_mapping"][0, 1, 0]) :].encode())
    assert done.json["candidates"][0]["bits_per_byte"] == pytest.approx(
        nats / np.log(2) / scored_bytes, rel=1e-4
    )
    assert luthier(tmp_path, "advise", "base", "embedded", "--measure").code == 2


def test_windows_leave_no_token_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from luthier.floor.stop import StopFlag
    from luthier.modelling import text_loss

    ids = [7 * number % 4000 for number in range(300)]
    whole = text_loss.nats_of(find_model("embedded"), ids, stop=StopFlag(), device_name="cpu")
    seen: list[int] = []
    monkeypatch.setattr(text_loss, "WINDOW_TOKENS", 64)
    parts = text_loss.nats_of(
        find_model("embedded"),
        ids,
        stop=StopFlag(),
        device_name="cpu",
        on_tokens=lambda done, total: seen.append(done),
    )
    assert seen[-1] == len(ids)
    assert parts == pytest.approx(whole, rel=0.05)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("./nowhere",), 4, "mdl-missing"),
        (("embedded", "--rows", "none.txt"), 3, "there is no file none.txt"),
        (("embedded", "--domain", "cod"), 2, "did you mean code?"),
        (("embedded", "--task", "other"), 2, "--task"),
    ],
)
def test_what_cannot_be_judged_is_said(tmp_path: Path, words: tuple[str, ...], code: int, said: str) -> None:
    done = luthier(tmp_path, "advise", "base", *words)
    assert (done.code, said in done.err) == (code, True), done.err
