"""`luthier explain`: what a fault word, a setting or a topic means, a topic with one's own numbers in its formula."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.plan.topics.case import Case
    from luthier.plan.topics.topic import Explained, Topic


def explain(
    word: Annotated[
        str,
        typer.Argument(
            metavar="WORD",
            help="A fault word such as data-json, a setting such as lr, or a topic such as lora; `topics` lists those.",
        ),
    ],
    of: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RECIPE|RUN] [KEY=VALUE]...",
            help="Whose numbers are put into the formula of a topic.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a word in brackets after `error`, a setting of the recipe, or a topic means."""
    from luthier.cli.output import show, show_json
    from luthier.config.explain import explain_setting
    from luthier.floor.errors import FAULTS
    from luthier.knowledge.faults import explain_fault
    from luthier.plan.topics.find import find_topic

    if word == "topics":
        return _list_topics(as_json=as_json)
    topic = None if word in FAULTS else find_topic(word)
    if topic is not None:
        return _explain_topic(topic, of or [], explain_setting(word) or "", as_json=as_json)
    _refuse_numbers(word, of)
    kind, text = (
        ("fault", explain_fault(word)) if word in FAULTS else ("setting", explain_setting(word) or "")
    )
    if not text:
        raise _unknown(word)
    if as_json:
        return show_json({"word": word, "kind": kind, "text": text})
    return show(text)


def _list_topics(*, as_json: bool) -> None:
    from luthier.cli.output import show, show_json, table
    from luthier.plan.topics.find import TOPICS

    if as_json:
        return show_json({"topics": {name: topic.sentence for name, topic in TOPICS.items()}})
    return show(table([("topic", "in a sentence"), *((name, topic.sentence) for name, topic in TOPICS.items())]))  # fmt: skip


def _explain_topic(topic: "Topic", of: list[str], setting: str, *, as_json: bool) -> None:
    from luthier.cli.output import show, show_json
    from luthier.plan.topics.topic import explain as put_in

    found = put_in(topic, _case(of))
    if as_json:
        return show_json({"word": topic.name, "kind": "topic", "text": topic_text(found), **vars(found)})
    return show(topic_text(found) + (f"\n\n{setting}" if setting else ""))


def topic_text(found: "Explained") -> str:
    """The sentence, the formula, the numbers in it, what to change, where to read on."""
    from luthier.floor.units import format_bytes
    from luthier.knowledge.formulas import show_number

    size = f" ({format_bytes(found.value)})" if found.formula.startswith("bytes") else ""
    width = max(map(len, found.meanings))
    return "\n".join(
        [
            f"{found.topic}: {found.sentence}",
            "",
            f"formula  {found.formula}",
            f"numbers  {found.numbers}{size}",
            f"of       {found.of}",
            "",
            *(
                f"  {name:<{width}}  {show_number(found.values[name])}: {meaning}"
                for name, meaning in found.meanings.items()
            ),
            "",
            f"change   {found.change}",
            f"more     {found.read_on}",
        ]
    )


def _case(of: list[str]) -> "Case":
    """The case of a recipe or run that was named, or of the example."""
    from luthier.cli.choose import split_words
    from luthier.cli.output import tell
    from luthier.config.compose import list_recipes, load_overrides, load_recipe
    from luthier.floor.rundir import RUNS, open_run
    from luthier.plan.topics.find import case_of, example_case

    name, overrides = split_words(of)
    if name is None:
        return example_case(load_overrides(overrides, under={"model": {"name": "embedded"}}).recipe)
    is_recipe = name in list_recipes() or Path(name).is_file()
    is_run = not is_recipe and ((RUNS / name).exists() or Path(name).is_dir())
    run = open_run(name) if is_run else None
    resolved = load_recipe(run.config_used if run else name, overrides)
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    return case_of(resolved.recipe, name, run.path if run else None)


def _refuse_numbers(word: str, of: list[str] | None) -> None:
    from luthier.floor.errors import UsageError

    if of:
        fix = "The topics: luthier explain topics"
        raise UsageError(
            "usage", f"{word} is no topic, and takes no {of[0]}", where="the command line", fix=fix
        )


def _unknown(word: str) -> Exception:
    from luthier.config.fields import settings
    from luthier.floor.errors import FAULTS, UsageError
    from luthier.floor.lookup import did_you_mean
    from luthier.plan.topics.find import TOPICS

    near = did_you_mean(word, [*FAULTS, *settings(), *TOPICS])
    return UsageError(
        "usage",
        f"{word!r} is neither a fault word nor a setting nor a topic{near}",
        fix="Topics: luthier explain topics. Settings are listed in docs/reference/recipe.md, fault words in docs/reference/exit-codes.md.",
    )
