"""The arrows of the house: who may import whom, read from the imports themselves."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("functions", "runtime", "gateway", "triggers")
PAGE = ROOT / "docs" / "architecture.md"
DISPATCH = ("deployment", "broker", "invocations", "outbox", "attempts", "callbacks", "worker", "telemetry")
WHERE_ALL_COMES_TOGETHER = {"attempts/ports.py", "worker/warm.py"}
"""What a context is given, and what a worker holds before it forks: the only ways from dispatch to the rest."""

DOORS = {"celery_app", "pytest_plugin", "testing"}
CELERY_ALLOWED = {
    "runtime/worker/app.py",
    "runtime/celery_app.py",
    "runtime/worker/celery_tasks.py",
    "runtime/worker/celery_worker.py",
    "runtime/worker/channel.py",
    "runtime/worker/channel_letters.py",
    "runtime/worker/channel_qos.py",
    "runtime/worker/channel_sentinel.py",
    "runtime/worker/channel_step.py",
    "runtime/worker/channel_transport.py",
    "runtime/worker/foreign.py",
    "runtime/worker/invocation_request.py",
    "runtime/worker/keeper.py",
    "runtime/worker/poller.py",
    "runtime/worker/pool_process.py",
    "runtime/worker/prefork.py",
    "runtime/worker/result_backend.py",
    "runtime/worker/revocations.py",
    "runtime/worker/short_way.py",
    "runtime/worker/stopping.py",
    "runtime/attempts/task.py",
    "triggers/beat.py",
}
MAX_LINES = 300


def modules() -> list[Path]:
    return sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def imports(path: Path, *, types: bool = True) -> Iterator[tuple[str, bool]]:
    """Every module a file imports, with whether it is imported at the top (not inside a function).

    Without `types` those are left out that only a type checker imports.
    """
    tree = ast.parse(path.read_text())
    for block in ast.walk(tree):
        if not types and isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            block.body = [ast.Pass()]
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in inner
        elif isinstance(node, ast.ImportFrom):
            top = id(node) not in inner
            if node.level:
                package = ".".join(path.relative_to(ROOT).parent.parts)
                yield f"{package}.{node.module or ''}", top
            else:
                yield str(node.module), top
                for alias in node.names:
                    yield f"{node.module}.{alias.name}", top


def allowed(path: Path, target: str) -> bool:
    own = path.relative_to(ROOT).parts[0]
    top = target.partition(".")[0]
    if top not in OURS:
        return True
    if own == "functions":
        return top == "functions" or target.split(".")[:2] in (["runtime", "context"], ["runtime", "errors"])
    if own == "runtime":
        return top == "runtime"
    return top in (own, "runtime")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    wrong = {target for target, _ in imports(path) if not allowed(path, target) and target != "runtime"}
    assert not wrong


HOUSES = ("runtime", "gateway")


def rooms(house: str) -> list[str]:
    """The packages of a house in the order of docs/architecture.md: each may import those above it."""
    return re.findall(rf"^\| `{house}/(\w+)/` \|", PAGE.read_text(), re.MULTILINE)


def room(module: str) -> str:
    """The package that a module is in; "" of the few modules that stand beside the packages."""
    house, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    return name if name and (ROOT / house / name / "__init__.py").exists() else ""


@pytest.mark.parametrize("house", HOUSES)
def test_all_rooms_are_described(house: str) -> None:
    assert sorted(rooms(house)) == sorted(path.parent.name for path in (ROOT / house).glob("*/__init__.py"))


@pytest.mark.parametrize(("house", "name"), [(house, name) for house in HOUSES for name in rooms(house)])
def test_rooms_import_only_those_above_them(house: str, name: str) -> None:
    order = rooms(house)
    below = set(order[order.index(name) + 1 :])
    wrong = {
        f"{path.name}: {target}"
        for path in (ROOT / house / name).rglob("*.py")
        for target, _ in imports(path, types=False)
        if target.startswith(f"{house}.") and room(target) in below
    }
    assert not wrong


@pytest.mark.parametrize("path", sorted((ROOT / "runtime").glob("*.py")), ids=lambda path: path.stem)
def test_what_stands_above_the_rooms_imports_none_but_values(path: Path) -> None:
    found = {room(target) for target, _ in imports(path, types=False) if target.startswith("runtime.")}
    assert path.stem in DOORS or found <= {"", "values"}


@pytest.mark.parametrize("name", DISPATCH)
def test_dispatch_is_whole_without_index_model_and_store(name: str) -> None:
    forbidden = {"index", "embedding", "models", "store"}
    wrong = {
        f"{path.name}: {target}"
        for path in (ROOT / "runtime" / name).rglob("*.py")
        if f"{name}/{path.name}" not in WHERE_ALL_COMES_TOGETHER
        for target, _ in imports(path, types=False)
        if target.startswith("runtime.") and room(target) in forbidden
    }
    assert not wrong


def test_celery_is_imported_in_few_places() -> None:
    using = {
        str(path.relative_to(ROOT))
        for path in modules()
        for target, _ in imports(path)
        if target.split(".")[0] in ("celery", "kombu", "billiard")
    }
    assert using == CELERY_ALLOWED


def test_functions_import_nothing_heavy_at_the_top() -> None:
    heavy = {"numpy", "faiss", "torch", "sentence_transformers", "xberg", "minio", "redis", "PIL", "pyarrow"}
    wrong = {
        f"{path.name}: {target}"
        for path in (ROOT / "functions").glob("*.py")
        if path.name != "_extract_child.py"
        for target, top in imports(path)
        if top and target.split(".")[0] in heavy and "TYPE_CHECKING" not in path.read_text()
    }
    assert not wrong


@pytest.mark.parametrize("package", ["runtime", "gateway", "triggers"])
def test_package_files_are_empty(package: str) -> None:
    for path in (ROOT / package).rglob("__init__.py"):
        assert len(path.read_text().splitlines()) <= 1, path


def test_files_hold_one_noun() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules()}
    assert not {name: count for name, count in lines.items() if count > MAX_LINES}


def test_the_gateway_loads_neither_celery_nor_a_model() -> None:
    code = "import gateway.app, gateway.serve, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    assert not loaded & {"celery", "kombu", "billiard", "torch", "transformers", "sentence_transformers", "functions"}
