"""Which llama.cpp there is: the library that loads, computes and quantizes files."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from luthier.floor.errors import EnvironmentFault
from luthier.llamacpp import package

FETCH_COMMAND = "luthier env make gguf"


@dataclass(frozen=True)
class Found:
    """A library and where it comes from."""

    path: Path
    origin: str


def find_library() -> Found | None:
    """The library that `luthier env make gguf` brought, else that of an installed llama-cpp-python, else None."""
    if package.is_fetched():
        return Found(package.cache_folder() / package.LIBRARY, FETCH_COMMAND)
    # find_spec does not import the package, which would load its library into this process.
    installed = importlib.util.find_spec("llama_cpp")
    for folder in installed.submodule_search_locations or () if installed else ():
        path = Path(folder) / "lib" / "libllama.so"
        if path.is_file():
            return Found(path, "llama-cpp-python")
    return None


def need_library() -> Found:
    """As find_library. Raises EnvironmentFault (env-extra) with the command that brings one."""
    found = find_library()
    if found is None:
        raise EnvironmentFault(
            "env-extra",
            "there is no llama.cpp on this machine",
            why="It loads every exported file once, to prove that it answers as the trained model does.",
            fix=f"Fetch it, 10.8 MB, checked by its hash: {FETCH_COMMAND}",
        )
    return found
