"""Which files of a project a function is made of: its own, and what these import, read without running anything.

Imports inside functions count, since that is where heavy ones belong. Code that imports by a name made at run time
(importlib, __import__) can reach anything beside it, and is taken to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from runtime.config.settings import Function
from runtime.values.handler_name import parse_handler

_TUNDISH = Path(__file__).parent.parent  # a project may be Tundish's own folder; this part of it is not reloaded
_DYNAMIC = frozenset({"importlib", "__import__", "runpy", "pkgutil"})


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one function. `anywhere`: folders in which any file may be one of its own."""

    files: frozenset[Path] = frozenset()
    anywhere: frozenset[Path] = frozenset()

    def touched(self, changed: set[Path]) -> bool:
        """Whether one of the changed files is, or may be, part of the function."""
        code = {path for path in changed if path.suffix == ".py"}
        return bool(code & self.files) or any(folder in path.parents for path in code for folder in self.anywhere)

    def __or__(self, other: Files) -> Files:
        return Files(self.files | other.files, self.anywhere | other.anywhere)


@dataclass(slots=True)
class Imports:
    """Reads each file once. Make a new one after a change."""

    root: Path
    _read: dict[Path, tuple[frozenset[Path], bool]] = field(default_factory=dict)

    def of(self, functions: Mapping[str, Function]) -> dict[str, Files]:
        """The files of every function."""
        return {name: self.files(spec) for name, spec in functions.items()}

    def files(self, spec: Function) -> Files:
        """The files of one function; none for a handler of an installed package, which is not part of the project."""
        try:
            file, module, _ = parse_handler(spec.handler)
        except ValueError:
            return Files()
        starts = [(self.root / file).resolve()] if file else self._absolute(str(module))
        if spec.setup:
            starts += [(self.root / spec.setup.rpartition(":")[0]).resolve()]
        found, todo, anywhere = set[Path](), list(starts), set[Path]()
        while todo:
            path = todo.pop()
            if path not in found:
                found.add(path)
                imported, dynamic = self._imports(path)
                todo += imported - found
                if dynamic:
                    anywhere.add(path.parent)
        return Files(frozenset(found), frozenset(anywhere))

    def _imports(self, file: Path) -> tuple[frozenset[Path], bool]:
        if file not in self._read:
            try:
                tree = ast.parse(file.read_bytes())
            except (OSError, SyntaxError, ValueError, RecursionError):
                self._read[file] = frozenset(), False
            else:
                self._read[file] = frozenset(self._found(tree, file)), any(map(_dynamic, ast.walk(tree)))
        return self._read[file]

    def _found(self, tree: ast.AST, file: Path) -> Iterator[Path]:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._absolute(alias.name)
            elif isinstance(node, ast.ImportFrom):
                names = [alias.name for alias in node.names]
                if node.level:
                    folder = file.parent
                    for _ in range(node.level - 1):
                        folder = folder.parent
                    yield from _module(folder, (node.module or "").split(".") if node.module else [], names)
                else:
                    yield from self._absolute(node.module or "", names)

    def _absolute(self, name: str, names: list[str] | None = None) -> list[Path]:
        return list(_module(self.root, name.split("."), names or []))


def _module(folder: Path, parts: list[str], names: list[str]) -> Iterator[Path]:
    """The files that `import a.b` or `from a.b import names` runs, of those that are there."""
    here = folder
    for part in parts:
        here = here / part
        yield from _present(here)
    for name in names:
        yield from _present(here / name)


def _present(place: Path) -> Iterator[Path]:
    for path in (place.with_name(place.name + ".py"), place / "__init__.py"):
        if path.is_file() and not path.is_relative_to(_TUNDISH):
            yield path.resolve()


def _dynamic(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in _DYNAMIC for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        return (node.module or "").partition(".")[0] in _DYNAMIC
    return isinstance(node, ast.Name) and node.id in _DYNAMIC
