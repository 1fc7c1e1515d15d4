"""`luthier validate`: judge a recipe, and say every fault of it at once."""

from luthier.cli.options import AsJson, Words


def validate(words: Words = None, as_json: AsJson = False) -> None:
    """Judge a recipe with its overrides; nothing is opened, loaded or written."""
    from luthier.cli.choose import need_recipe
    from luthier.cli.output import show, show_json, tell
    from luthier.config.compose import load_recipe
    from luthier.config.explain import recipe_as_json

    resolved = load_recipe(*need_recipe(words, verb="validate"))
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    if as_json:
        return show_json({"is_valid": True, **recipe_as_json(resolved)})
    return show(f"{resolved.source} is a valid recipe")
