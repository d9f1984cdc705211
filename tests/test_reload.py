"""What a change of files means: pure decisions, no processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runtime.config.settings import Function, Project, Queue, Settings
from runtime.deployment.deployment import Deployed, Deployment
from runtime.deployment.imports import Imports
from runtime.deployment.project_files import folders
from runtime.system.reload import affected, newly_broken


def deployment(root: Path, functions: dict[str, dict[str, Any]], **found: dict[str, Any]) -> Deployment:
    specs = {name: Function(name=name, **values) for name, values in functions.items()}
    queues = {spec.queue: Queue() for spec in specs.values()}
    project = Project(queues=queues, functions=specs)
    settings = Settings(project=project, file=root / "functions.yaml", home=root / ".tundish")
    return Deployment(settings, {name: Deployed(spec, **found.get(name, {})) for name, spec in specs.items()})


BASE: dict[str, dict[str, Any]] = {
    "a": {"handler": "one/a.py:a", "queue": "first"},
    "b": {"handler": "two/b.py:b", "queue": "second"},
    "c": {"handler": "package.module:c", "queue": "third"},
    "d": {"handler": "one/beside.py:d", "queue": "fourth"},
    "e": {"handler": "one/wild.py:e", "queue": "fifth"},
    "f": {"handler": "installed.code:f", "queue": "sixth"},
}
FILES = {
    "one/a.py": "from ._helper import x\nfrom . import _near\n\ndef a():\n    import shared.deep as deep\n",
    "one/_helper.py": "from .below.more import y\n",
    "one/_near.py": "",
    "one/_unused.py": "",
    "one/below/more.py": "",
    "one/beside.py": "import one.a\n",
    "one/wild.py": "import importlib\n",
    "two/b.py": "from shared import deep, _gone\n",
    "shared/__init__.py": "",
    "shared/deep.py": "from ..one import _near\n",
    "package/__init__.py": "",
    "package/module.py": "from . import part\n",
    "package/part.py": "",
    "tests/test_a.py": "from one.a import a\n",
    "broken.py": "def (",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    return tmp_path.resolve()


@pytest.mark.parametrize(
    ("name", "queues"),
    {
        "one/a.py": {"first", "fourth"},
        "one/beside.py": {"fourth"},
        "one/_helper.py": {"first", "fourth"},
        "one/_near.py": {"first", "second", "fourth"},
        "one/_unused.py": set(),
        "one/below/more.py": {"first", "fourth"},
        "two/b.py": {"second"},
        "shared/__init__.py": {"first", "second", "fourth"},
        "shared/deep.py": {"first", "second", "fourth"},
        "package/part.py": {"third"},
        "package/__init__.py": {"third"},
        "tests/test_a.py": set(),
        "one/data.json": set(),
    }.items(),
)
def test_code_concerns_the_functions_that_import_it(root: Path, name: str, queues: set[str]) -> None:
    """`wild` names modules at run time, and may use all in its folder; `installed` is not part of the project."""
    base = deployment(root, BASE)
    files = Imports(root).of(base.settings.project.functions)
    anywhere = {"fifth"} if name.startswith("one/") and name.endswith(".py") else set()
    assert affected(base, base, {root / name}, files, files) == queues | anywhere


def test_a_helper_that_is_no_longer_imported_counts_once_more(root: Path) -> None:
    base = deployment(root, {"b": BASE["b"]})
    before = Imports(root).of(base.settings.project.functions)
    (root / "two/b.py").write_text("")
    after = Imports(root).of(base.settings.project.functions)
    assert affected(base, base, {root / "shared/deep.py"}, before, after) == {"second"}
    assert affected(base, base, {root / "shared/deep.py"}, after, after) == set()


def test_what_is_declared_concerns_the_queue_that_runs_it(root: Path) -> None:
    base = deployment(root, BASE)

    def queues(other: Deployment) -> set[str]:
        return affected(base, other, set(), {}, {})

    assert queues(deployment(root, BASE | {"a": {**BASE["a"], "timeout": 1}})) == {"first"}
    assert queues(deployment(root, BASE | {"a": {**BASE["a"], "queue": "second"}})) == {"second"}, "first is gone"
    assert queues(deployment(root, BASE | {"z": {"handler": "one/a.py:z", "queue": "first"}})) == {"first"}
    assert queues(deployment(root, {name: BASE[name] for name in "abcde"})) == set(), "nothing is left on sixth"
    assert queues(deployment(root, BASE | {"a": {**BASE["a"], "http": True, "role": "admin"}})) == set()
    assert queues(deployment(root, BASE, a={"schema": {"type": "object", "required": ["x"]}})) == set()
    project = base.settings.project.model_copy(update={"durability": "fast"})
    other = Deployment(base.settings.model_copy(update={"project": project}), base.functions)
    assert queues(other) == {"first", "second", "third", "fourth", "fifth", "sixth"}


def test_only_what_worked_before_can_be_broken(root: Path) -> None:
    bad = {"a": {"error": "a.py:1: invalid syntax"}}
    broken = {"a": "a.py:1: invalid syntax"}
    assert newly_broken(deployment(root, BASE), deployment(root, BASE, **bad)) == broken
    assert newly_broken(deployment(root, BASE, **bad), deployment(root, BASE, **bad)) == {}
    fewer = {name: BASE[name] for name in ("b", "c")}
    assert newly_broken(deployment(root, fewer), deployment(root, BASE, **bad)) == broken


def test_folders_leave_out_what_holds_no_code_of_the_project(tmp_path: Path) -> None:
    for name in (".venv/lib", "venv/lib", ".git", "node_modules/x", "functions/deep", "state/valkey", "__pycache__"):
        (tmp_path / name).mkdir(parents=True)
    found = {path.relative_to(tmp_path).as_posix() for path in folders(tmp_path, tmp_path / "state")}
    assert found == {".", "functions", "functions/deep"}
