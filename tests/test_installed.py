"""What somebody has who installed Tundish: a wheel in an environment of its own, far from any clone."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.harness.start import ready
from tests.system import clean_environ, until

ROOT = Path(__file__).parent.parent
OURS = ("functions", "runtime", "gateway", "triggers")

INTEGRATION = '''
"""Against the real system, as docs/testing.md shows it."""

import pytest
from runtime.errors import CallFailed, FunctionNotFound, InvalidArguments
from runtime.testing import NotHandled, call, real_context, uploaded

from functions.count_words import count_words


def test_an_upload_calls_its_functions(tundish_system):
    upload = tundish_system.upload
    assert upload("inbox", "a.txt", b"three little words") == {"count_words": {"a.txt": 3}}
    assert upload("inbox", "a.txt", b"two words") == {"count_words": {"a.txt": 2}}


def test_an_upload_that_nobody_wants(tundish_system):
    with pytest.raises(NotHandled, match="inbox/a.bin is unwatched"):
        tundish_system.upload("inbox", "a.bin", b"?")


def test_calls(tundish_system):
    assert tundish_system.wait(tundish_system.submit("greet", name="Ada")) == "Hello, Ada!"
    with pytest.raises(InvalidArguments, match="name"):
        tundish_system.call("greet")
    with pytest.raises(FunctionNotFound, match="greet"):
        tundish_system.call("gret")
    with pytest.raises(CallFailed, match="No time zone found"):
        tundish_system.call("tick", zone="No/where")


def test_a_function_in_the_test_with_the_real_store(tundish_system):
    context = tundish_system.context()
    new = uploaded(context.store, "inbox", "real.txt", b"one")
    assert call(count_words, objects=[new], context=context) == {"real.txt": 1}
    assert context.call("greet", name="Ada", times=2) == "Hello, Ada! Hello, Ada!"
    names = [{"name": "A"}, {"name": "B"}]
    assert list(context.map("greet", names)) == ["Hello, A!", "Hello, B!"]
    again = real_context("count_words", home=tundish_system.home)
    assert call(count_words, objects=[new], context=again) == {"real.txt": 1}
'''


@dataclass(frozen=True)
class Installed:
    """A wheel, an environment that it is installed in, and a project that was made with it."""

    wheel: Path
    bin: Path
    shop: Path

    def run(self, *words: str | Path, cwd: Path | None = None) -> str:
        """A command that has to succeed; returns its output."""
        done = subprocess.run(
            list(map(str, words)),
            cwd=cwd or self.shop,
            env=clean_environ(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tundish(self, *words: str) -> str:
        return self.run(self.bin / "tundish", *words)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Tundish's own packages come from a wheel; those that it needs are shared with this environment."""
    folder = tmp_path_factory.mktemp("installed")
    source, wheels, venv = folder / "source", folder / "wheels", folder / "venv"
    kept = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for name in OURS:
        shutil.copytree(ROOT / name, source / name, ignore=kept)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    offline = ["--no-index", "--no-deps"]
    subprocess.run([*pip, "wheel", *offline, "--no-build-isolation", "-w", wheels, source], check=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    (wheel,) = wheels.glob("*.whl")
    subprocess.run([*pip, "--python", venv, "install", *offline, wheel], check=True)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (venv / "bin" / "weed").symlink_to(Path(sys.executable).parent / "weed")
    made = Installed(wheel, venv / "bin", folder / "shop")
    made.run(made.bin / "tundish", "init", "shop", cwd=folder)
    made.tundish("new", "greet")
    made.tundish("new", "tick", "--trigger", "cron")
    return made


@pytest.fixture(scope="module")
def up(installed: Installed) -> Iterator[Installed]:
    """`cd shop && tundish up`."""
    log = installed.shop.parent / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [installed.bin / "tundish", "up", "--port", "0"],
            cwd=installed.shop,
            env=clean_environ(),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        home = installed.shop / ".tundish"
        until(lambda: process.poll() is not None or ready(home, model=False), "the start", 120)
        assert process.poll() is None, log.read_text()
        yield installed
    finally:
        process.terminate()
        process.wait(120)


def test_the_wheel_has_every_file(installed: Installed) -> None:
    """A package or a folder of data that pyproject.toml does not name would be missing."""
    found = [path for name in OURS for path in (ROOT / name).rglob("*") if path.is_file()]
    ours = {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}
    with zipfile.ZipFile(installed.wheel) as opened:
        assert ours - set(opened.namelist()) == set()


def test_nothing_comes_from_the_clone(installed: Installed) -> None:
    code = "import runtime.cli.scaffold, gateway.app; print(runtime.cli.scaffold.__file__, gateway.app.__file__)"
    for file in installed.run(installed.bin / "python", "-c", code).split():
        assert Path(file).is_relative_to(installed.bin.parent)


def test_shipped_functions_stand_beside_those_of_a_project_seen_from_anywhere(installed: Installed) -> None:
    folder = installed.shop.parent / "searching"
    installed.tundish("init", str(folder), "--search")
    said = installed.run(installed.bin / "tundish", "check", "-f", folder / "functions.yaml", cwd=Path("/"))
    assert "7 functions, no problems" in said


def test_the_tests_of_the_project_find_their_fixtures(installed: Installed) -> None:
    (installed.shop / "tests" / "test_system.py").write_text(INTEGRATION)
    page = (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shown = [block for block in blocks if re.search(r"def test_(greet|files_are_counted)\(", block)]
    assert len(shown) == 2
    (installed.shop / "tests" / "test_shown.py").write_text("\n\n".join(shown))
    assert "passed" in installed.run(installed.bin / "python", "-m", "pytest", "-p", "no:cacheprovider")


def test_the_project_works(up: Installed) -> None:
    (up.shop / "note.txt").write_text("three little words")
    assert "done" in up.tundish("put", "note.txt", "--bucket", "inbox")
    assert json.loads(up.tundish("invoke", "count_words")) == {"note.txt": 3}
    assert "count_words" in up.tundish("schedule", "next")
    assert json.loads(up.tundish("invoke", "greet", "-d", '{"name": "Ada"}')) == "Hello, Ada!"


def test_a_new_function_is_taken_over_while_it_runs(up: Installed) -> None:
    up.tundish("new", "late")
    command = [str(up.bin / "tundish"), "invoke", "late", "-d", '{"name": "Ada"}']

    def called() -> bool:
        done = subprocess.run(command, cwd=up.shop, env=clean_environ(), capture_output=True, check=False)
        return done.returncode == 0

    until(called, "a call of the new function", 120)
