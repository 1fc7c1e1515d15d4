"""Run a template of go_parse.py over values, as Go's text/template does it.

What Go would raise while it runs, and what this part of it does not know, is a GoTemplateError; nothing is guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from luthier.export.ollama.go_parse import (
    Action,
    Branch,
    Function,
    GoTemplateError,
    Jump,
    Literal,
    Node,
    Operand,
    Pipeline,
    Text,
)
from luthier.export.ollama.go_values import FUNCTIONS, Record, is_true, printed

LONGEST_TEXT = 16 * 2**20


MOST_ROUNDS = 10_000
"""Of a range over a number, which no chat template needs."""


class _Jumped(Exception):
    """`break` or `continue` on its way to the range it belongs to."""


@dataclass
class _Run:
    """The text so far and the variables in sight, the innermost last."""

    written: list[str]
    variables: list[tuple[str, Any]]
    size: int = 0

    def write(self, text: str) -> None:
        self.size += len(text)
        if self.size > LONGEST_TEXT:
            raise GoTemplateError(f"the template writes more than {LONGEST_TEXT:,} characters")
        self.written.append(text)


def execute(nodes: Sequence[Node], data: dict[str, Any]) -> str:
    """The text that a template makes of `data`. Raises GoTemplateError."""
    run = _Run([], [("$", data)])
    _walk(run, nodes, data)
    return "".join(run.written)


def _walk(run: _Run, nodes: Sequence[Node], dot: Any) -> None:
    for node in nodes:
        if isinstance(node, Text):
            run.write(node.text)
        elif isinstance(node, Action):
            value = _evaluate(run, node.pipeline, dot)
            if not node.pipeline.variables:
                run.write(printed(value))
        elif isinstance(node, Jump):
            raise _Jumped(node.kind)
        elif node.kind == "range":
            _walk_range(run, node, dot)
        else:
            _walk_choice(run, node, dot)


def _walk_choice(run: _Run, node: Branch, dot: Any) -> None:
    height = len(run.variables)
    value = _evaluate(run, node.pipeline, dot)
    if is_true(value):
        _walk(run, node.body, value if node.kind == "with" else dot)
    else:
        _walk(run, node.otherwise, dot)
    del run.variables[height:]


def _walk_range(run: _Run, node: Branch, dot: Any) -> None:
    height = len(run.variables)
    pairs = _pairs(_evaluate(run, Pipeline(node.pipeline.commands), dot))
    names = node.pipeline.variables
    for place, item in pairs:
        del run.variables[height:]
        for name, value in zip(names, (item,) if len(names) == 1 else (place, item), strict=False):
            _set(run, name, value, declares=node.pipeline.declares)
        try:
            _walk(run, node.body, item)
        except _Jumped as jump:
            if str(jump) == "break":
                break
    del run.variables[height:]
    if not pairs:
        _walk(run, node.otherwise, dot)


def _pairs(value: Any) -> list[tuple[Any, Any]]:
    """Index and item, or key and value in the order of the keys."""
    if value is None:
        return []
    if isinstance(value, list):
        return list(enumerate(value))
    if isinstance(value, dict):
        return sorted(value.items())
    if isinstance(value, int) and not isinstance(value, bool) and value <= MOST_ROUNDS:
        return [(number, number) for number in range(value)]
    raise GoTemplateError(f"range can't iterate over {printed(value)!r}")


def _set(run: _Run, name: str, value: Any, *, declares: bool) -> None:
    if declares:
        run.variables.append((name, value))
        return
    for place in range(len(run.variables) - 1, -1, -1):
        if run.variables[place][0] == name:
            run.variables[place] = (name, value)
            return
    raise GoTemplateError(f"undefined variable {name}")


def _evaluate(run: _Run, pipeline: Pipeline, dot: Any) -> Any:
    value: Any = _Nothing
    for command in pipeline.commands:
        value = _command(run, command, dot, value)
    for name in pipeline.variables:
        _set(run, name, value, declares=pipeline.declares)
    return value


class _Nothing:
    """No value came down the pipeline."""


def _command(run: _Run, command: Sequence[Operand], dot: Any, final: Any) -> Any:
    first, *rest = command
    if not isinstance(first, Function):
        if rest or final is not _Nothing:
            raise GoTemplateError(f"can't give an argument to {first}")
        return _operand(run, first, dot)
    if first.name in ("and", "or"):
        return _short_circuit(run, first.name, rest, dot, final)
    arguments = [_operand(run, each, dot) for each in rest]
    if final is not _Nothing:
        arguments.append(final)
    if first.name not in FUNCTIONS:
        raise GoTemplateError(f'function "{first.name}" not defined')
    try:
        return FUNCTIONS[first.name](*arguments)
    except TypeError:
        raise GoTemplateError(f"wrong number of arguments for {first.name}: {len(arguments)}") from None


def _short_circuit(run: _Run, name: str, rest: Sequence[Operand], dot: Any, final: Any) -> Any:
    """The first argument that decides, or the last; what comes after it is not looked at."""
    value: Any = _Nothing
    for operand in rest:
        value = _operand(run, operand, dot)
        if is_true(value) == (name == "or"):
            return value
    value = value if final is _Nothing else final
    if value is _Nothing:
        raise GoTemplateError(f"wrong number of arguments for {name}: 0")
    return value


def _operand(run: _Run, operand: Operand, dot: Any) -> Any:
    if isinstance(operand, Literal):
        return operand.value
    if isinstance(operand, Function):
        return _command(run, (operand,), dot, _Nothing)
    if operand.root is None:
        value = dot
    elif isinstance(operand.root, str):
        value = _variable(run, operand.root)
    else:
        value = _evaluate(run, operand.root, dot)
    for name in operand.names:
        value = _field(value, name)
    return value


def _variable(run: _Run, name: str) -> Any:
    for known, value in reversed(run.variables):
        if known == name:
            return value
    raise GoTemplateError(f"undefined variable {name}")


def _field(value: Any, name: str) -> Any:
    """A field of a record or a key of a map; a key that is not there is nothing (missingkey=zero over any)."""
    if isinstance(value, Record):
        if name not in value.fields:
            raise GoTemplateError(f"can't evaluate field {name}")
        return value.fields[name]
    if isinstance(value, dict):
        return value.get(name)
    if value is None:
        raise GoTemplateError(f"nil data; no entry for key {name}")
    raise GoTemplateError(f"can't evaluate field {name} in {printed(value)!r}")
