"""The reference page of the recipe, written from the schema: docs/reference/recipe.md is this module's output.

`python -m luthier.config.reference > docs/reference/recipe.md` renews it; a test says when it must.
"""

import sys

from luthier.config.dialects import GUIDE
from luthier.config.explain import default_of, takes
from luthier.config.fields import Setting, settings
from luthier.config.schema import Schema, recipe_schema

_OPENING = """# The recipe

Everything a run depends on, in one YAML file. This page is written from the schema; renew it with
`python -m luthier.config.reference > docs/reference/recipe.md`.

A recipe holds only what differs from the defaults. `luthier validate RECIPE` judges it, `luthier recipe show RECIPE`
prints every value with the place it came from, `luthier explain train.lr` tells about one setting. For an editor:
`luthier recipe schema > recipe.schema.json`, and `# yaml-language-server: $schema=../recipe.schema.json` as the first
line of a recipe.

- **Names.** `luthier train demo` takes `demo.yaml` as a path, then `configs/demo.yaml`, then a recipe that ships with Luthier.
- **On the command line** `key=value` sets a value whether or not the file has the key, `~key` takes the file's value
  away, and a list is written `[a,b]`. The command line beats the file, in either spelling.
- **Flat keys** stand at the top of a file or on the line: `lr: 2e-4` is `train: {lr: 2e-4}`. Setting one thing in both
  spellings to different values is an error.
- **`defaults`** is Hydra's list of recipes to start from: `defaults: [train]` takes `train.yaml` and overrides it.
- **`${section.key}`** repeats another value. Nothing else is expanded: a recipe cannot read the environment or name code.
- **YAML 1.2.** `no`, `yes`, `on` and `off` are text, `1:30` is text, a leading zero (`010`) is refused, and only
  `true` and `false` are truth values. Numbers may be written `2e-4`; a whole number may not be written `1e3` or `8.0`.
"""


def reference_page() -> str:
    """The whole page as Markdown."""
    schema = recipe_schema()
    parts = [_OPENING, _flat_table()]
    sections: dict[str, list[Setting]] = {}
    for setting in settings().values():
        sections.setdefault(setting.name.rpartition(".")[0], []).append(setting)
    for name, members in sections.items():
        parts.append(_section_table(name, members, schema))
    return "\n".join(parts)


def _flat_table() -> str:
    rows = [f"| `{name}` | `{flat.place}` | {flat.help} |" for name, flat in GUIDE.items()]
    return "\n".join(["## Flat keys", "", "| key | setting | |", "| --- | --- | --- |", *rows, ""])


def _section_table(name: str, members: list[Setting], schema: Schema) -> str:
    rows = [_row(setting, schema) for setting in members]
    return "\n".join(
        [f"## {name}", "", "| setting | takes | default | |", "| --- | --- | --- | --- |", *rows, ""]
    )


def _row(setting: Setting, schema: Schema) -> str:
    about = setting.help
    if setting.kinds and len(setting.kinds) < 4:
        about += f" *({' or '.join(setting.kinds)})*"
    cells = (f"`{setting.name}`", takes(setting, schema), f"`{default_of(setting)}`", about)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(reference_page())
