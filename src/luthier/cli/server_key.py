"""`--key-from VARIABLE`: the key of a server, which stands in no command line, since others can read that."""

import os
from typing import Annotated

import typer

KeyFrom = Annotated[
    str | None,
    typer.Option(
        "--key-from",
        metavar="VARIABLE",
        help="The environment variable that holds the server's key.",
        show_default=False,
    ),
]


def key_of(name: str | None) -> str | None:
    """The key in an environment variable. Raises UsageError if it is not there."""
    from luthier.floor.errors import UsageError

    key = os.environ.get(name) if name else None
    if name and not key:
        fix = f"export {name}=..."
        raise UsageError("usage", f"the environment has no {name}", where="--key-from", fix=fix)
    return key
