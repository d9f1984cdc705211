"""Files that `tundish init` and `tundish new` make: from templates, all or none, and never over what is there."""

from __future__ import annotations

import ast
import builtins
import keyword
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib.resources import files
from pathlib import Path
from string import Template

from runtime.errors import TundishError

PROJECT: Mapping[str, str] = {
    "functions.yaml": "functions.yaml",
    "functions/count_words.py": "count_words.py",
    "tests/test_count_words.py": "test_count_words.py",
    "pyproject.toml": "pyproject.toml",
    ".gitignore": "gitignore",
    "README.md": "README.md",
}
"""What a new project has, with the template of each."""

TRIGGERS = ("http", "cron", "bucket")
_NAME = re.compile("[A-Za-z][A-Za-z0-9_]{0,59}")


class InTheWay(TundishError):
    """A file is there already. Nothing was written."""


class NotWritten(TundishError):
    """The folder cannot be written to."""


class BadName(TundishError):
    """This is no name for a function."""


def rendered(template: str, **values: str) -> str:
    """A template of `runtime/templates`, with `$name` and the like filled in."""
    source = files("runtime").joinpath("templates", f"{template}.tmpl").read_text(encoding="utf-8")
    return Template(source).substitute(values)


def project(title: str, *, search: bool) -> dict[str, str]:
    """The files of a new project: path → content."""
    values = {"title": title, "queues": rendered("project/search.queues") if search else ""}
    made = {path: rendered(f"project/{template}", **values) for path, template in PROJECT.items()}
    if search:
        made["functions.yaml"] += rendered("project/search.yaml")
    return made


def function(name: str, trigger: str) -> tuple[dict[str, str], str]:
    """A function's file and its test, and its entry for functions.yaml. Raises BadName."""
    made = {
        f"functions/{name}.py": rendered(f"function/{trigger}.py", name=name),
        f"tests/test_{name}.py": rendered(f"function/{trigger}.test", name=name),
    }
    if flaw := _flaw(name, trigger):
        raise BadName(f"{name!r} {flaw}")
    return made, rendered(f"function/{trigger}.yaml", name=name)


def write(folder: Path, made: Mapping[str, str], then: Callable[[], None] = lambda: None) -> None:
    """Write all of them below `folder`, and do what comes `then`.

    Raises InTheWay with every file that is there already, and NotWritten; none of them is left then.
    """
    there = [path for path in made if (folder / path).exists() or (folder / path).is_symlink()]
    if there:
        mend = "Nothing was written: move it away, or take another name."
        raise InTheWay(f"{_listed(there)} already in {folder}. {mend}")
    try:
        with ExitStack() as undo:
            for path, content in made.items():
                target = folder / path
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("x", encoding="utf-8", newline="\n") as file:
                    undo.callback(target.unlink, missing_ok=True)
                    file.write(content)
            then()
            undo.pop_all()
    except OSError as error:
        raise NotWritten(f"{error.filename or folder} cannot be written: {error.strerror}.") from error


def _flaw(name: str, trigger: str) -> str:
    """Why a function cannot have this name, or nothing."""
    if not _NAME.fullmatch(name):
        plain = re.sub(r"\W+", "_", name).strip("_")
        mend = f": write {plain}" if _NAME.fullmatch(plain) else ""
        return f"is no name for a function: up to 60 of a-z, A-Z, 0-9 and _, with a letter at the beginning{mend}"
    if keyword.iskeyword(name) or hasattr(builtins, name):
        return "is a word of Python itself: take another one"
    if name.startswith("test"):
        return "begins with `test`: pytest would take the function for a test; take another one"
    if name in _used(trigger):
        return "is a word that the new file uses itself: take another one"
    return ""


def _used(trigger: str) -> set[str]:
    """The names that the code of a template binds or reads."""
    found: set[str] = set()
    for part in ("py", "test"):
        for node in ast.walk(ast.parse(rendered(f"function/{trigger}.{part}", name="_"))):
            if isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.alias):
                found.add(node.asname or node.name)
    return found


def _listed(paths: Iterable[str]) -> str:
    *most, last = paths
    return f"{', '.join(most)} and {last} are" if most else f"{last} is"
