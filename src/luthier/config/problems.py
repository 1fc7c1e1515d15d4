"""One fault of a recipe, and the error that reports all of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

from luthier.floor.errors import RecipeError

MOST_LISTED = 20


@dataclass(frozen=True)
class Problem:
    """A fault: its word, what is wrong with which key, and where that was written."""

    code: str
    key: str
    text: str
    place: str = ""
    fix: str = ""

    def sentence(self) -> str:
        """Without the place: `train.lrr is not a setting; did you mean train.lr?`"""
        return f"{self.key}{self.text}"

    def line(self) -> str:
        """With the place, as one line among several."""
        return f"{self.key} ({self.place}){self.text}" if self.place else self.sentence()


def recipe_error(problems: Sequence[Problem], *, recipe: str) -> RecipeError:
    """The error that lists every problem; a single one speaks under its own word."""
    assert problems, "an error needs a problem"
    unique = list(dict.fromkeys(problems))
    fixes = list(dict.fromkeys(problem.fix for problem in unique if problem.fix))
    fix = "\n".join([*fixes, f"Then check it: luthier validate {recipe}"])
    if len(unique) == 1:
        problem = unique[0]
        return RecipeError(problem.code, problem.sentence(), where=problem.place, fix=fix)
    lines = [f"{problem.line()}  [{problem.code}]" for problem in unique[:MOST_LISTED]]
    if len(unique) > MOST_LISTED:
        lines.append(f"... and {len(unique) - MOST_LISTED} more")
    return RecipeError("recipe", f"{recipe} has {len(unique)} problems", problems=lines, fix=fix)
