"""One fault of a recipe, and the error that reports all of them at once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.floor.errors import RecipeError

SHIPPED_RECIPES = "luthier/conf/recipe/"
MOST_LISTED = 20


@dataclass(frozen=True)
class Problem:
    """A fault: its word, the key as the person wrote it, the value where it matters, what is wrong, and where.

    `text` continues a sentence that begins with the key, or follows `key = value:`.
    """

    code: str
    key: str
    text: str
    place: str = ""
    fix: str = ""
    value: str | None = None

    def sentence(self, place: str = "") -> str:
        """`train.lrr is not a setting` or `train.epochs = 0: must be ...`, with the place in brackets if given."""
        at = f" ({place})" if place else ""
        key = cut(self.key)
        if self.value is not None:
            return f"{key} = {self.value}{at}: {self.text}"
        return f"{key}{at} {self.text}" if key else f"{self.text}{at}"

    def line(self) -> str:
        """The sentence with its place, as one of several."""
        return self.sentence(self.place)


def recipe_error(problems: Sequence[Problem], *, recipe: str) -> RecipeError:
    """The error that lists every problem; a single one speaks under its own word. `recipe` is empty where there is no file."""
    assert problems, "an error needs a problem"
    unique = list(dict.fromkeys(problems))
    fixes = list(dict.fromkeys(problem.fix for problem in unique if problem.fix))
    # A recipe that ships is found by its name; what messages call its file is no path of this machine.
    typed = (
        recipe.removeprefix(SHIPPED_RECIPES).removesuffix(".yaml")
        if recipe.startswith(SHIPPED_RECIPES)
        else recipe
    )
    check = (
        f"Then check it: luthier validate {typed}"
        if recipe
        else "They are listed in docs/reference/recipe.md."
    )
    fix = "\n".join([*fixes, check])
    if len(unique) == 1:
        problem = unique[0]
        return RecipeError(problem.code, problem.sentence(), where=problem.place, fix=fix)
    lines = [f"{problem.line()}  [{problem.code}]" for problem in unique[:MOST_LISTED]]
    if len(unique) > MOST_LISTED:
        lines.append(f"... and {len(unique) - MOST_LISTED} more")
    return RecipeError(
        "recipe", f"{recipe or 'the command line'} has {len(unique)} problems", problems=lines, fix=fix
    )


def show(value: Any) -> str:
    """A value as YAML writes it, cut at 80 characters."""
    spelling: dict[type, Callable[[Any], str]] = {
        bool: lambda flag: "true" if flag else "false",
        type(None): lambda _: "null",
        list: lambda items: "[" + ", ".join(show(item) for item in items) + "]",
        tuple: lambda items: "[" + ", ".join(show(item) for item in items) + "]",
    }
    text = spelling.get(type(value), repr)(value)
    return cut(text)


def cut(text: str, *, most: int = 80) -> str:
    """At most so many characters of a text."""
    return text if len(text) <= most else text[: most - 3] + "..."
