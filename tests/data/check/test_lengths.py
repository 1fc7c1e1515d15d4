"""What rows cost in tokens: as training renders them, and as the guide's validate_dataset sees them."""

from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerBase

from luthier.data.check.lengths import CANDIDATES
from luthier.data.check.measure import Measure
from luthier.data.check.stage import CheckTask, check
from luthier.text.render import Renderer
from luthier.text.rows import Row
from luthier.text.tokenizer import load_tokenizer
from tests.data.check.planting import ANSWER, TOOL, USER, call, chat, find, pair, places, tool, write


def validate_dataset(dataset: list[dict[str, str]], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The guide's, word for word in what it says."""
    issues = []
    empty_count = sum(1 for x in dataset if not x["text"].strip())
    if empty_count > 0:
        issues.append(f"Found {empty_count} empty samples")
    lengths = [len(tokenizer.encode(x["text"])) for x in dataset[:100]]
    if max(lengths) > 2048:
        issues.append(f"Very long sequences detected: max={max(lengths)}")
    texts = [x["text"] for x in dataset[:1000]]
    if len(texts) != len(set(texts)):
        issues.append("Duplicate samples detected")
    return issues


LONG = "A river runs to the sea, and another one to a lake. " * 80
WORDS = [f"Sentence {n} of a text that says something." for n in range(20)]


@pytest.mark.parametrize(
    "texts",
    [
        WORDS,
        ["", " ", *WORDS],
        [*WORDS, LONG],
        [*WORDS, WORDS[3]],
        [LONG, "\n", WORDS[0], LONG, ""],
        [*WORDS, WORDS[3].upper(), " " + WORDS[4]],
    ],
    ids=["clean", "empty", "long", "duplicate", "all three", "alike and not the same"],
)
def test_the_three_findings_of_the_guide_are_its_own_words(
    texts: list[str], tiny_base: Path, tmp_path: Path
) -> None:
    rows = [{"text": text} for text in texts]
    found = find(write(tmp_path / "rows.jsonl", rows), measure=Measure(tiny_base))
    told = [each.message for each in found if each.kind.startswith("guide-")]
    assert sorted(told) == sorted(validate_dataset(rows, load_tokenizer(tiny_base)))


def test_the_guide_looks_at_a_hundred_rows_and_the_check_at_all(tiny_base: Path, tmp_path: Path) -> None:
    rows = [{"text": f"Row {n}."} for n in range(1200)] + [{"text": LONG}, {"text": "Row 7."}]
    assert validate_dataset(rows, load_tokenizer(tiny_base)) == []
    found = find(write(tmp_path / "rows.jsonl", rows), measure=Measure(tiny_base))
    assert places(found, "guide-long") == [1201]
    assert places(found, "guide-duplicates") == [1202]


def test_a_long_row_is_told_on_its_line_with_what_it_loses(tiny_base: Path, tmp_path: Path) -> None:
    rows = [pair("Short?", "Yes."), pair("Long?", "word " * 100), pair("And a long prompt? " * 20, "No.")]
    path = write(tmp_path / "rows.jsonl", rows)
    renderer = Renderer(load_tokenizer(tiny_base), template="guide")
    rendered = [
        renderer.render(Row("prompt_completion", "x", row["prompt"], row["completion"])) for row in rows
    ]
    found = find(path, measure=Measure(tiny_base, max_length=64))
    assert places(found, "over-long") == [2, 3]
    for line in (2, 3):
        (finding,) = [each for each in found if each.kind == "over-long" and each.line == line]
        ids, trained = rendered[line - 1].ids, rendered[line - 1].trained
        assert finding.message.startswith(f"{len(ids):,} tokens, {len(ids) - 64:,} more than 64; ")
        assert f"{sum(trained[64:]) / sum(trained):.1%} of its trained tokens" in finding.message


def test_the_cost_of_each_length_is_the_share_of_trained_tokens_behind_it(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows = [pair(f"Count to {n}.", "one two three " * n) for n in range(1, 120, 7)]
    renderer = Renderer(load_tokenizer(tiny_base), template="guide")
    masks = [
        renderer.render(Row("prompt_completion", "x", row["prompt"], row["completion"])).trained
        for row in rows
    ]
    with check(CheckTask((write(tmp_path / "rows.jsonl", rows),), measure=Measure(tiny_base, 100))) as found:
        costs = found.costs
    assert [length for length, _, _ in costs] == sorted({100, *CANDIDATES})[: len(costs)]
    assert costs[-1][1:] == (0, 0.0)
    total = sum(map(sum, masks))
    for length, cut, lost in costs:
        assert cut == sum(len(mask) > length for mask in masks)
        assert lost == pytest.approx(sum(sum(mask[length:]) for mask in masks) / total)


def test_rows_that_training_does_not_render_are_counted_by_their_texts(
    tiny_base: Path, tmp_path: Path
) -> None:
    rows: list[Any] = [chat(USER, ANSWER), chat(USER, {**ANSWER, "content": "It is <|im_end|> forty-two."})]
    rows.append(chat(USER, call(), tool(), ANSWER, tools=[TOOL]))
    found = find(write(tmp_path / "rows.jsonl", rows), measure=Measure(tiny_base))
    (told,) = [each.message for each in found if each.kind == "lengths"]
    assert "counted by their texts alone" in told
