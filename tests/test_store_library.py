"""The store's client library in a fresh process, wanted by many threads at the same moment."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CODE = """
import sys, threading
from runtime.errors import StoreDown
from runtime.store.errors import translated
assert "minio" not in sys.modules
gate, failed = threading.Barrier(16), []
def first(number):
    gate.wait()
    try:
        if number % 2:
            from runtime.config.settings import StoreSettings
            from gateway.starting import import_ahead
            import_ahead()
            from minio import Minio
        with translated("here"):
            raise OSError("what asks the libraries")
    except StoreDown:
        pass
    except ImportError as error:
        failed.append(error)
threads = [threading.Thread(target=first, args=(number,)) for number in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sys.exit(str(failed) if failed else 0)
"""


def test_many_threads_want_it_first() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


ROOT = Path(__file__).parent.parent
LIBRARIES = {"minio", "urllib3"}


def wild(tree: ast.AST) -> Iterator[int]:
    """The lines of functions that import a part of the libraries without having called `load` before."""
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        loaded = False
        for step in function.body:
            if isinstance(step, ast.Expr) and ast.unparse(step) in ("load()", "store_library.load()"):
                loaded = True
            names = [alias.name for alias in step.names] if isinstance(step, ast.Import) else []
            names += [step.module or ""] if isinstance(step, ast.ImportFrom) else []
            if not loaded and any(name.split(".")[0] in LIBRARIES for name in names):
                yield step.lineno


@pytest.mark.parametrize("package", ["runtime", "gateway", "triggers", "functions"])
def test_nobody_imports_a_part_of_it_past_the_lock(package: str) -> None:
    files = [
        file for file in sorted((ROOT / package).rglob("*.py")) if file != ROOT / "runtime" / "store" / "library.py"
    ]
    found = [f"{file.relative_to(ROOT)}:{line}" for file in files for line in wild(ast.parse(file.read_text()))]
    assert not found


def test_a_part_that_is_imported_past_the_lock_is_seen() -> None:
    assert list(wild(ast.parse("def one():\n    from minio.error import S3Error"))) == [2]
    assert not list(wild(ast.parse("def one():\n    load()\n    from minio.error import S3Error")))
