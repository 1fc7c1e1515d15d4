"""Whether the libraries of the server are installed. Imports nothing of them."""

from importlib.util import find_spec

from luthier.floor.errors import EnvironmentFault


def require_server() -> None:
    """Raise EnvironmentFault (env-extra) with the install line if starlette or uvicorn is missing."""
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        raise EnvironmentFault(
            "env-extra",
            f"the server needs {' and '.join(missing)}, which is not installed",
            where="luthier serve",
            fix='Install it: pip install "luthier[serve]"',
        )
