"""What the names of one function's source stand for, as far as reading it can tell."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Definition = ast.FunctionDef | ast.AsyncFunctionDef


class Names:
    """The names of `definition`, a function of `tree`.

    `given` are arguments that it is called with; its other parameters have their defaults. None: it is called by the
    code itself, and nobody knows with what.
    """

    def __init__(self, tree: ast.Module, definition: Definition, given: Mapping[str, Any] | None) -> None:
        outer = [node for part in tree.body if not isinstance(part, Definition) for node in ast.walk(part)]
        parameters = _parameters(definition.args)
        if given is not None:
            parameters |= {name: ast.Constant(given[name]) for name in parameters if name in given}
        else:
            parameters = dict.fromkeys(parameters)
        inner = _assigned(list(ast.walk(definition)))
        overwritten = dict.fromkeys(inner.keys() & parameters.keys())
        self._values = _assigned(outer) | parameters | inner | overwritten
        self._objects = {"objects", *_objects(definition)}

    def get(self, name: str) -> ast.expr | None:
        """The one value that a name has; None where there are several, or none that can be read."""
        return self._values.get(name)

    def is_object(self, node: ast.expr) -> bool:
        """Whether this is one of the objects that a bucket trigger hands out."""
        owner = node.value if isinstance(node, ast.Subscript) else node
        return isinstance(owner, ast.Name) and owner.id in self._objects


def _assigned(nodes: Iterable[ast.AST]) -> dict[str, ast.expr | None]:
    values: dict[str, ast.expr] = {}
    count: Counter[str] = Counter()
    for node in nodes:
        match node:
            case ast.Name(id=name, ctx=ast.Store()):
                count[name] += 1
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                values[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                values[name] = value
    return {name: values.get(name) if times == 1 else None for name, times in count.items()}


def _parameters(arguments: ast.arguments) -> dict[str, ast.expr | None]:
    """Every parameter with its default."""
    positional = [*arguments.posonlyargs, *arguments.args]
    missing = [None] * (len(positional) - len(arguments.defaults))
    defaults = [*missing, *arguments.defaults, *arguments.kw_defaults]
    names = [one.arg for one in (*positional, *arguments.kwonlyargs)]
    return dict(zip(names, defaults, strict=True))


def _objects(definition: Definition) -> Iterator[str]:
    """Loop variables over `objects`, and parameters that are typed ObjectEvent."""
    for node in ast.walk(definition):
        match node:
            case ast.arg(arg=name, annotation=ast.Name(id="ObjectEvent")):
                yield name
            case ast.For(target=target, iter=over) | ast.comprehension(target=target, iter=over):
                if any(isinstance(part, ast.Name) and part.id == "objects" for part in ast.walk(over)):
                    yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
