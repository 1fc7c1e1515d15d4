"""`luthier train --dry-run`: judge what can be judged without loading a model or reading every row."""

from collections.abc import Sequence
from pathlib import Path

from luthier.cli.choose import need_recipe
from luthier.cli.output import show, show_json, tell
from luthier.config.compose import load_recipe
from luthier.config.explain import render_recipe
from luthier.config.recipe import Recipe
from luthier.floor.units import format_count


def rehearse(words: Sequence[str] | None, *, as_json: bool) -> None:
    """Say what a training would do. Raises what the recipe, the model folder or the data path have wrong."""
    from luthier.knowledge.model_folder import check_model_folder, find_model

    name, overrides = need_recipe(words, verb="train")
    resolved = load_recipe(name, overrides)
    for warning in resolved.warnings:
        tell(f"warning: {warning}")
    recipe = resolved.recipe
    facts: dict[str, object] = {"recipe": resolved.source, "method": recipe.method.kind}
    if recipe.model.name is not None:
        folder = find_model(recipe.model.name, recipe.model.revision)
        facts |= {"base": str(folder), "base_parameters": check_model_folder(folder).parameters}
    facts |= _files_of(recipe)
    facts |= {"rows_per_step": recipe.rows_per_step(), "pack_tokens": recipe.pack_tokens()}
    if as_json:
        return show_json(facts)
    return show(f"{render_recipe(resolved, changed_only=True)}\n\n{_text(recipe, facts)}")


def _files_of(recipe: Recipe) -> dict[str, object]:
    """The files that would be read, for all sources; a dataset of the hub is not looked up."""
    from luthier.text.rows import find_files

    wanted = recipe.data.sources or (recipe.data,)
    here = [each for each in wanted if Path(each.path).exists() or each.path.startswith((".", "/"))]
    found = [str(file) for each in here for file in find_files(Path(each.path), each.pattern)]
    return {"files": found} if here else {}


def _text(recipe: Recipe, facts: dict[str, object]) -> str:
    lines = []
    if "base" in facts:
        lines.append(
            f"base    {facts['base']}, {format_count(float(str(facts['base_parameters'])))} parameters"
        )
    lines.append(f"data    {', '.join(map(str, facts.get('files', ()))) or recipe.data.path}")  # type: ignore[call-overload]
    step = (
        f"{facts['rows_per_step']} rows"
        if facts["rows_per_step"]
        else f"{recipe.train.tokens_per_step} tokens"
    )
    lines.append(f"step    {step}, packs of {facts['pack_tokens']} tokens")
    lines.append("nothing was opened or trained")
    return "\n".join(lines)
