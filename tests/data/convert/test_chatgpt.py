"""A ChatGPT export: the thread that its owner saw becomes the row, and every message that is in none has its reason."""

import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from luthier.data.convert import chatgpt
from luthier.data.convert.books import ConversionBooks
from luthier.data.convert.settle import settle
from luthier.floor.errors import DataError
from luthier.text.dialects.turns import Choices
from tests.data.convert.converting import (
    FORMATS,
    chain,
    check_books,
    conversation,
    converted,
    message,
    node,
    rows_of,
    said,
    talk,
)


def branched() -> dict[str, Any]:
    """One question, answered twice; the first answer was followed up, the second one is what its owner looked at last."""
    mapping = {
        "root": node(None, None),
        "q": node("root", message("user", "Why?")),
        "old": node("q", message("assistant", "No idea.", create_time=2.0)),
        "more": node("old", message("user", "Try.", create_time=3.0)),
        "tried": node("more", message("assistant", "Because.", create_time=4.0)),
        "new": node("q", message("assistant", "Physics.", create_time=3.5)),
    }
    return conversation(mapping, "new")


def test_the_synthetic_export_gives_the_three_visible_threads(tmp_path: Path) -> None:
    rows, report = converted_copy(tmp_path, "chatgpt_export_synthetic.json")
    assert [said(row) for row in rows] == [
        [
            ("user", "Plot a wave like this sketch, please."),
            ("assistant", "Here is a sine wave from 0 to 2π; its peak value is 1.0."),
            ("user", "Thanks. And the cosine?"),
            ("assistant", "The cosine is the same curve shifted left by a quarter period."),
        ],
        [("user", "What is the weather in Oslo?"), ("assistant", "Light snow and about -2 °C.")],
        [("user", "draw me a red kite"), ("assistant", "Here is your red kite.")],
    ]
    assert report.messages.dropped == {
        "no message in the node": 5,
        "tool output": 4,
        "tool call": 3,
        "reasoning": 2,
        "hidden from the conversation": 1,
        "custom instructions": 1,
        "on another branch": 1,
        "weight 0": 1,
        "in a conversation that was left out": 1,
        "empty": 1,
    }
    assert report.conversations.dropped == {"no question with an answer": 2}
    check_books(report)


def converted_copy(folder: Path, name: str, **wishes: Any) -> Any:
    copy = folder / name
    copy.write_bytes((FORMATS / name).read_bytes())
    return converted(copy, **wishes)


def test_the_public_fixture_gives_its_current_branch(tmp_path: Path) -> None:
    rows, report = converted_copy(tmp_path, "chatgpt_export_fixture.json")
    assert [role for role, _ in said(rows[0])] == ["user", "assistant", "user", "assistant"]
    assert said(rows[0])[2] == ("user", "How do I write a function in JavaScript?")
    assert report.messages.dropped == {"empty": 1, "on another branch": 1}


@pytest.mark.parametrize(
    "branches, expected",
    [
        ("current", [["Why?", "Physics."]]),
        ("longest", [["Why?", "No idea.", "Try.", "Because."]]),
        ("all", [["Why?", "Physics."], ["Why?", "No idea.", "Try.", "Because."]]),
    ],
)
def test_branches_are_those_that_were_asked_for(
    tmp_path: Path, branches: str, expected: list[list[str]]
) -> None:
    rows, report = rows_of(tmp_path, [branched()], branches=branches)
    assert [[text for _, text in said(row)] for row in rows] == expected
    check_books(report)


def test_a_branch_that_is_the_beginning_of_another_is_no_row(tmp_path: Path) -> None:
    source = branched()
    source["mapping"]["tried"] = node("more", message("assistant", ""))
    source["mapping"]["after"] = node("new", message("user", "Thanks"))
    source["mapping"]["done"] = node("after", message("assistant", "Welcome."))
    rows, report = rows_of(tmp_path, [source], branches="all")
    assert [[text for _, text in said(row)] for row in rows] == [
        ["Why?", "No idea."],
        ["Why?", "Physics.", "Thanks", "Welcome."],
    ]
    assert report.threads.dropped == {"the same as another branch, or its beginning": 1}
    check_books(report)


@pytest.mark.parametrize("current", ["nowhere", 7, ["list"], {"an": "object"}])
def test_a_current_node_that_leads_nowhere_gives_way_to_the_latest_leaf(tmp_path: Path, current: Any) -> None:
    source = branched() | {"current_node": current}
    rows, _ = rows_of(tmp_path, [source])
    assert said(rows[0])[-1] == ("assistant", "Because.")


def test_children_say_who_the_parent_is_where_parent_does_not(tmp_path: Path) -> None:
    source = talk("Hi", "Hello")
    del source["mapping"]["1"]["parent"]
    source["mapping"]["0"]["children"] = ["1"]
    assert said(rows_of(tmp_path, [source])[0][0]) == [("user", "Hi"), ("assistant", "Hello")]


def test_a_parent_that_is_not_there_begins_the_thread(tmp_path: Path) -> None:
    source = talk("Hi", "Hello")
    source["mapping"]["0"]["parent"] = "../../etc/passwd"
    assert said(rows_of(tmp_path, [source])[0][0]) == [("user", "Hi"), ("assistant", "Hello")]


