"""The arrows of the house: who may import whom, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("functions", "runtime", "gateway", "triggers")
DISPATCH = (
    "app",
    "task",
    "submit",
    "invocations",
    "reaper",
    "attempt",
    "chain",
    "retry",
    "message",
    "keeper",
    "calls",
    "invocation_request",
    "channel",
    "channel_letters",
    "channel_qos",
    "taking",
    "wire",
    "channel_step",
    "poller",
    "receiver",
    "foreign",
    "stopping",
    "stop_flag",
    "revocations",
    "errands",
    "result_backend",
    "journal",
    "kept_call",
    "outbox",
    "outbox_box",
    "delivery",
    "census",
    "dead",
    "invocation_index",
    "callbacks",
    "callback_address",
    "callback_answer",
    "callback_post",
    "callback_sign",
    "callback_state",
    "invocation_list",
    "queue_purge",
    "recent",
    "reopen",
    "repeat",
    "workload",
    "invoker",
    "capture",
    "listening",
    "output",
    "lines",
    "items",
    "generators",
    "results",
    "encode",
    "file",
    "file_document",
    "passed_files",
    "attempt_spans",
    "log_fields",
    "member_events",
    "trace_context",
    "tracing",
)
CELERY_ALLOWED = {
    "runtime/app.py",
    "runtime/celery_app.py",
    "runtime/celery_tasks.py",
    "runtime/celery_worker.py",
    "runtime/channel.py",
    "runtime/channel_letters.py",
    "runtime/channel_qos.py",
    "runtime/channel_sentinel.py",
    "runtime/channel_step.py",
    "runtime/channel_transport.py",
    "runtime/foreign.py",
    "runtime/invocation_request.py",
    "runtime/keeper.py",
    "runtime/poller.py",
    "runtime/pool_process.py",
    "runtime/prefork.py",
    "runtime/result_backend.py",
    "runtime/revocations.py",
    "runtime/short_way.py",
    "runtime/stopping.py",
    "runtime/task.py",
    "triggers/beat.py",
}
MAX_LINES = 300


def modules() -> list[Path]:
    return sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Every module a file imports, with whether it is imported at the top (not inside a function)."""
    tree = ast.parse(path.read_text())
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
    room = path.relative_to(ROOT).parts[0]
    top = target.partition(".")[0]
    if top not in OURS:
        return True
    if room == "functions":
        return top == "functions" or target.split(".")[:2] in (["runtime", "context"], ["runtime", "errors"])
    if room == "runtime":
        return top == "runtime"
    return top in (room, "runtime")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    wrong = {target for target, _ in imports(path) if not allowed(path, target) and target != "runtime"}
    assert not wrong


@pytest.mark.parametrize("name", DISPATCH)
def test_dispatch_is_whole_without_index_model_and_store(name: str) -> None:
    targets = {target for target, _ in imports(ROOT / "runtime" / f"{name}.py")}
    forbidden = ("runtime.index", "runtime.embedding", "runtime.store")
    assert not {target for target in targets if target.startswith(forbidden)}


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
