"""Where in a row a text stands, and how to change it there without touching anything else."""

from collections.abc import Mapping
from typing import Any, NamedTuple

Path = tuple[str | int, ...]
"""Keys and indices from the row down: `("messages", 2, "content")`."""


class Text(NamedTuple):
    """A text of a row and its place."""

    path: Path
    text: str


def spell(path: Path) -> str:
    """`messages[2].content`"""
    spelt = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return spelt.removeprefix(".")


def put(fields: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of the row with another value at a place; what does not lie on the way is shared."""
    return _put(fields, path, value)  # type: ignore[no-any-return]


def _put(node: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    copy: Any = dict(node) if isinstance(node, Mapping) else list(node)
    copy[path[0]] = _put(node[path[0]], path[1:], value)
    return copy
