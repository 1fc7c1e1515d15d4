"""A row survives being kept as bytes."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from luthier.text.row import Message, Row, ToolCall
from luthier.text.row_bytes import row_bytes, row_of

# Half a surrogate pair may come out of JSON, and goes on to where it is refused.
texts = st.text(st.characters(exclude_categories=()), max_size=12)
calls = st.builds(ToolCall, name=texts, arguments=texts, id=texts)
messages = st.lists(
    st.builds(
        Message,
        role=texts,
        content=texts,
        weight=st.integers(0, 1),
        tool_calls=st.lists(calls, max_size=2).map(tuple),
        tool_call_id=texts,
        name=texts,
    ),
    max_size=3,
).map(tuple)
rows = st.builds(
    Row,
    kind=st.sampled_from(["prompt_completion", "messages", "text", "preference"]),
    origin=st.just("rows.jsonl:3"),
    prompt=texts,
    completion=texts,
    messages=messages,
    text=texts,
    tools=texts,
    chosen=messages,
    rejected=messages,
    group=texts,
)


@given(row=rows)
def test_a_row_comes_back_as_it_was_but_for_its_group(row: Row) -> None:
    assert row_of(row_bytes(row), row.origin) == replace(row, group="")


def test_the_place_of_a_row_is_no_part_of_it() -> None:
    first, second = Row("text", "a.jsonl:1", text="same"), Row("text", "b.jsonl:9", text="same")
    assert row_bytes(first) == row_bytes(second)
