"""The side of a row depends on itself and the seed alone."""

from hypothesis import given
from hypothesis import strategies as st

from luthier.data.split import Splitter
from luthier.text.rows import Message, Row


def pair(prompt: str, completion: str = "c", line: int = 1) -> Row:
    return Row("prompt_completion", f"a.jsonl:{line}", prompt=prompt, completion=completion)


def sides(seed: int, fraction: float, count: int = 4000) -> list[bool]:
    splitter = Splitter(seed=seed, fraction=fraction)
    return [splitter.is_validation(pair(f"prompt {n}")) for n in range(count)]


def test_about_the_fraction_asked_for_is_set_apart() -> None:
    assert 0.04 < sum(sides(42, 0.05)) / 4000 < 0.06  # sigma 0.0034
    assert not any(sides(42, 0.0))


def test_the_seed_decides_and_nothing_else() -> None:
    assert sides(1, 0.5) == sides(1, 0.5)
    assert 0.4 < sum(a != b for a, b in zip(sides(1, 0.5), sides(2, 0.5), strict=True)) / 4000 < 0.6
    # Golden: rows must stay on their side from release to release.
    assert [number for number, side in enumerate(sides(42, 0.05, 120)) if side] == GOLDEN_SIDES


@given(prompt=st.text(max_size=20).filter(lambda text: text.isprintable()), seed=st.integers(0, 100))
def test_rows_that_ask_the_same_are_on_the_same_side(prompt: str, seed: int) -> None:
    splitter = Splitter(seed=seed, fraction=0.5)
    assert splitter.is_validation(pair(prompt, "one", 1)) == splitter.is_validation(pair(prompt, "two", 99))


def test_conversations_that_begin_the_same_are_on_the_same_side() -> None:
    def chat(question: str, answer: str) -> Row:
        turns = (Message("user", question), Message("assistant", answer), Message("user", answer + "?"))
        return Row("messages", "a:1", messages=turns)

    splitter = Splitter(seed=0, fraction=0.5)
    for number in range(50):
        assert splitter.is_validation(chat(f"q{number}", "a")) == splitter.is_validation(
            chat(f"q{number}", "b")
        )
    assert len({splitter.is_validation(chat(f"q{number}", "a")) for number in range(50)}) == 2


GOLDEN_SIDES = [3, 9, 13, 42, 61, 81, 87, 105]
