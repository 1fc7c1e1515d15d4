"""The serve stage: find the models, choose the engine, listen. Unlike other stages it leaves no report: it works until it is told to stop."""

import socket
from collections.abc import Callable, Sequence

from luthier.config.recipe import Recipe
from luthier.floor.errors import UsageError
from luthier.floor.log import Listener, Silent
from luthier.llamacpp.find import need_library
from luthier.serve.engines.engine import Engine
from luthier.serve.hooks import Fittings
from luthier.serve.server import bind, refuse_open_bind, run_server
from luthier.serve.settings import ServerSettings
from luthier.serve.subject import Served, find_served


def serve(
    recipe: Recipe,
    target: str,
    *,
    adapters: Sequence[str] = (),
    base: str | None = None,
    fittings: Fittings | None = None,
    listener: Listener | None = None,
    on_ready: Callable[[str, Sequence[str]], None] | None = None,
) -> None:
    """Serve what `target` names over OpenAI's API until SIGTERM or Ctrl-C, and return once the answers under way have ended.

    Raises UsageError (an open address without keys), EnvironmentFault (env-port: before anything is loaded), ModelError.
    """
    listener, fittings = listener or Silent(), fittings or Fittings()
    settings = ServerSettings.of(recipe.serve)
    served = find_served(target, recipe.serve, adapters=adapters, base=base)
    refuse_open_bind(settings, has_keys=fittings.has_keys, command=f"luthier serve {target}")
    engine = make_engine(served, recipe, listener)
    listening: socket.socket = bind(settings)
    listener.say(f"loading {target}")
    run_server(
        engine,
        settings,
        fittings,
        listening=listening,
        listener=listener,
        on_ready=lambda address: on_ready(address, engine.facts.models) if on_ready else None,
    )


def make_engine(served: Served, recipe: Recipe, listener: Listener) -> Engine:
    """The engine for these models, not started yet: llama.cpp for a GGUF file, else Luthier's own generator.

    Raises EnvironmentFault (env-extra) if there is no llama.cpp, UsageError for a GGUF file without a tokenizer.
    """
    from luthier.serve.engines.own import GGUF_MODULE, OwnEngine

    specification = served.for_own(recipe.serve, device=recipe.model.device)
    if served.gguf is None:
        return OwnEngine(specification, listener)
    need_library()
    folder = served.models[0].tokenizer_folder
    if not (folder / "tokenizer_config.json").is_file():
        raise UsageError(
            "usage",
            f"{served.gguf.name} belongs to no run, and no tokenizer lies beside it",
            where="the command line",
            why="Prompts are rendered and encoded by the tokenizer of the model that the file was made from.",
            fix=f"Put tokenizer.json and tokenizer_config.json beside it; or take llama.cpp's own server: llama-server -m {served.gguf}",
        )
    return OwnEngine(specification, listener, module=GGUF_MODULE, name="llama.cpp")
