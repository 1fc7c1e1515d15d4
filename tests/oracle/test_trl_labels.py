"""TRL as the judge of our labels: the same rows give the same ids and the same loss, token for token.

TRL encodes prompt and completion as one text; the guide encodes them apart, so that the ids of the prompt are the ones generation
starts from. Where tokens merge across the seam the two must differ: those rows are counted, and are exactly the merging ones.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from luthier.text.render import Renderer
from luthier.text.rows import Message, Row
from luthier.text.train_tokenizer import train_tokenizer
from tests.tiny import CHATML_WITH_GENERATION, make_tiny

pytestmark = [pytest.mark.oracle, pytest.mark.slow]

BUNDLED = Path(__file__).parents[2] / "data" / "train.jsonl"
BUNDLED_ROWS = 200
# Qwen2's word splitting takes a run of line breaks as one word: these merge with the newline after the prompt.
MERGING = [("What?", "\nThat."), ("What?", "\n\n  That."), ("word", "\n- one")]
AWKWARD = [
    ("What?", "That."),
    ("What?", " That."),
    ("What?", "  two spaces"),
    ("trailing space ", "x"),
    ("ends with newline\n", "x"),
    ("Caf\u00e9 \U0001f600", "\u00fc\U0001f600"),
    ("\u65e5\u672c", "\u8a9e"),
    ("tab\t", "\tindented"),
    ("1 + 1 =", "2"),
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer that has learnt to merge line breaks."""
    trained = train_tokenizer(["one\n\ntwo?\n\nthree\n\nthe river"] * 3, vocab_size=266)
    trained.chat_template = CHATML_WITH_GENERATION
    return trained


def by_trl(
    tokenizer: PreTrainedTokenizerFast, rows: list[dict[str, Any]], folder: Path, **settings: Any
) -> list[dict[str, list[int]]]:
    """The rows as TRL's trainer would feed them, with their labels."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    model: PreTrainedModel = make_tiny()
    config = SFTConfig(
        output_dir=str(folder),
        max_length=None,
        packing=False,
        use_cpu=True,
        bf16=False,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    trainer = SFTTrainer(
        model=model, args=config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    return [{"ids": list(row["input_ids"]), "labels": list(row["labels"])} for row in trainer.train_dataset]


def labels_of(ids: list[int], trained: list[bool]) -> list[int]:
    return [id if is_trained else -100 for id, is_trained in zip(ids, trained, strict=True)]


def merges_at_the_seam(tokenizer: PreTrainedTokenizerFast, prompt: str, completion: str) -> bool:
    """Whether the text as a whole has other ids than its two parts, asked of the tokenizer itself."""

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    return ids(prompt + "\n" + completion) != ids(prompt + "\n") + ids(completion)


def test_pairs_have_trls_labels_unless_tokens_merge_across_the_seam(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    with open(BUNDLED, encoding="utf-8") as file:
        bundled = [json.loads(line) for line, _ in zip(file, range(BUNDLED_ROWS), strict=False)]
    pairs = [(row["prompt"], row["completion"]) for row in bundled] + AWKWARD + MERGING
    theirs = by_trl(tokenizer, [{"prompt": p + "\n", "completion": c} for p, c in pairs], tmp_path)
    renderer = Renderer(tokenizer, template="guide")
    merged = []
    for (prompt, completion), their in zip(pairs, theirs, strict=True):
        ours = renderer.render(Row("prompt_completion", "a:1", prompt=prompt, completion=completion))
        if merges_at_the_seam(tokenizer, prompt, completion):
            merged.append((prompt, completion))
            assert their["ids"] != ours.ids
            continue
        assert their["ids"] == ours.ids
        assert their["labels"] == labels_of(ours.ids, ours.trained)
    assert merged == MERGING
    assert len(theirs) == BUNDLED_ROWS + len(AWKWARD) + len(MERGING)


def test_conversations_have_trls_labels(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    conversations = [
        [("user", prompt), ("assistant", completion), ("user", "And then?"), ("assistant", prompt)]
        for prompt, completion in AWKWARD
    ]
    conversations += [[("system", "Be brief."), ("user", "a"), ("assistant", "b")]]
    theirs = by_trl(
        tokenizer,
        [{"messages": [{"role": r, "content": c} for r, c in turns]} for turns in conversations],
        tmp_path,
        assistant_only_loss=True,
    )
    renderer = Renderer(tokenizer, template="chat")
    for turns, their in zip(conversations, theirs, strict=True):
        messages = tuple(Message(role, content) for role, content in turns)
        ours = renderer.render(Row("messages", "a:1", messages=messages))
        assert their["ids"] == ours.ids
        assert their["labels"] == labels_of(ours.ids, ours.trained)
