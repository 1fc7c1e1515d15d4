"""`luthier serve`: a model behind OpenAI's API."""

import enum
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from luthier.cli.options import AsJson

if TYPE_CHECKING:
    from luthier.config.compose import Resolved
    from luthier.floor.log import Listener

Target = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[RUN|FOLDER] [serve.KEY=VALUE]...",
        help="What to serve: a run, a model or adapter folder, a GGUF file, `embedded` or a hub id; without one, the newest "
        "finished run. And settings, such as serve.port=8001.",
        show_default=False,
    ),
]
Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="NAME=RUN|FOLDER",
        help="One more adapter over the same base, under this name; may be repeated.",
        show_default=False,
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        "--base", metavar="FOLDER", help="The base of an adapter that lies outside a run.", show_default=False
    ),
]


class RenderKind(enum.StrEnum):
    """Where a server can be brought; a test holds them against the stage's."""

    DOCKER = "docker"
    COMPOSE = "compose"
    K8S = "k8s"
    SYSTEMD = "systemd"
    MODAL = "modal"
    RUNPOD = "runpod"
    REPLICATE = "replicate"
    BASETEN = "baseten"


Render = Annotated[
    RenderKind | None,
    typer.Option(
        "--render", help="Serve nothing; write the files that bring this server there.", show_default=False
    ),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="With --render, where the files go.")]


def serve(
    words: Target = None,
    adapter: Adapters = None,
    base: Base = None,
    render: Render = None,
    out: Out = Path("deploy"),
    as_json: AsJson = False,
) -> None:
    """Serve a model over OpenAI's API, on this machine unless told otherwise.

    Ctrl-C and SIGTERM let the answers under way end first. Settings are those of the recipe's `serve` section.
    """
    from luthier.cli.output import show, show_json
    from luthier.cli.screen import Screen
    from luthier.serve.extra import require_server

    screen = Screen()
    target, overrides = serve_target(words, screen)
    resolved = recipe_to_serve(target, overrides)
    if render is not None:
        return write_files(render, target, resolved.recipe.serve.port, overrides, out, as_json=as_json)
    require_server()
    for warning in resolved.warnings:
        screen.warn(warning)

    def on_ready(address: str, models: Sequence[str]) -> None:
        if as_json:
            show_json({"url": f"{address}/v1", "models": list(models)})
            return
        show(ready_text(address, models, has_keys=resolved.recipe.serve.keys is not None))

    from luthier.serve.fit import fitted
    from luthier.serve.stage import serve as serve_stage

    with fitted(resolved.recipe.serve, target=target) as house:
        serve_stage(
            resolved.recipe,
            target,
            adapters=adapter or (),
            base=base,
            fittings=house.fittings,
            listener=screen,
            on_ready=on_ready,
        )
        if house.audit is not None:
            # Kept elsewhere, it tells an end that was cut off later.
            screen.say(f"audit  {resolved.recipe.serve.audit.path} ends at {house.audit.anchor}")
    return screen.say("stopped; every answer under way had ended")


def write_files(
    kind: RenderKind, target: str, port: int, overrides: Sequence[str], out: Path, *, as_json: bool
) -> None:
    """Write the files of a deployment, and say where they are."""
    from luthier.cli.output import show, show_json
    from luthier.serve.render.files import Deployment, render

    written = render(kind.value, Deployment(target, port or 8000, tuple(overrides)), out)
    if as_json:
        return show_json({"kind": kind.value, "target": target, "files": [str(path) for path in written]})
    return show("\n".join([*(f"written  {path}" for path in written), f"next     read {out / 'README.md'}"]))


def ready_text(address: str, models: Sequence[str], *, has_keys: bool = False) -> str:
    """Where it listens, what it serves, and a first question to copy."""
    question = f'{{"model": "{models[0]}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    key = "-H 'Authorization: Bearer KEY' " if has_keys else ""
    return "\n".join(
        [
            f"serving  {', '.join(models)}",
            f"at       {address}/v1",
            f"try      curl {address}/v1/chat/completions {key}-H 'Content-Type: application/json' -d '{question}'",
            "stop     Ctrl-C",
        ]
    )


def serve_target(words: Sequence[str] | None, listener: "Listener") -> tuple[str, list[str]]:
    """What is to be served, and the overrides. Raises UsageError on a second name."""
    from luthier.floor.errors import UsageError

    overrides = [word for word in words or () if "=" in word or word.startswith("~")]
    names = [word for word in words or () if word not in overrides]
    if len(names) > 1:
        raise UsageError(
            "usage",
            f"{names[1]} is one name too many: a server has one model, and more adapters over its base",
            where="the command line",
            fix=f"For an adapter: luthier serve {names[0]} --adapter NAME={names[1]}",
        )
    if names:
        return names[0], overrides
    from luthier.cli.choose import choose_run, shown_path

    return shown_path(choose_run(None, listener)), overrides


def recipe_to_serve(target: str, overrides: Sequence[str]) -> "Resolved":
    """The recipe of a run that is served, or a bare one for anything else, with the overrides."""
    from luthier.config.compose import load_overrides, load_recipe
    from luthier.floor.rundir import RUNS

    for folder in (Path(target), Path(target).parent, RUNS / target):
        if (folder / "config_used.yaml").is_file():
            return load_recipe(folder / "config_used.yaml", overrides)
    return load_overrides(overrides, under={"model": {"name": "embedded"}})
