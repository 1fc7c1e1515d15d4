"""`luthier keys`: the API keys that a server asks for."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.serve.keys import StoredKey

DEFAULT_FILE = Path("keys.json")
KeyFile = Annotated[Path, typer.Option("--file", metavar="FILE", help="Where the keys are kept, as hashes.")]
KeyName = Annotated[str, typer.Argument(metavar="NAME", help="Who has the key; it stands in logs.")]

keys = typer.Typer(help="Make, list and revoke the API keys of a server.", no_args_is_help=True)


@keys.callback()
def _keys() -> None:
    """Make, list and revoke the API keys of a server."""


@keys.command("new", short_help="Make a key; it is shown once.")
def new(
    name: KeyName,
    file: KeyFile = DEFAULT_FILE,
    requests_per_minute: Annotated[
        int | None, typer.Option("--requests-per-minute", metavar="N", min=1, help="At most so many requests.", show_default=False)
    ] = None,
    tokens_per_minute: Annotated[
        int | None, typer.Option("--tokens-per-minute", metavar="N", min=1, help="At most so many tokens.", show_default=False)
    ] = None,
    concurrency: Annotated[
        int | None, typer.Option("--concurrency", metavar="N", min=1, help="At most so many requests at once.", show_default=False)
    ] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Let it read /metrics, too.")] = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Make a key and show it: the only time, since its hash alone is kept.

    Limits that are not given are those of the recipe, serve.limits.
    """
    from luthier.cli.output import show, show_json, tell
    from luthier.serve.keys import new_key

    given = {
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "concurrency": concurrency,
    }
    limits = {limit: value for limit, value in given.items() if value is not None}
    key = new_key(file, name, limits=limits, is_admin=admin)
    if as_json:
        return show_json({"name": name, "key": key, "file": str(file), "limits": limits, "is_admin": admin})
    tell(
        f"This is the only time that the key is shown; {file} keeps its hash. To ask for it: luthier serve serve.keys={file}"
    )
    return show(key)


@keys.command("list", short_help="List the keys by name.")
def list_keys(file: KeyFile = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """List the keys: name, limits, when they were made and revoked. The keys themselves are known to their holders alone."""
    from luthier.cli.output import show, show_json, table
    from luthier.serve.keys import read_keys

    found = read_keys(file)
    if as_json:
        return show_json({"file": str(file), "keys": [_facts(key) for key in found]})
    if not found:
        return show(f"There is no key in {file}. Make one: luthier keys new NAME")
    rows = [["name", "made", "limits", "state"]]
    rows += [[key.name, key.created, _limits_text(key), _state(key)] for key in found]
    return show(table(rows))


@keys.command("revoke", short_help="Take a key its right.")
def revoke(name: KeyName, file: KeyFile = DEFAULT_FILE, as_json: AsJson = False) -> None:
    """Revoke a key. A running server refuses it from its next request on; answers under way end."""
    from luthier.cli.output import show, show_json
    from luthier.serve.keys import revoke_key

    key = revoke_key(file, name)
    if as_json:
        return show_json({"file": str(file), **_facts(key)})
    return show(f"revoked  {key.name}; a running server refuses it from now on")


def _facts(key: "StoredKey") -> dict[str, object]:
    """What may be told of a key: no salt, no hash."""
    return {
        "name": key.name,
        "id": key.id,
        "created": key.created,
        "revoked": key.revoked,
        "is_admin": key.is_admin,
        "limits": dict(key.limits),
    }


def _limits_text(key: "StoredKey") -> str:
    words = [f"{value:,} {name.replace('_', ' ')}" for name, value in key.limits.items()]
    return ", ".join(words) or "the recipe's"


def _state(key: "StoredKey") -> str:
    if key.revoked is not None:
        return f"revoked {key.revoked}"
    return "live, admin" if key.is_admin else "live"
