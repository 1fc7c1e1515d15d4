"""`luthier recipe`: look at a recipe as Luthier reads it."""

from typing import Annotated

import typer

from luthier.cli.options import AsJson, Words

recipe = typer.Typer(help="Look at a recipe as Luthier reads it.", no_args_is_help=True)


@recipe.command("show")
def show_recipe(
    words: Words = None,
    changed: Annotated[bool, typer.Option("--changed", help="Leave out the defaults.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print every setting of a recipe, its value, and where the value came from."""
    from luthier.cli.choose import need_recipe
    from luthier.cli.output import show, show_json
    from luthier.config.compose import load_recipe
    from luthier.config.explain import recipe_as_json, render_recipe

    resolved = load_recipe(*need_recipe(words, verb="recipe show"))
    if as_json:
        return show_json(recipe_as_json(resolved, changed_only=changed))
    return show(render_recipe(resolved, changed_only=changed))


@recipe.command("schema")
def show_schema(as_json: AsJson = False) -> None:
    """Print the recipe's JSON Schema, for editors. It is JSON with and without --json."""
    from luthier.cli.output import show_json
    from luthier.config.schema import recipe_schema

    show_json(recipe_schema())
