"""`tundish init` and `tundish new`: what they make is right as it is, and nothing is written over."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from runtime.cli import scaffold
from runtime.cli.main import cli
from tests.system import clean_environ

OLD = "# mine\nversion: 1\nfunctions:\n  old: {handler: old.py:old}  # kept\n"


def tundish(*words: str) -> Result:
    return CliRunner().invoke(cli, [*words], obj={})


def run(folder: Path, *words: str) -> str:
    """A Python program in a project's folder; it has to succeed."""
    command = [sys.executable, "-P", "-m", *words]
    environ = clean_environ(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new project with one more function of each kind."""
    folder = tmp_path_factory.mktemp("made") / "shop"
    assert tundish("init", str(folder)).output.endswith(f"Now: cd {folder} && tundish up\n")
    for trigger in scaffold.TRIGGERS:
        made = tundish("new", f"by_{trigger}", "--trigger", trigger, "-f", str(folder / "functions.yaml"))
        assert made.exit_code == 0, made.output
    return folder


def test_everything_passes_check(shop: Path) -> None:
    assert "4 functions, no problems" in run(shop, "runtime.cli.main", "check")


def test_there_is_a_trigger_of_each_kind(shop: Path) -> None:
    listed = run(shop, "runtime.cli.main", "functions", "--json")
    assert all(f'"{kind}"' in listed for kind in ("http", "cron", "bucket"))


def test_the_tests_pass(shop: Path) -> None:
    assert "8 passed" in run(shop, "pytest", "-p", "runtime.pytest_plugin", "-p", "no:cacheprovider")


def test_the_code_is_clean(shop: Path) -> None:
    run(shop, "ruff", "check", "--isolated", "--no-cache", "--select", "E,F,W,I,B,UP,SIM,RET,PTH,PL,N,A,ANN", ".")
    run(shop, "ruff", "format", "--isolated", "--no-cache", "--check", ".")


def test_git_ignores_the_state_with_its_secrets(shop: Path) -> None:
    assert ".tundish/" in (shop / ".gitignore").read_text().splitlines()


def test_a_project_with_search_passes_check(tmp_path: Path) -> None:
    assert tundish("init", str(tmp_path / "shop"), "--search").exit_code == 0
    assert "7 functions, no problems" in run(tmp_path / "shop", "runtime.cli.main", "check")


def test_init_fills_a_folder_but_writes_nothing_over(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    assert tundish("init", str(tmp_path)).exit_code == 0
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "functions.yaml").unlink()
    again = tundish("init", str(tmp_path))
    assert again.exit_code == 1
    assert "functions/count_words.py" in again.output
    assert "Nothing was written" in again.output
    assert (tmp_path / "README.md").read_text() == "mine"
    assert not (tmp_path / "functions.yaml").exists()


@pytest.mark.parametrize("there", ["functions/new.py", "tests/test_new.py"])
def test_new_writes_nothing_over(tmp_path: Path, there: str) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text(OLD)
    (tmp_path / there).parent.mkdir()
    (tmp_path / there).symlink_to("nowhere")
    made = tundish("new", "new", "-f", str(file))
    assert made.exit_code == 1
    assert f"{there} is already in" in made.output
    assert file.read_text() == OLD
    assert [path for path in tmp_path.rglob("*.py") if not path.is_symlink()] == []


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text(OLD)
    (tmp_path / ".functions.yaml.new").mkdir()  # where the new text would go first
    made = tundish("new", "new", "-f", str(file))
    assert made.exit_code == 1
    assert "cannot be written: Is a directory" in made.output
    (tmp_path / "tests").rmdir()
    (tmp_path / "tests").write_text("a file")
    made = tundish("new", "new", "-f", str(file))
    assert made.exit_code == 1
    assert "cannot be written: File exists" in made.output
    assert file.read_text() == OLD
    assert list(tmp_path.rglob("*.py")) == []


def test_new_keeps_the_rights_and_the_link_of_functions_yaml(tmp_path: Path) -> None:
    real, link = tmp_path / "real.yaml", tmp_path / "functions.yaml"
    real.write_text(OLD)
    real.chmod(0o640)
    link.symlink_to(real)
    assert tundish("new", "new", "-f", str(link)).exit_code == 0
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert real.read_text().startswith(OLD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["functions", "functions.yaml", "real.yaml", "tests"]


def test_new_without_a_project_says_how_to_make_one(tmp_path: Path) -> None:
    made = tundish("new", "new", "-f", str(tmp_path / "functions.yaml"))
    assert made.exit_code == 1
    assert "tundish init FOLDER" in made.output


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"version: 1 # \xff", "is not UTF-8 text .byte 13."), (None, "cannot be read: Is a directory")],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, reason: str) -> None:
    file = tmp_path / "functions.yaml"
    file.write_bytes(content) if content else file.mkdir()
    made = tundish("new", "new", "-f", str(file))
    assert made.exit_code == 1
    assert re.search(reason, made.output)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("send-mail", "write send_mail"),
        ("2fast", "is no name"),
        ("_hidden", "is no name for a function: .*: write hidden"),
        ("größe", "is no name"),
        ("a" * 61, "is no name"),
        ("../evil", "write evil"),
        ("class", "a word of Python"),
        ("list", "a word of Python"),
        ("test_it", "pytest would take"),
        ("call", "uses itself"),
        ("times", "uses itself"),
        ("", "is no name"),
    ],
)
def test_names_that_would_not_work_are_refused(name: str, reason: str) -> None:
    with pytest.raises(scaffold.BadName, match=reason):
        scaffold.function(name, "http")
