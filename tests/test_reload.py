"""What a change of files means: pure decisions, no processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.config import Function, Project, Queue, Settings
from runtime.deployment import Deployed, Deployment
from runtime.reload import affected, folders, newly_broken, touched

ROOT = Path("/project")


def deployment(functions: dict[str, dict[str, Any]], **found: dict[str, Any]) -> Deployment:
    specs = {name: Function(name=name, **values) for name, values in functions.items()}
    queues = {spec.queue: Queue() for spec in specs.values()}
    project = Project(queues=queues, functions=specs)
    settings = Settings(project=project, file=ROOT / "functions.yaml", home=ROOT / ".tundish")
    return Deployment(settings, {name: Deployed(spec, **found.get(name, {})) for name, spec in specs.items()})


BASE: dict[str, dict[str, Any]] = {
    "a": {"handler": "one/a.py:a", "queue": "first"},
    "b": {"handler": "two/b.py:b", "queue": "second"},
    "c": {"handler": "package.module:c", "queue": "third"},
}


def test_code_concerns_the_functions_of_its_folder_and_installed_handlers() -> None:
    base = deployment(BASE | {"d": {"handler": "one/beside.py:d", "queue": "fourth"}})
    cases = {
        "one/a.py": {"first", "third"},
        "one/beside.py": {"fourth", "third"},
        "one/_helper.py": {"first", "third", "fourth"},
        "one/below/more.py": {"first", "third", "fourth"},
        "two/b.py": {"second", "third"},
        "elsewhere.py": {"third"},
        "one/data.json": set(),
    }
    for name, queues in cases.items():
        assert affected(base, base, {ROOT / name}) == queues, name


def test_what_is_declared_concerns_every_queue() -> None:
    changed = deployment(BASE | {"a": {**BASE["a"], "timeout": 1}})
    assert affected(deployment(BASE), changed, set()) == {"first", "second", "third"}
    signature = deployment(BASE, a={"schema": {"type": "object", "required": ["x"]}})
    assert affected(deployment(BASE), signature, set()) == {"first", "second", "third"}
    words = deployment(BASE, a={"doc": "Other words."})
    assert affected(deployment(BASE), words, set()) == set()


def test_only_what_worked_before_can_be_broken() -> None:
    bad = {"a": {"error": "a.py:1: invalid syntax"}}
    assert newly_broken(deployment(BASE), deployment(BASE, **bad)) == {"a": "a.py:1: invalid syntax"}
    assert newly_broken(deployment(BASE, **bad), deployment(BASE, **bad)) == {}
    fewer = {name: BASE[name] for name in ("b", "c")}
    assert newly_broken(deployment(fewer), deployment(BASE, **bad)) == {"a": "a.py:1: invalid syntax"}


def test_a_file_beside_the_handler_touches_it() -> None:
    spec = Function(name="a", handler="one/a.py:a")
    assert touched(spec, ROOT, {ROOT / "one" / "x.py"})
    assert not touched(spec, ROOT, {ROOT / "x.py"})


def test_folders_leave_out_what_holds_no_code_of_the_project(tmp_path: Path) -> None:
    for name in (".venv/lib", "venv/lib", ".git", "node_modules/x", "functions/deep", "state/valkey", "__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    found = {path.relative_to(tmp_path).as_posix() for path in folders(tmp_path, tmp_path / "state")}
    assert found == {".", "functions", "functions/deep"}