def test_of_two_roots_the_one_above_the_current_node_counts(tmp_path: Path) -> None:
    source = talk("Hi", "Hello")
    source["mapping"] |= {
        "second": node(None, message("user", "Other")),
        "reply": node("second", message("assistant", "Root")),
    }
    rows, report = rows_of(tmp_path, [source | {"current_node": "1"}])
    assert said(rows[0]) == [("user", "Hi"), ("assistant", "Hello")]
    assert report.messages.dropped == {"no message in the node": 1, "on another branch": 2}


def test_a_loop_is_counted_and_the_other_conversations_are_kept(tmp_path: Path) -> None:
    loop = talk("Hi", "Hello")
    loop["mapping"]["0"]["parent"] = "1"
    own = conversation({"a": node("a", message("user", "me"))})
    rows, report = rows_of(tmp_path, [loop, own, talk("Yes?", "No.")])
    assert len(rows) == 1
    assert report.conversations.dropped == {"its messages form a loop": 2}
    check_books(report)


@pytest.mark.parametrize("mapping", [{}, [], None, "text", 3])
def test_a_conversation_without_nodes_is_counted(tmp_path: Path, mapping: Any) -> None:
    _, report = rows_of(tmp_path, [talk("Yes?", "No."), {"mapping": mapping, "current_node": "x"}])
    assert report.conversations.dropped == {"no messages": 1}


def test_ten_thousand_turns_with_a_branch_at_each_stay_within_bounds(tmp_path: Path) -> None:
    source = talk(*(f"turn {number}" for number in range(10_000)))
    mapping = source["mapping"]
    for number in range(0, 10_000, 2):
        mapping[f"again{number}"] = node(str(number), message("assistant", f"other {number}"))
    started = time.process_time()
    reading = chatgpt.read(source, Choices(branches="all"))
    rows = settle(reading, "messages", ConversionBooks())
    assert time.process_time() - started < 5
    assert len(rows[0]["messages"]) == 10_000
    assert 20 < len(rows) < 5_001
    assert reading.threads_dropped["more branches than are walked"] == 5_001 - len(reading.threads)


def test_a_conversation_that_comes_twice_gives_one_row(tmp_path: Path) -> None:
    first = talk("Hi", "Hello") | {"id": "a"}
    again = talk("Hi", "Hello", "More", "Less") | {"conversation_id": "a", "id": "other"}
    unnamed = talk("Hi", "Hello")
    rows, report = rows_of(tmp_path, [first, again, unnamed, unnamed])
    assert len(rows) == 3
    assert report.conversations.dropped == {"its id was seen before": 1}
    check_books(report)


names = st.sampled_from([*"abcdefgh", "root"])
messages = st.none() | st.builds(
    message,
    st.sampled_from(["user", "assistant", "system", "tool", "bot"]),
    st.sampled_from(["", "Hi", "  ", "\ud800", "【1†x】"]),
    weight=st.sampled_from([0, 1.0, None, "heavy"]),
    recipient=st.sampled_from(["all", "python", None, 3]),
    metadata=st.sampled_from([{}, None, {"is_visually_hidden_from_conversation": True}, []]),
    create_time=st.sampled_from([None, 1.0, -5, float("nan"), "late"]),
    content=st.sampled_from(
        [
            {"content_type": "text", "parts": ["Hi"]},
            {"content_type": "text", "parts": None},
            {"content_type": "multimodal_text", "parts": [{"a": 1}, "seen", 3]},
            {"content_type": "code", "text": "1+1"},
            {"content_type": "thoughts"},
            {"content_type": "new", "parts": ["?"]},
            {"content_type": ["list"]},
            None,
        ]
    ),
)
nodes = st.none() | st.builds(
    lambda parent, children, content: {"parent": parent, "children": children, "message": content},
    st.none() | names | st.integers(),
    st.none() | st.lists(names | st.integers(), max_size=3),
    messages,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    mapping=st.dictionaries(names, nodes, max_size=9),
    current=names | st.none(),
    branches=st.sampled_from(["current", "all", "longest"]),
    tools=st.sampled_from(["drop", "text"]),
    keep=st.frozensets(st.sampled_from(["hidden", "instructions"])),
)
def test_the_books_balance_whatever_a_conversation_holds(
    mapping: dict[str, Any], current: str | None, branches: Any, tools: Any, keep: frozenset[str]
) -> None:
    books = ConversionBooks()
    record = {"mapping": mapping, "current_node": current}
    rows = settle(chatgpt.read(record, Choices(branches, tools, keep)), "messages", books)
    assert books.messages.came_in == len(mapping)
    assert books.threads.close("threads").kept == len(rows)
    assert books.messages.close("messages").kept >= 2 * bool(rows)
    assert books.conversations.close("conversations").kept == bool(rows)
    for row in rows:
        assert said(row)[-1][0] == "assistant"
        assert all(text.strip() and text.encode() for _, text in said(row))


def test_an_export_without_any_row_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row came of 1 conversation") as caught:
        rows_of(tmp_path, [conversation(chain(message("user", "Hello?")))])
    assert caught.value.code == "data-empty"
    assert "1 conversation: no question with an answer" in caught.value.problems
    assert not (tmp_path / "out" / "rows.jsonl").exists()
