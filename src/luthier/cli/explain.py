"""`luthier explain`: what a fault word or a setting means."""

from typing import Annotated

import typer

from luthier.cli.options import AsJson


def explain(
    word: Annotated[
        str, typer.Argument(metavar="WORD", help="A fault word such as data-json, or a setting such as lr.")
    ],
    as_json: AsJson = False,
) -> None:
    """Say what a word in brackets after `error`, or a setting of the recipe, means."""
    from luthier.cli.output import show, show_json
    from luthier.floor.errors import FAULTS, UsageError

    if word in FAULTS:
        from luthier.knowledge.faults import explain_fault

        kind, text = "fault", explain_fault(word)
    else:
        from luthier.config.explain import explain_setting
        from luthier.config.fields import settings
        from luthier.floor.lookup import did_you_mean

        kind, text = "setting", explain_setting(word) or ""
        if not text:
            known = [*FAULTS, *settings()]
            raise UsageError(
                "usage",
                f"{word!r} is neither a fault word nor a setting{did_you_mean(word, known)}",
                fix="Settings are listed in docs/reference/recipe.md, fault words in docs/reference/exit-codes.md.",
            )
    if as_json:
        return show_json({"word": word, "kind": kind, "text": text})
    return show(text)
