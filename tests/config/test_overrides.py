"""The words of a command line."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.config.overrides import Override, parse_overrides
from luthier.config.problems import Problem


def only(word: str) -> Override | Problem:
    found, problems = parse_overrides([word])
    assert len(found) + len(problems) == 1
    return (found or problems)[0]


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("lr=1e-4", "lr", 1e-4), ("+lr=1", "lr", 1), ("++train.lr=1", "train.lr", 1), ("a=", "a", ""), ("a=no", "a", "no"),
        ("a=true", "a", True), ("a=null", "a", None), ("a=[1,b,'c d']", "a", [1, "b", "c d"]), ("a={b:1,c:{d:x}}", "a", {"b": 1, "c": {"d": "x"}}),
        ("a=/x/y.jsonl", "a", "/x/y.jsonl"), ("a=./data", "a", "./data"), ("a=my file.jsonl", "a", "my file.jsonl"), ("a='*.jsonl'", "a", "*.jsonl"),
        ("a=*.jsonl", "a", "*.jsonl"), ('a="x=y"', "a", "x=y"), ("a=Qwen/Qwen2.5-0.5B", "a", "Qwen/Qwen2.5-0.5B"), ("a=${train.lr}", "a", "${train.lr}"),
        ("lora_target_modules=[all]", "lora_target_modules", ["all"]), ("a=café", "a", "café"),
    ],
)  # fmt: skip
def test_a_word_sets_a_value(word: str, key: str, value: Any) -> None:
    assert only(word) == Override(key, value, removes=False)


def test_a_tilde_takes_a_value_away() -> None:
    assert only("~train.lr") == Override("train.lr", None, removes=True)
    assert only("~lr=1e-4") == Override("lr", None, removes=True)


@pytest.mark.parametrize(
    ("word", "code"),
    [
        ("lr", "cfg-syntax"), ("=1", "cfg-syntax"), ("", "cfg-syntax"), ("a..b=1", "cfg-syntax"), ("a.=1", "cfg-syntax"), ("out={", "cfg-syntax"),
        ("out=a;b", "cfg-syntax"), ("out=a=b", "cfg-syntax"), ("lr=1,2", "cfg-syntax"), ("lr=range(1,5)", "cfg-syntax"), ("lr=choice(1,2)", "cfg-syntax"),
        ("lr=[1", "cfg-syntax"), ("a@b=1", "cfg-syntax"), ("--help", "cfg-syntax"), ("a=b\x00", "cfg-syntax"), ("a=" + "[" * 100, "cfg-size"),
        ("a=" + "x" * 30_000, "cfg-size"), ("a=${oc.env:HOME}", "cfg-secret"), ("a=${now:%Y}", "cfg-secret"), ("a._target_=x", "cfg-target"),
        ("a=[{_target_: x}]", "cfg-target"), ("+hydra.job.name=x", "cfg-unknown"), ("hydra/launcher=x", "cfg-unknown"),
    ],
)  # fmt: skip
def test_a_word_that_is_no_setting_is_refused(word: str, code: str) -> None:
    problem = only(word)
    assert isinstance(problem, Problem)
    assert problem.code == code
    assert problem.place == "command line"


_PARTS = st.sampled_from(
    ["lr", "train", ".", "=", "1e-4", "[", "]", "{", "}", ":", ",", "'", '"', "\\", "${", "}", "~", "+", "@", " ", "(", ")", "null", "-", "#", "?", "*",
     "glob(", "sort(", "int(", "\n", "\udcff", "é", "_target_", "hydra", "$"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=20), st.lists(_PARTS, max_size=12).map("".join), st.lists(_PARTS, max_size=9).map(lambda p: "a=" + "".join(p))))  # fmt: skip
def test_any_word_is_an_override_or_a_problem(word: str) -> None:
    found = only(word)
    assert isinstance(found, (Override, Problem))
