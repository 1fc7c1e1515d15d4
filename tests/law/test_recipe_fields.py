"""Every setting of the recipe is read by something, so that no key can be given in vain.

The search follows types, not names: `x.rank` counts for `method.rank` only if `x` is known to hold a method. A type is known from an
annotation (argument, attribute, return value) or from an assignment of something that is known.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from luthier.config import (
    base,
    clean,
    data,
    evaluate,
    export,
    method,
    model,
    publish,
    recipe,
    serve,
    train,
    verify,
)
from luthier.config.fields import METHODS, settings

SOURCE = Path(recipe.__file__).parents[1]
MODULES = (base, clean, data, evaluate, export, method, model, publish, recipe, serve, train, verify)
SECTIONS: dict[str, type[base.Section]] = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if isinstance(value, type) and issubclass(value, base.Section)
}
Types = frozenset[type[base.Section]]
NONE: Types = frozenset()
_WORD = re.compile(r"\w+")


def sections_in(annotation: ast.expr | None) -> Types:
    """The sections that an annotation names, also inside unions, containers and quotes."""
    if annotation is None:
        return NONE
    found = set()
    for node in ast.walk(annotation):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {SECTIONS[word] for word in _WORD.findall(node.value) if word in SECTIONS}
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
        if name == "Method":
            found |= set(METHODS.values())
        elif name in SECTIONS:
            found.add(SECTIONS[name])
    return frozenset(found)


def field_types(section: type[base.Section], name: str) -> Types:
    """The sections that a field of a section holds; none if it holds a value."""
    annotation = section.model_fields[name].annotation
    candidates = get_args(annotation) or (annotation,)
    return frozenset(kind for kind in candidates if isinstance(kind, type) and issubclass(kind, base.Section))


class Reader(ast.NodeVisitor):
    """Collects `(section, field)` for every attribute read whose owner's type is known."""

    def __init__(self, attributes: dict[str, Types], returned: dict[str, Types]) -> None:
        self.attributes = attributes
        self.returned = returned
        self.names: dict[str, Types] = {}
        self.read: set[tuple[type[base.Section], str]] = set()

    def type_of(self, node: ast.expr | None) -> Types:
        if isinstance(node, ast.Name):
            return self.names.get(node.id, NONE)
        if isinstance(node, ast.Attribute):
            owners = self.type_of(node.value)
            held = [field_types(owner, node.attr) for owner in owners if node.attr in owner.model_fields]
            return (
                frozenset().union(*held)
                if held
                else self.attributes.get(node.attr, NONE)
                if not owners
                else NONE
            )
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
            return SECTIONS_OF_CALL.get(name, NONE) or self.returned.get(name, NONE)
        if isinstance(node, ast.IfExp):
            return self.type_of(node.body) | self.type_of(node.orelse)
        if isinstance(node, ast.NamedExpr):
            return self.type_of(node.value)
        return NONE

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if isinstance(node.ctx, ast.Load):
            self.read |= {(owner, node.attr) for owner in self.type_of(node.value)}
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self.bind(target, node.value)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self.generic_visit(node)
        self.bind(node.target, node.value)

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
            for inner, held in zip(target.elts, value.elts, strict=False):
                self.bind(inner, held)
        elif isinstance(target, ast.Name):
            self.names[target.id] = self.type_of(value)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer = dict(self.names)
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        self.names |= {argument.arg: sections_in(argument.annotation) for argument in arguments}
        self.generic_visit(node)
        self.names = outer


SECTIONS_OF_CALL = {name: frozenset({section}) for name, section in SECTIONS.items()}


def known_attributes(trees: list[ast.Module]) -> tuple[dict[str, Types], dict[str, Types]]:
    """Attributes and functions whose annotations name sections: `recipe: Recipe` in a class, `-> TrainConfig`."""
    attributes: dict[str, Types] = {}
    returned: dict[str, Types] = {}
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.ClassDef):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    add(attributes, line.target.id, sections_in(line.annotation))
        elif isinstance(node, ast.FunctionDef):
            add(returned, node.name, sections_in(node.returns))
            for argument in [*node.args.args, *node.args.kwonlyargs]:  # self.recipe = recipe in a constructor
                if node.name == "__init__":
                    add(attributes, argument.arg, sections_in(argument.annotation))
    return attributes, returned


def add(known: dict[str, Types], name: str, types: Types) -> None:
    if types:
        known[name] = known.get(name, NONE) | types


def sources() -> Iterator[Path]:
    return (path for path in SOURCE.rglob("*.py") if path.parent.name != "config")


def fields_read_by_methods(called: set[str]) -> set[tuple[type[base.Section], str]]:
    """What the recipe's own methods read, if somebody outside calls them."""
    tree = ast.parse(Path(recipe.__file__).read_text(encoding="utf-8"))
    reader = Reader({}, {})
    reader.names["self"] = frozenset({recipe.Recipe})
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name in called:
            for line in node.body:
                reader.visit(line)
    return reader.read


def all_reads() -> set[tuple[type[base.Section], str]]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sources()]
    reader = Reader(*known_attributes(trees))
    for tree in trees:
        reader.visit(tree)
    return reader.read | fields_read_by_methods(
        {name for section, name in reader.read if section is recipe.Recipe}
    )


def is_read(name: str, reads: set[tuple[type[base.Section], str]]) -> bool:
    field = name.rpartition(".")[2]
    setting = settings()[name]
    owners = [METHODS[kind] for kind in setting.kinds] or [setting.section]
    return any(
        (owner, field) in reads or any((parent, field) in reads for parent in owner.__mro__)
        for owner in owners
    )


def is_told_apart_by_class(name: str) -> bool:
    """`method.kind` is read as the class that it chooses: `isinstance(method, LoraMethod)`."""
    texts = [path.read_text(encoding="utf-8") for path in sources()]
    return name == "method.kind" and all(
        any(kind.__name__ in text and "isinstance" in text for text in texts) for kind in METHODS.values()
    )


def test_every_setting_is_read_by_something_outside_config() -> None:
    reads = all_reads()
    checked = list(settings())
    unread = [name for name in checked if not is_read(name, reads) and not is_told_apart_by_class(name)]
    assert len(checked) > 60
    assert not unread, f"nothing reads {unread}"


def test_the_search_does_not_take_a_like_name_for_a_read() -> None:
    tree = ast.parse(
        "def f(recipe: Recipe, other: Thing):\n    a = recipe.train\n    return a.lr, other.epochs, a.schedule.kind"
    )
    reader = Reader({}, {})
    reader.visit(tree)
    assert (train.TrainConfig, "lr") in reader.read
    assert (train.ScheduleConfig, "kind") in reader.read
    assert (train.TrainConfig, "epochs") not in reader.read
