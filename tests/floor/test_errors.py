"""A fault says what, where, why and what to type, once for people and once for programs, and never a secret."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from luthier.floor.errors import (
    FAULTS,
    DataError,
    EnvironmentFault,
    Interrupted,
    LuthierError,
    RecipeError,
    UsageError,
)
from luthier.floor.secrets import hide_secrets

TOKENS = {
    "hf_": "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZ01234567",
    "sk-": "sk-proj-" + "0123456789abcdefghij",
    "ghp_": "ghp_" + "0123456789abcdefghijklmnopqrstuvwxyz",
}


def test_a_fault_is_written_from_what_to_fix() -> None:
    fault = DataError(
        "data-json",
        "line 3 is no JSON object: [1]",
        where="rows.jsonl:3",
        why="A row is an object.",
        fix="Look at it: sed -n 3p rows.jsonl",
    )
    assert fault.render().split("\n") == [
        "error[data-json]: line 3 is no JSON object: [1]",
        "  at rows.jsonl:3",
        "  A row is an object.",
        "Look at it: sed -n 3p rows.jsonl",
    ]


def test_what_is_not_known_takes_no_line() -> None:
    assert EnvironmentFault("env-disk", "the disk is full").render() == "error[env-disk]: the disk is full"


def test_several_problems_are_listed_in_their_order() -> None:
    fault = RecipeError("recipe", "the recipe has 2 problems", problems=["train.epochs = 0", "train.lrr"])
    assert fault.render().split("\n")[1:] == ["  train.epochs = 0", "  train.lrr"]


def test_a_program_gets_the_same_facts() -> None:
    fault = UsageError("run-missing", "no run", where="outputs/runs", why="w", fix="f", problems=("a", "b"))
    assert json.loads(json.dumps(fault.as_json())) == {
        "error": {
            "code": "run-missing",
            "what": "no run",
            "where": "outputs/runs",
            "why": "w",
            "fix": "f",
            "problems": ["a", "b"],
            "exit_code": 2,
        }
    }


def test_a_fault_is_also_an_exception_with_a_text() -> None:
    assert str(Interrupted("interrupted", "stopped after step 3")) == "stopped after step 3"


def test_a_word_that_is_not_in_the_registry_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="'no-such-word' is not in the registry"):
        LuthierError("no-such-word", "what")


@pytest.mark.parametrize("code", sorted(FAULTS))
def test_every_word_can_be_raised(code: str) -> None:
    assert LuthierError(code, "what").render() == f"error[{code}]: what"


@pytest.mark.parametrize("prefix", TOKENS)
def test_a_token_is_in_no_part_of_a_fault(prefix: str) -> None:
    token = TOKENS[prefix]
    fault = UsageError(
        "usage",
        f"no model called {token}",
        where=f"model.name={token}",
        why=f"'{token}' is odd",
        fix=f"luthier train model.name={token}",
        problems=[f"https://user:{token}@huggingface.co/x"],
    )
    for shown in (fault.render(), json.dumps(fault.as_json()), str(fault), repr(fault)):
        assert token not in shown
        assert token[len(prefix) :] not in shown
    assert f"no model called {prefix}" in fault.what


def test_what_the_environment_calls_a_secret_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123")
    monkeypatch.setenv("SOME_TOKEN", "no")
    assert hide_secrets("key 0123456789abcdef0123, no more") == "key $WANDB_API_KEY, no more"


@pytest.mark.parametrize(
    "text", ["hf_hub_download", "sk-learn", "train.lr=1e-4", "the task-specific-adapter-of-mine-number-one"]
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert hide_secrets(text) == text


@given(st.text(), st.sampled_from(sorted(TOKENS.values())), st.text())
def test_hiding_twice_hides_no_more(before: str, token: str, after: str) -> None:
    once = hide_secrets(f"{before} {token} {after}")
    assert token not in once
    assert hide_secrets(once) == once
