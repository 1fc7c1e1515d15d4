"""White space is trimmed in prose and never touched in code."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from luthier.data.clean.code_blocks import mark_code, split_lines
from luthier.data.clean.white_space import collapse, trim

PROSE = st.lists(st.text(st.sampled_from("ab. \t-"), max_size=12), max_size=4).map("\n".join)
CODE = st.lists(st.text(st.sampled_from("ab(): \t\r#\u00a0"), max_size=12), max_size=5).map("\n".join)


def code_of(text: str) -> list[str]:
    return [line for line, is_code in mark_code(split_lines(text)) if is_code]


@pytest.mark.parametrize(
    "text, trimmed",
    [
        ("  one  \r\ntwo\t\nthree ", "one\ntwo\nthree"),
        ("a\n\n\n\n\n\nb", "a\n\n\nb"),
        ("\n\n a\n\n", "a"),
        ("   \n\t\n", ""),
        ("", ""),
        ("two  spaces", "two  spaces"),
        ("- list\n  - nested", "- list\n  - nested"),
        ("    indented\n\n    code  \n\nprose  ", "    indented\n\n    code  \n\nprose"),
        ("a\n\n\n\n\n```\nx  \n\n\n\n\ny\n```  \n\n\n\n\nb ", "a\n\n\n```\nx  \n\n\n\n\ny\n```  \n\n\nb"),
        ("~~~ py\nx  \n", "~~~ py\nx  \n"),
    ],
)
def test_trim_takes_what_says_nothing(text: str, trimmed: str) -> None:
    assert trim(text) == trimmed


@pytest.mark.parametrize(
    "text, collapsed",
    [
        ("a  b \t c", "a b c"),
        ("  a  b\n   c  d", "a b\n   c d"),
        ("call `f(a,  b)`  now", "call `f(a,  b)` now"),
        ("`` a ` b  c ``  d", "`` a ` b  c `` d"),
        ("no ` span  here", "no ` span here"),
        ("    code  here", "    code  here"),
    ],
)
def test_collapse_also_makes_runs_one_space_but_for_code_spans(text: str, collapsed: str) -> None:
    assert collapse(text) == collapsed


@pytest.mark.parametrize("edit", [trim, collapse])
@given(before=PROSE, code=CODE, after=PROSE, fence=st.sampled_from(["```", "~~~~", "```python"]))
@settings(max_examples=300)
def test_a_fenced_block_is_never_touched(
    edit: object, before: str, code: str, after: str, fence: str
) -> None:
    assume("`" not in before and "~" not in before)
    block = f"{fence}\n{code}\n{fence.rstrip('python')}\n"
    assert block in edit(f"{before}\n{block}{after}") + "\n"  # type: ignore[operator]


@pytest.mark.parametrize("edit", [trim, collapse])
@given(text=st.text(st.sampled_from("ab `~\t\r\n"), max_size=60))
@settings(max_examples=500)
def test_the_lines_of_code_are_the_same_before_and_after(edit: object, text: str) -> None:
    assert code_of(edit(text)) == code_of(text)  # type: ignore[operator]


@given(text=st.text(st.sampled_from("ab `~\t\r\n"), max_size=60))
def test_the_lines_are_the_text_and_each_is_judged_once(text: str) -> None:
    lines = split_lines(text)
    assert "".join(lines) == text
    assert [line for line, _ in mark_code(lines)] == lines


@given(text=st.text(max_size=60))
def test_nothing_but_white_space_is_taken(text: str) -> None:
    assert "".join(trim(text).split()) == "".join(text.split())
    assert "".join(collapse(text).split()) == "".join(text.split())


@pytest.mark.parametrize("text", ["`" * 300_000, "` `` " * 60_000, "\n" * 300_000, "    \n" * 60_000, "a  " * 100_000], ids=lambda text: repr(text[:5]))  # fmt: skip
def test_the_time_grows_with_the_text_and_not_with_its_square(text: str) -> None:
    import time

    started = time.process_time()
    collapse(text)
    assert time.process_time() - started < 2
