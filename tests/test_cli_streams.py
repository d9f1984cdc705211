"""Commands whose streams are closed, full, or cannot have every character; a state folder that cannot be written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.host.alive import alive
from tests.system import clean_environ

CODE = 'def echo(x: str = "€ä") -> str:\n    """Says 鋼 again."""\n    return x\n'
YAML = "version: 1\nfunctions:\n  echo: {handler: functions/e.py:echo, triggers: [{http: {}}]}\n"


def shell(line: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A line of sh, in which `tundish` is the command."""
    command = f"tundish() {{ '{sys.executable}' -P -m runtime.cli.main \"$@\"; }}; {line}"
    return subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env=clean_environ(**environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions" / "e.py").write_text(CODE)
    (tmp_path / "functions.yaml").write_text(YAML)
    return tmp_path


@pytest.mark.parametrize(
    ("output", "why"), [("> /dev/full", "No space left on device"), ("1< /dev/null", "Bad file descriptor")]
)
def test_an_output_that_cannot_be_written(project: Path, output: str, why: str) -> None:
    done = shell(f"tundish check {output}", project)
    assert (done.returncode, done.stderr) == (1, f"tundish: The output could not be written: {why}.\n")


def test_a_full_disk_that_is_not_that_of_the_output() -> None:
    code = (
        "from runtime.cli import streams\nwith streams.ready():\n    print('told')\n"
        "    with open('/dev/full', 'w') as file:\n        file.write('x')"
    )
    environ = clean_environ()
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "told\n", "tundish: No space left on device.\n")


def test_a_reader_that_goes_away(project: Path) -> None:
    done = shell("tundish --help | head -1", project)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_closed_streams(project: Path, closed: str) -> None:
    done = shell(f"tundish check {closed}", project)
    assert done.returncode == 0
    assert "1 function" in done.stdout


def test_nothing_is_seen_of_a_closed_output(project: Path) -> None:
    assert shell("tundish check >&-", project).returncode == 0
    assert shell("tundish check -f nowhere.yaml >&- 2>&-", project).returncode == 1


@pytest.mark.parametrize("answer", ["<&-", "< /dev/null"])
def test_nobody_answers_at_an_input_that_has_ended(answer: str) -> None:
    code = (
        "from runtime.cli import asking, streams\n"
        "with streams.ready():\n    asking.insist('Really?')\n    print('done')"
    )
    line = f"'{sys.executable}' -P -c \"$CODE\" {answer}"
    done = subprocess.run(["sh", "-c", line], env=clean_environ(CODE=code), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1:] == ["tundish: Nobody answered, which is a no. With --yes nothing is asked."]


def test_characters_that_the_output_cannot_have_are_escaped() -> None:
    code = "import click\nfrom runtime.cli import streams\nwith streams.ready():\n    click.echo('€ä \\udce9')"
    for encoding, told in (("latin1", b"\\u20ac\xe4 \\udce9\n"), ("utf-8", b"\xe2\x82\xac\xc3\xa4 \\udce9\n")):
        environ = clean_environ(PYTHONIOENCODING=encoding)
        done = subprocess.run([sys.executable, "-P", "-c", code], env=environ, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (0, told)


def test_a_state_folder_that_cannot_be_written(project: Path) -> None:
    (project / "file").touch()
    done = shell("tundish up --home file/home --port 0", project)
    assert done.returncode == 1
    assert "Nothing can be written into the state folder" in done.stderr and "tundish up --home DIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_process_that_has_ended_and_was_not_asked_how_holds_nothing() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert alive(process.pid)
    assert process.stdin is not None
    process.kill()
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and still listed
    assert not alive(process.pid)
    process.wait()
