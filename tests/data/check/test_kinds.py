"""Each kind of finding is found on its very line, between rows that have no fault, and says what to do."""

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.data.check.kinds import KINDS
from tests.data.check.planting import ANSWER, GOOD, TOOL, USER, call, chat, find, kinds, pair, tool, write

HALF = b'{"prompt": "Name a river.", "completion": "half \\ud800 of it"}'
GOOD_CHAT = chat({"role": "user", "content": "Hello there."}, {"role": "assistant", "content": "Good day."})
GOOD_TEXT = {"text": "The river rises in the hills."}
LOOP = "The cat sat on the mat. " * 30
HUMAN = {"role": "human", "content": "Hi."}
ENDED = chat(USER, ANSWER, {"role": "user", "content": "And then?"})
# What a kind is planted as, beside rows that have no fault of their own.
PLANTED: list[tuple[str, Any, Any]] = [
    ("broken-json", GOOD, b'{"prompt": "x", '),
    ("broken-json", GOOD, b"[1, 2]"),
    ("broken-json", GOOD, b"{'prompt': 'x', 'completion': 'y'}"),
    ("broken-json", GOOD, b'{"prompt": "x", "completion": "y"} {"prompt": "x", "completion": "y"}'),
    ("broken-json", GOOD, b'{"prompt": NaN, "completion": "y"}'),
    ("broken-json", GOOD, b'{"prompt": "x", "prompt": "z", "completion": "y"}'),
    ("broken-json", GOOD, b'{"prompt": "x\x00", "completion": "y"}'),
    ("too-deep", GOOD, b'{"prompt": ' + b"[" * 100_000),
    ("half-character", GOOD, HALF),
    ("encoding", GOOD, '{"prompt": "café", "completion": "y"}'.encode("latin-1")),
    ("unknown-shape", GOOD, {"colour": "red"}),
    ("missing-field", GOOD, {"prompt": "x", "completoin": "y"}),
    ("two-shapes", GOOD, {**GOOD, "text": "z"}),
    ("mixed-shapes", GOOD, GOOD_TEXT),
    ("wrong-type", GOOD, pair(1)),
    ("wrong-type", GOOD, pair("x", {"a": 1})),
    ("mixed-shapes", GOOD, pair([USER])),
    ("refused", {"instruction": "Add.", "output": "3"}, {"instruction": "Add.", "history": [["Hi", "Hello"]], "output": "3"}),
    ("wrong-type", GOOD_TEXT, {"text": None}),
    ("wrong-type", GOOD_CHAT, {"messages": "no"}),
    ("wrong-type", GOOD_CHAT, chat(USER, "yes")),
    ("wrong-type", GOOD_CHAT, chat(USER, {"role": "assistant", "content": 5})),
    ("missing-field", GOOD_CHAT, chat(USER, {"role": "assistant"})),
    ("missing-field", GOOD_CHAT, chat({"content": "x"}, ANSWER)),
    ("unread-part", GOOD_CHAT, chat({"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "x"}}]}, ANSWER)),
    ("empty-prompt", GOOD, pair(" \n")),
    ("empty-answer", GOOD, pair("x", "")),
    ("empty-text", GOOD_TEXT, {"text": "\t"}),
    ("empty-answer", GOOD_CHAT, chat(USER, {"role": "assistant", "content": ""})),
    ("empty-turn", GOOD_CHAT, chat({"role": "user", "content": ""}, ANSWER)),
    ("same-preference", {"prompt": "a", "chosen": "b", "rejected": "c"}, {"prompt": "q", "chosen": "x", "rejected": "x"}),
    ("unknown-role", GOOD_CHAT, chat(HUMAN, ANSWER)),
    ("role-order", GOOD_CHAT, chat(USER, USER, ANSWER)),
    ("role-order", GOOD_CHAT, chat(USER, ANSWER, {"role": "system", "content": "Be brief."}, ANSWER)),
    ("role-order", GOOD_CHAT, chat(ANSWER, USER, ANSWER)),
    ("no-user-turn", GOOD_CHAT, chat({"role": "system", "content": "Be brief."}, ANSWER)),
    ("no-answer", GOOD_CHAT, chat(USER)),
    ("no-answer", GOOD_CHAT, chat()),
    ("last-not-assistant", GOOD_CHAT, ENDED),
    ("weight", GOOD_CHAT, chat({**USER, "weight": 1}, ANSWER)),
    ("weight", GOOD_CHAT, chat(USER, {**ANSWER, "weight": 2})),
    ("nothing-trained", GOOD_CHAT, chat(USER, {**ANSWER, "weight": 0})),
    ("tool-arguments", GOOD_CHAT, chat(USER, call("six and seven"), tool(), ANSWER, tools=[TOOL])),
    ("tool-arguments", GOOD_CHAT, chat(USER, call("[6, 7]"), tool(), ANSWER, tools=[TOOL])),
    ("tool-arguments-twice", GOOD_CHAT, chat(USER, call(json.dumps('{"a": 6}')), tools=[TOOL])),
    ("tool-undeclared", GOOD_CHAT, chat(USER, call(name="multiplie"), tool(), ANSWER, tools=[TOOL])),
    ("tool-undeclared", GOOD_CHAT, chat(USER, call(), tool(), ANSWER)),
    ("tool-unanswered", GOOD_CHAT, chat(USER, call(), {"role": "user", "content": "Well?"}, ANSWER, tools=[TOOL])),
    ("tool-unknown-id", GOOD_CHAT, chat(USER, call(), tool(), tool("call_9"), ANSWER, tools=[TOOL])),
    ("tool-shape", GOOD_CHAT, chat(USER, call({"a": 6}), tool(), ANSWER, tools=[TOOL])),
    ("mojibake", GOOD, pair("Wie schÃ¶n ist MÃ¼nchen?")),
    ("control-characters", GOOD, pair("bell\x07")),
    ("invisible-characters", GOOD, pair("zero\u200bwidth")),
    ("invisible-characters", GOOD, pair("a\u202eb")),
    ("lost-characters", GOOD, pair("caf\ufffd")),
    ("refusal", GOOD, pair("Do it.", "I'm sorry, but I can't help with that.")),
    ("refusal", GOOD, pair("Do it.", "I cannot assist with that request.")),
    ("boilerplate", GOOD, pair("Who?", "Well, as an AI language model I have no opinions.")),
    ("repetition", GOOD, pair("Tell a tale.", LOOP)),
    ("repetition", GOOD, pair("Laugh.", "ha " * 40)),
    ("personal", GOOD, pair("Write to", "anna.smith@mail.example.org, please")),
    ("personal", GOOD, pair("The key", "is hf_" + "a" * 34)),
    ("duplicate", GOOD, GOOD),
    ("duplicate-prompt", GOOD, GOOD),
    ("duplicate-folded", GOOD, pair("What is the capital of FRANCE", GOOD["completion"])),
    ("conflict", GOOD, pair(GOOD["prompt"], "Lyon.")),
]  # fmt: skip
TEMPLATE_TOKENS = ("<|im_end|>", "<|eot_id|>", "[INST]", "</s>", "<start_of_turn>", "<|endoftext|>", "<｜User｜>", "<|end|>", "<|return|>", "<|END_OF_TURN_TOKEN|>")  # fmt: skip
# Found where they stand elsewhere than on a planted row, and tested there.
TESTED_APART = {
    "cut-off", "too-long-line", "bom", "empty-file", "other-dialect", "unused-field", "template-token", "near-duplicate",
    "leak", "near-leak", "contamination", "over-long", "lengths", "guide-empty", "guide-long", "guide-duplicates",
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "good", "bad"), PLANTED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_planted_fault_is_found_on_its_line(kind: str, good: Any, bad: Any, tmp_path: Path) -> None:
    if kind == "duplicate-prompt":  # beside two rows that conflict, a third one of the same prompt
        rows = [good, pair(good["prompt"], "Lyon."), pair(good["prompt"], "Nice.")]
    else:
        rows = [good, b"", bad]
    found = find(write(tmp_path / "rows.jsonl", rows))
    (finding,) = [each for each in found if each.kind == kind]
    assert (finding.file, finding.line) == (str(tmp_path / "rows.jsonl"), 3)
    assert finding.severity == KINDS[kind].severity
    assert finding.message
    assert finding.fix
    assert 1 not in kinds(found), "the row without a fault"


@pytest.mark.parametrize("token", TEMPLATE_TOKENS)
def test_a_token_that_only_a_template_writes_is_found_in_text(token: str, tmp_path: Path) -> None:
    found = find(write(tmp_path / "rows.jsonl", [GOOD, pair("Say", f"bye{token} now")]))
    assert kinds(found) == {2: ["template-token"]}
    assert token in found[0].message


def test_every_kind_has_a_test() -> None:
    assert {kind for kind, _, _ in PLANTED} | TESTED_APART == set(KINDS)


def test_a_row_without_a_fault_has_no_finding_whatever_its_shape(tmp_path: Path) -> None:
    preference = {
        "input": {"messages": [USER]},
        "preferred_output": [ANSWER],
        "non_preferred_output": [{**ANSWER, "content": "43."}],
    }
    shapes = {
        "pair": GOOD,
        "chat": chat({"role": "system", "content": "Be brief."}, USER, ANSWER),
        "tools": chat(USER, call(), tool(), ANSWER, tools=[TOOL], parallel_tool_calls=False),
        "ends-in-a-call": chat(USER, call(), tools=[TOOL]),
        "text": GOOD_TEXT,
        "preference": {"prompt": "a", "chosen": "b", "rejected": "c"},
        "openai-preference": preference,
        "sharegpt": {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
        "alpaca": {"instruction": "Add.", "input": "", "output": "3"},
        "question": {"question": "Why?", "answer": "Because."},
        "number": {"question": "How many?", "answer": 3},
        "lists": pair([USER], [ANSWER]),
        "tree": {
            "role": "prompter",
            "text": "Why?",
            "replies": [{"role": "assistant", "text": "So.", "replies": []}],
        },
        "from-and-value": {
            "messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]
        },
    }
    for name, row in shapes.items():
        found = find(write(tmp_path / f"{name}.jsonl", [row]))
        assert found == [], name


def test_flags_of_england_and_joined_emoji_are_no_invisible_characters(tmp_path: Path) -> None:
    text = "\U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 👩\u200d🔬 می\u200cروم"
    assert find(write(tmp_path / "rows.jsonl", [pair(text)])) == []


def test_a_secret_is_told_of_and_never_shown(tmp_path: Path) -> None:
    key = "hf_" + "b" * 34
    found = find(write(tmp_path / "rows.jsonl", [pair(key), pair(1), {"prompt": key, "x": 1}]))
    assert len(found) >= 3
    assert all(key not in each.message + each.fix for each in found)
