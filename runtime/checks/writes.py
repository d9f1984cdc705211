"""Where a function writes objects: what functions.yaml declares, and what its source says in so many words.

The source is read, never run. Only calls like `context.store.put("bucket", f"thumbs/{name}.png", …)` are seen, in the
handler and in the functions of its file that it uses; a bucket or key that is made in another way is not.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from runtime.checks.source_names import Definition, Names
from runtime.config.settings import BucketTrigger, Function
from runtime.values.handler_name import parse_handler

UNKNOWN = "…"
"""Stands in a key for what is known only when the function runs."""

_OWN_KEY = "\0"
_METHODS = ("put", "put_stream")
_DEFAULT_TYPE = "application/octet-stream"
_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Write:
    """Objects that a function writes: all whose keys begin with `key` where that is declared (`line` 0), else one."""

    bucket: str
    key: str
    line: int = 0
    content_type: str = _DEFAULT_TYPE

    @property
    def declared(self) -> bool:
        return not self.line

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"


def declared(function: Function) -> list[Write]:
    """What `writes:` says."""
    return [Write(bucket, prefix) for bucket, _, prefix in (place.partition("/") for place in function.writes)]


def seen(function: Function, root: Path) -> list[Write]:
    """What the source says, with the arguments that each bucket trigger gives (`with`). Unreadable: nothing."""
    _, _, name = parse_handler(function.handler)
    try:
        tree = ast.parse(source_of(function.handler, root).read_text())
    except (OSError, SyntaxError, ValueError):
        return []
    found = {}
    for trigger in function.buckets or (None,):
        for definition in _reached(name, tree):
            given = trigger.arguments if trigger else {}
            names = Names(tree, definition, given if definition.name == name else None)
            found.update(dict.fromkeys(_Reading(names, trigger).writes(definition)))
    return list(found)


def source_of(handler: str, root: Path) -> Path:
    """The file of a handler. Raises FileNotFoundError where there is none."""
    file, module, _ = parse_handler(handler)
    if file is not None:
        return root / file
    beside = (root / Path(*str(module).split("."))).with_suffix(".py")
    if beside.is_file():
        return beside
    try:
        spec = importlib.util.find_spec(str(module))
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise FileNotFoundError(f"there is no module {module}")
    return Path(spec.origin)


def _reached(name: str, tree: ast.Module) -> list[Definition]:
    """The handler, and the functions of its file that it uses, directly or not."""
    known = {node.name: node for node in tree.body if isinstance(node, Definition)}
    found: dict[str, Definition] = {}
    waiting = [name]
    while waiting:
        here = waiting.pop()
        if here in known and here not in found:
            found[here] = known[here]
            waiting += [node.id for node in ast.walk(known[here]) if isinstance(node, ast.Name)]
    return list(found.values())


class _Reading:
    """The calls of one function that write, as far as bucket and key can be read."""

    def __init__(self, names: Names, trigger: BucketTrigger | None) -> None:
        self._names, self._trigger = names, trigger

    def writes(self, definition: Definition) -> Iterator[Write]:
        for node in ast.walk(definition):
            match node:
                case ast.Call(func=ast.Attribute(value=owner, attr=method)) if method in _METHODS:
                    if self._is_store(owner):
                        yield from self._places(node)

    def _is_store(self, node: ast.expr | None) -> bool:
        match node:
            case ast.Attribute(attr="store") | ast.Name(id="store"):
                return True
            case ast.Name(id=name):
                return isinstance(value := self._names.get(name), ast.Attribute) and value.attr == "store"
        return False

    def _places(self, call: ast.Call) -> Iterator[Write]:
        given = dict(zip(("bucket", "key"), call.args, strict=False))
        given |= {word.arg: word.value for word in call.keywords if word.arg}
        bucket = self._bucket(given.get("bucket"))
        kind = "".join(self._parts(given["content_type"])) if "content_type" in given else _DEFAULT_TYPE
        if bucket and UNKNOWN not in bucket and "key" in given:
            choices = [self._own_keys() if part == _OWN_KEY else (part,) for part in self._parts(given["key"])]
            for parts in product(*choices):
                yield Write(bucket, "".join(parts), call.lineno, kind)

    def _bucket(self, node: ast.expr | None) -> str:
        match node:
            case ast.Attribute(value=owner, attr="bucket") if self._trigger and self._names.is_object(owner):
                return self._trigger.bucket
        return "".join(self._parts(node))

    def _own_keys(self) -> Sequence[str]:
        """Examples of the keys that the trigger hands out."""
        if self._trigger is None:
            return (UNKNOWN,)
        return [f"{self._trigger.prefix}{UNKNOWN}{ending}" for ending in self._trigger.suffix or ("",)]

    def _parts(self, node: ast.expr | None, depth: int = 0) -> list[str]:
        """A text in pieces: UNKNOWN for what cannot be read, _OWN_KEY for the key of an object that was handed out."""
        if depth > _DEPTH:
            return [UNKNOWN]
        match node:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.JoinedStr(values=pieces):
                return [part for piece in pieces for part in self._parts(piece, depth + 1)]
            case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
                return self._parts(value, depth + 1)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return self._parts(left, depth + 1) + self._parts(right, depth + 1)
            case ast.Name(id=name) if known := self._names.get(name):
                return self._parts(known, depth + 1)
            case ast.Attribute(value=owner, attr="key") if self._names.is_object(owner):
                return [_OWN_KEY]
        return [UNKNOWN]
