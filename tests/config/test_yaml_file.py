"""A recipe's YAML means what it looks like, and every key knows its line."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from luthier.config.yaml_file import parse_yaml
from luthier.floor.errors import RecipeError


def value_of(scalar: str) -> Any:
    return parse_yaml(f"key: {scalar}\n".encode(), place="x.yaml").tree["key"]


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("no", "no"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("y", "y"), ("1:30", "1:30"), ("2024-01-01", "2024-01-01"),
        ("1_000", "1_000"), ("true", True), ("False", False), ("~", None), ("", None), ("null", None), ("8", 8), ("-8", -8), ("0", 0),
        ("0x1F", 31), ("0o17", "0o17"), ("1e-4", 1e-4), ("2E5", 2e5), (".5", 0.5), ("5.", 5.0), ("-.inf", -math.inf), ("1e", "1e"),
        ("'5'", "5"), ('"true"', "true"), ("!!str 5", "5"), ("[a, 1]", ["a", 1]), ("{a: {b: 1}}", {"a": {"b": 1}}), ("|\n  a\n  b", "a\nb\n"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(scalar: str, value: Any) -> None:
    read = value_of(scalar)
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_read_as_such() -> None:
    assert math.isnan(value_of(".nan"))


def test_every_key_knows_its_line() -> None:
    document = parse_yaml(b"a: 1\nb:\n  c: 2\n\n  d:\n  - x\n  - y\n", place="x.yaml")
    assert document.lines == {("a",): 1, ("b",): 2, ("b", "c"): 3, ("b", "d"): 5}
    assert document.place_of(("b", "d", "1")) == "x.yaml:5"
    assert document.place_of(()) == "x.yaml"


def test_an_alias_repeats_what_its_anchor_holds() -> None:
    assert parse_yaml(b"a: &x [1, 2]\nb: *x\n", place="x").tree == {"a": [1, 2], "b": [1, 2]}


def test_all_keys_given_twice_are_listed_together() -> None:
    with pytest.raises(RecipeError) as caught:
        parse_yaml(b"a: 1\na: 2\nb:\n  c: 1\n  c: 2\n", place="x.yaml")
    assert [problem.split(" is ")[0] for problem in caught.value.problems] == [
        "a (x.yaml:2)",
        "b.c (x.yaml:5)",
    ]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: 1\n---\nb: 2\n", "several YAML documents"),
        ("a: {<<: {b: 1}}\n", "merge key"),
        ("? [a, b]\n: 1\n", "a key is a list"),
        ("? {a: b}\n: 1\n", "a key is a list or a section"),
        ("a: &x b\n*x : 1\n", "a key is an alias"),
        ("a: *nope\n", "names nothing"),
        ("a: 'open\n", "x.yaml:"),
        ("a: b: c\n", "x.yaml:1:"),
        ("@a: 1\n", "x.yaml:1:1"),
        ("%TAG ! tag:evil,1:\n--- !x\na: 1\n", "tag"),
    ],
)
def test_what_no_recipe_needs_is_refused(text: str, part: str) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text.encode(), place="x.yaml")
    assert part in caught.value.render()


_TOKENS = st.sampled_from(
    ["a", "lr", ":", ": ", "\n", "\n  ", "- ", "[", "]", "{", "}", ",", "&x ", "*x", "!!", "!t ", "'", '"', "|", ">", "#", "---\n", "%", "?", "${",
     "${a}", "${oc.env:A}", "1e-4", "010", "0", "true", "~", "<<", "\t", "\\", "\ufeff", "\u2028", "\x85", "_target_", "..."]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=60), st.lists(_TOKENS, max_size=25).map(lambda parts: "".join(parts).encode())
    )
)
@example(b"\xff\xfe\x00")
@example(b"[" * 5000)
@example(b"a: " * 3000)
@example(b"- " * 3000 + b"x")
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    try:
        document = parse_yaml(raw, place="x.yaml")
    except RecipeError as fault:
        assert fault.render().startswith("error[")
        return
    assert isinstance(document.tree, dict)
    assert all(1 <= line <= raw.count(b"\n") + raw.count(b"\r") + raw.count("\u2028".encode()) * 3 + raw.count(b"\x85") * 3 + 1
               for line in document.lines.values())  # fmt: skip
