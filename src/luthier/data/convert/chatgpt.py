"""Read a conversation of a ChatGPT export: a tree of nodes, of which one path from root to leaf is what its owner saw.

The format is undocumented and drifts, so whatever is missing is gone without: links that lead nowhere end a path, loops are
seen, and nothing here recurses. A conversation that cannot be used is left out with its reason, never refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from luthier.data.convert.chatgpt_message import read_message
from luthier.text.dialects.turns import (
    CALL_ROLE,
    MOST_TURNS_OF_ALL_BRANCHES,
    TOO_MANY_TURNS,
    Choices,
    Reading,
    Turn,
)

LOOP = "its messages form a loop"
NO_NODES = "no messages"


class LoopFault(Exception):
    """A path that comes back to one of its nodes."""


def missing(record: Mapping[str, Any]) -> list[str]:
    """What an object lacks to be a conversation of an export."""
    return [] if isinstance(record.get("mapping"), dict) else ["mapping (an object of nodes)"]


def identity(record: Mapping[str, Any]) -> str | None:
    """The id of a conversation, to notice one that comes twice."""
    found = record.get("conversation_id") or record.get("id")
    return found if isinstance(found, str) else None


def read(record: Mapping[str, Any], choices: Choices) -> Reading:
    """The threads that `choices.branches` asks for."""
    mapping = record.get("mapping")
    if not isinstance(mapping, dict) or not mapping:
        return Reading(messages=0, reason=NO_NODES)
    reading = Reading(messages=len(mapping))
    turns: dict[str, Turn] = {}
    for number, (name, node) in enumerate(mapping.items()):
        said = read_message(node.get("message") if isinstance(node, dict) else None, choices)
        if isinstance(said, str):
            reading.dropped[number] = said
        else:
            role = "assistant" if said.role == CALL_ROLE else said.role
            turns[name] = Turn(role, said.text, (number,), said.notes)
    parents = find_parents(mapping)
    try:
        for path in _paths(record, mapping, parents, choices, reading):
            reading.threads.append([turns[name] for name in path if name in turns])
    except LoopFault:
        return Reading(messages=len(mapping), dropped=reading.dropped, reason=LOOP)
    return reading


def find_parents(mapping: Mapping[str, Any]) -> dict[str, str]:
    """Each node's parent, where it is there; `children` say it where `parent` does not."""
    parents: dict[str, str] = {}
    for name, node in mapping.items():
        parent = node.get("parent") if isinstance(node, dict) else None
        if isinstance(parent, str) and parent in mapping:
            parents[name] = parent
    for name, node in mapping.items():
        children = node.get("children") if isinstance(node, dict) else None
        for child in children if isinstance(children, list) else []:
            if isinstance(child, str) and child in mapping and child != name:
                parents.setdefault(child, name)
    return parents


def walk_up(start: str, parents: Mapping[str, str]) -> list[str]:
    """The path from the root to `start`. Raises LoopFault if it has no root."""
    path, seen, name = [start], {start}, start
    while name in parents:
        name = parents[name]
        if name in seen:
            raise LoopFault
        seen.add(name)
        path.append(name)
    path.reverse()
    return path


def _paths(
    record: Mapping[str, Any],
    mapping: Mapping[str, Any],
    parents: Mapping[str, str],
    choices: Choices,
    reading: Reading,
) -> Iterator[list[str]]:
    """The paths to walk, the visible one first."""
    inner = set(parents.values())
    leaves = [name for name in mapping if name not in inner]
    depths = _depths(mapping, parents)
    current = record.get("current_node")
    is_there = isinstance(current, str) and current in mapping
    if not leaves and not is_there:
        raise LoopFault
    by_age = {name: (_created(mapping[name]), depths[name]) for name in leaves}
    start = current if is_there else max(leaves, key=lambda name: by_age[name])
    assert isinstance(start, str)
    if choices.branches == "longest" and leaves:
        start = max(leaves, key=lambda name: (depths[name], by_age[name][0]))
    yield walk_up(start, parents)
    if choices.branches != "all":
        return
    turns = depths[start]
    for leaf in leaves:
        if leaf == start:
            continue
        turns += depths[leaf]
        if turns > MOST_TURNS_OF_ALL_BRANCHES:
            reading.threads_dropped[TOO_MANY_TURNS] += 1
        else:
            yield walk_up(leaf, parents)


def _depths(mapping: Mapping[str, Any], parents: Mapping[str, str]) -> dict[str, int]:
    """How many nodes lead to each, itself counted; a loop counts as a root."""
    depths: dict[str, int] = {}
    for name in mapping:
        chain, met = [], set()
        while name not in depths and name not in met:
            chain.append(name)
            met.add(name)
            if name not in parents:
                break
            name = parents[name]
        depth = depths.get(name, 0)
        for each in reversed(chain):
            depth += 1
            depths[each] = depth
    return depths


def _created(node: Any) -> float:
    """When a node's message was written; nodes that do not say so come before all others."""
    message = node.get("message") if isinstance(node, dict) else None
    created = message.get("create_time") if isinstance(message, dict) else None
    is_number = isinstance(created, (int, float)) and not isinstance(created, bool) and created == created
    return float(created) if is_number else float("-inf")  # type: ignore[arg-type]
