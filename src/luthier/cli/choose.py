"""Find out what a command line means: which recipe, which overrides, which run."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from luthier.floor.errors import UsageError
from luthier.floor.log import Listener
from luthier.floor.rundir import RUNS, RunDir, newest_finished_run, open_run

if TYPE_CHECKING:
    from luthier.config.compose import Resolved


def split_words(words: Sequence[str] | None) -> tuple[str | None, list[str]]:
    """The recipe's name, if the first word is one, and the overrides: words with `=`, or with `~` before them."""
    words = list(words or ())
    if words and not _is_override(words[0]):
        return words[0], words[1:]
    return None, words


def split_compared(words: Sequence[str] | None) -> tuple[str | None, str, list[str]]:
    """The run to judge, if it is named, what it is compared with, and the overrides. Raises UsageError on a third name."""
    overrides = [word for word in words or () if _is_override(word)]
    names = [word for word in words or () if not _is_override(word)]
    if len(names) > 2:
        raise UsageError(
            "usage",
            f"{names[2]} is one name too many: two runs are compared, or a run and its base",
            where="the command line",
            fix="Name two: luthier compare RUN base",
        )
    return names[0] if names else None, names[1] if len(names) > 1 else "base", overrides


def _is_override(word: str) -> bool:
    return "=" in word or word.startswith("~")


def need_recipe(words: Sequence[str] | None, *, verb: str) -> tuple[str, list[str]]:
    """As split_words, for a verb that cannot do without a recipe. Raises UsageError if there is none."""
    name, overrides = split_words(words)
    if name is None:
        from luthier.config.compose import list_recipes

        known = ", ".join(sorted(list_recipes())) or "none here"
        raise UsageError(
            "usage",
            f"luthier {verb} needs a recipe",
            where="the command line",
            why=f"Known recipes: {known}.",
            fix=f"For example: luthier {verb} demo",
        )
    return name, overrides


def choose_run(name: str | None, listener: Listener) -> RunDir:
    """The run that was named, or the newest finished one, which is then said. Raises UsageError if there is none."""
    if name is not None:
        return open_run(name)
    run = newest_finished_run()
    listener.say(f"the newest finished run: {run.path}")
    return run


def finished_run(name: str | None, listener: Listener) -> RunDir:
    """As choose_run. Raises UsageError as well if the run has no trained model yet."""
    run = choose_run(name, listener)
    if not run.is_finished:
        raise UsageError(
            "run-unfinished",
            f"the run {run.name} is not finished",
            where=str(run.path),
            why="Its model is not there yet.",
            fix=f"Wait for it, or continue it: luthier train --resume {shown_path(run)}",
        )
    return run


def recipe_of_run(run: RunDir, name: str | None, overrides: Sequence[str]) -> "Resolved":
    """The run's own recipe; over it the recipe `name` if one is given, over both the overrides.

    Raises UsageError if the run has no recipe, RecipeError with every fault of the result.
    """
    from luthier.config.compose import load_recipe, read_config_used

    if not run.config_used.is_file():
        raise UsageError(
            "run-missing",
            f"{run.path} holds no run: it has no config_used.yaml",
            where=str(run.path),
            fix="Name a run: luthier runs",
        )
    if name is None:
        return load_recipe(run.config_used, overrides)
    return load_recipe(name, overrides, under=read_config_used(run.config_used))


def shown_path(run: RunDir) -> str:
    """A run's path as short as it can be typed."""
    path = run.path
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_absolute() and path.is_relative_to(here) else str(path)


def runs_folder() -> Path:
    """Where this command looks for runs and opens new ones."""
    return RUNS
