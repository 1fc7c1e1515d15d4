"""Read OpenAssistant's conversations: trees of replies, whole or as flat messages that name their parent.

The visible thread is the one that people ranked best at every turn (rank 0; the first where nothing is ranked). Deleted
messages and messages that failed review end their branch.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from luthier.text.dialects.turns import (
    MOST_TURNS_OF_ALL_BRANCHES,
    TOO_MANY_TURNS,
    Choices,
    Reading,
    Turn,
    add_turn,
    need_object,
    need_text,
    read_role,
)
from luthier.text.problems import LineFault

DELETED, REJECTED = "deleted", "failed review"
Node = Mapping[str, Any]


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a tree, or a flat message."""
    root = record.get("prompt") if isinstance(record.get("prompt"), dict) else record
    assert isinstance(root, Mapping)
    lacks = [name for name in ("role", "text") if name not in root]
    return lacks if "replies" in root or "parent_id" in root else [*lacks, "replies or parent_id"]


def gather(records: Iterator[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Trees as they come; flat messages put together into trees, those of one tree standing one after the other."""
    place = ""
    root: dict[str, Any] | None = None
    nodes: dict[Any, dict[str, Any]] = {}
    for origin, record in records:
        is_flat = "replies" not in record and "prompt" not in record and "message_id" in record
        parent = nodes.get(record.get("parent_id")) if is_flat else None
        if parent is not None:
            node = {**record, "replies": []}
            parent["replies"].append(node)
            nodes[record["message_id"]] = node
            continue
        if root is not None:
            yield place, root
        place, root, nodes = origin, None, {}
        if not is_flat:
            yield origin, record
            continue
        root = {**record, "replies": []}
        nodes = {record["message_id"]: root}
    if root is not None:
        yield place, root


def read(record: Mapping[str, Any], choices: Choices) -> Reading:
    """The threads that `choices.branches` asks for. Raises LineFault naming a message that cannot be read."""
    root = record["prompt"] if isinstance(record.get("prompt"), dict) else record
    nodes, parents, leaves = _walk(root)
    reading = Reading(messages=len(nodes))
    thread_of: list[list[Turn]] = []
    for number, node in enumerate(nodes):
        thread: list[Turn] = []
        why = DELETED if node.get("deleted") else REJECTED if node.get("review_result") is False else ""
        if why:
            reading.dropped[number] = why
        else:
            add_turn(reading, thread, _turn(node, number), choices)
        thread_of.append(thread)
    paths: list[list[int]] = []
    walked = 0
    for leaf in _chosen(leaves, nodes, parents, choices):
        path = _path(leaf, parents)
        walked += len(path)
        if walked > MOST_TURNS_OF_ALL_BRANCHES and paths:
            reading.threads_dropped[TOO_MANY_TURNS] += 1
            continue
        ends = [at for at, number in enumerate(path) if reading.dropped.get(number) in (DELETED, REJECTED)]
        paths.append(path[: ends[0]] if ends else path)
    reading.threads = [[turn for number in path for turn in thread_of[number]] for path in paths]
    return reading


def _turn(node: Node, number: int) -> Turn:
    where = f"message {node.get('message_id', number)}"[:60]
    return Turn(read_role(node.get("role"), f"{where}: role"), need_text(node.get("text"), where), (number,))


def _walk(root: Node) -> tuple[list[Node], list[int], list[int]]:
    """The nodes, parents before children; the number of each one's parent (-1 for the root); the leaves, best first."""
    nodes: list[Node] = []
    parents: list[int] = []
    leaves: list[int] = []
    waiting: list[tuple[Any, int]] = [(root, -1)]
    while waiting:
        value, parent = waiting.pop()
        node = need_object(value, f"a reply to message {parent}")
        number = len(nodes)
        nodes.append(node)
        parents.append(parent)
        replies = node.get("replies") or []
        if not isinstance(replies, list):
            raise LineFault("data-field", f"replies of message {number} is no list")
        if not replies:
            leaves.append(number)
        waiting += [(reply, number) for reply in sorted(replies, key=_rank)[::-1]]
    return nodes, parents, leaves


def _rank(reply: Any) -> float:
    """How people ranked a reply, 0 the best; those without a rank come last, in their order."""
    rank = reply.get("rank") if isinstance(reply, dict) else None
    return rank if isinstance(rank, (int, float)) and rank == rank else float("inf")


def _chosen(leaves: list[int], nodes: list[Node], parents: list[int], choices: Choices) -> list[int]:
    """The leaves whose paths are threads; the walk met the best of them first."""
    if choices.branches == "all":
        return leaves
    if choices.branches == "current":
        return leaves[:1]
    depths: list[int] = []
    for parent in parents:  # parents come before their children
        depths.append(1 if parent < 0 else depths[parent] + 1)
    return [max(leaves, key=lambda leaf: depths[leaf])]


def _path(leaf: int, parents: list[int]) -> list[int]:
    path = [leaf]
    while parents[path[-1]] >= 0:
        path.append(parents[path[-1]])
    return path[::-1]
