"""Formulas as text that is evaluated: what a person reads and what is computed cannot drift from each other.

Arithmetic and a few functions, nothing else: the text is parsed, and whatever is not among them is refused.
"""

import ast
import math
import operator
import re
from collections.abc import Callable, Mapping

_OPERATORS: Mapping[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
}
_FUNCTIONS: Mapping[str, Callable[..., float]] = {
    "sqrt": math.sqrt,
    "exp": math.exp,
    "log": math.log,
    "cos": math.cos,
    "min": min,
    "max": max,
}
_CONSTANTS = {"pi": math.pi}
_NAME = re.compile(r"[a-z_][a-z_0-9]*")


def evaluate(formula: str, values: Mapping[str, float]) -> float:
    """The value of a formula. Raises ValueError for a name without a value, or for what is no arithmetic."""
    return float(_value(ast.parse(formula, mode="eval").body, values))


def names_in(formula: str) -> list[str]:
    """The names that need a value, in the order in which they come."""
    found = [name for name in _NAME.findall(formula) if name not in _FUNCTIONS and name not in _CONSTANTS]
    return list(dict.fromkeys(found))


def written_with(formula: str, values: Mapping[str, float]) -> str:
    """The formula with its numbers put in, as people write it."""
    put_in = _NAME.sub(
        lambda found: show_number(values[found[0]]) if found[0] in values else found[0], formula
    )
    return as_written(put_in)


def as_written(formula: str) -> str:
    """`a * b ** c` as `a x b^c`."""
    return formula.replace(" ** ", "^").replace("**", "^").replace("*", "x")


def show_number(value: float) -> str:
    """Whole numbers with their thousands apart, others with four digits."""
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:.4g}"


def _value(node: ast.AST, values: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, values), _value(right, values))
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(operand, values))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]) if name in _FUNCTIONS:
            return _FUNCTIONS[name](*(_value(each, values) for each in arguments))
    raise ValueError(f"no arithmetic, or a name without a value: {ast.unparse(node)}")
