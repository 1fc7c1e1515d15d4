"""The options that several commands share. They say how to run or where to look, never what a model learns."""

from pathlib import Path
from typing import Annotated

import typer

Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RECIPE] [KEY=VALUE]...",
        help="A recipe's name or path, and settings that override it, such as train.lr=1e-4.",
        show_default=False,
    ),
]
RunName = Annotated[
    str | None,
    typer.Option(
        "--run",
        metavar="RUN",
        help="A run: its folder, its timestamp, or `latest`. Without it, the newest finished one.",
        show_default=False,
    ),
]
RunFolder = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="DIR",
        help="Work in this run folder: start it, continue it, or return its result. Without it, a new run is opened.",
        show_default=False,
    ),
]
Again = Annotated[bool, typer.Option("--again", help="Do the work again, though its result is there.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]
