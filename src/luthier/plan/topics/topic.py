"""What an explanation consists of."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from luthier.knowledge.formulas import as_written, evaluate, names_in, show_number, written_with
from luthier.plan.topics.case import Case

Values = Mapping[str, float]


@dataclass(frozen=True)
class Topic:
    """One thing worth knowing: a sentence, a formula that is evaluated with somebody's numbers, what to change, where to read on."""

    name: str
    sentence: str
    result: str
    """What the formula gives, with its unit."""
    formula: str
    values: Callable[[Case], Values]
    meanings: Mapping[str, str]
    """What each name of the formula stands for, and where its number comes from."""
    change: str
    read_on: str
    also: tuple[str, ...] = ()
    """Other names that people look for."""


@dataclass(frozen=True)
class Explained:
    """A topic with the numbers of a case in it."""

    topic: str
    sentence: str
    formula: str
    numbers: str
    """The formula with its numbers, and what it gives."""
    value: float
    values: dict[str, float]
    meanings: dict[str, str]
    change: str
    read_on: str
    of: str


def explain(topic: Topic, case: Case) -> Explained:
    """Put the numbers of a case into a topic."""
    values = {name: float(value) for name, value in topic.values(case).items()}
    value = evaluate(topic.formula, values)
    return Explained(
        topic=topic.name,
        sentence=topic.sentence,
        formula=f"{topic.result} = {as_written(topic.formula)}",
        numbers=f"{written_with(topic.formula, values)} = {show_number(value)}",
        value=value,
        values=values,
        meanings={name: topic.meanings[name] for name in names_in(topic.formula)},
        change=topic.change,
        read_on=topic.read_on,
        of=case.name,
    )
