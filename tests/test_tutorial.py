"""A reader who does what tutorial, how-tos and README say, command by command, and sees what they say."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from reportlab.pdfgen.canvas import Canvas

from tests.pages import Reader, shown, steps
from tests.system import clean_environ

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
GUIDES = ["tutorial", "howto-http", "howto-cron", "howto-bucket", "from-celery", "from-lambda", "from-openfaas"]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """In a clone that is installed; the port is free to be chosen."""
    folder = tmp_path_factory.mktemp("reader")
    with _reader(folder, {"make": '[ "$1" = install ]'}) as made:
        yield made


def _reader(folder: Path, commands: Mapping[str, str]) -> Reader:
    """`tundish` is that of this checkout; `commands` are more of them, by name."""
    clone = folder / "clone"
    bin_ = clone / ".venv" / "bin"
    bin_.mkdir(parents=True)
    (bin_ / "activate").touch()
    ours = {"tundish": f'exec {sys.executable} -P -m runtime.cli.main "$@"'}
    for name, line in (ours | dict(commands)).items():
        (bin_ / name).write_text(f"#!/bin/sh\n{line}\n")
        (bin_ / name).chmod(0o755)
    environ = clean_environ(TUNDISH_PORT="0", TUNDISH_BACKEND="torch-fp32", HOME=str(folder))
    path = f"{bin_}:{Path(sys.executable).parent}:{environ['PATH']}"
    return Reader(clone, environ | {"PATH": path})


@pytest.mark.parametrize("page", GUIDES)
def test_the_page_is_true(reader: Reader, page: str) -> None:
    reader.follow(DOCS / f"{page}.md")


def test_every_metric_is_documented_and_none_that_is_not_there(reader: Reader) -> None:
    """After the guides nearly everything has happened once."""
    answer = urllib3.request("GET", f"{reader.url}/metrics", retries=False)
    there = {
        found.name + ("_total" if found.type == "counter" else "")
        for found in text_string_to_metric_families(answer.data.decode())
        if not found.name.endswith("_created") and not found.name.startswith("process_")  # prometheus_client's own
    }
    told = re.findall(r"`((?:tundish|celery)_[a-z_]+)(?:\{[a-z_,]+\})?`", (DOCS / "metrics.md").read_text())
    assert set(told) == there


def test_the_readme_is_true(tmp_path: Path) -> None:
    """`make up` is make's own. `make test` is only asked what it would do: it is what runs here."""
    make = f'case "$1" in test) set -- -n test;; esac\nexec {shutil.which("make")} -o .venv/.installed BIN={{bin}} "$@"'
    with _reader(tmp_path, {"make": make.format(bin=tmp_path / "clone" / ".venv" / "bin")}) as made:
        clone = made.folder
        for name in ("Makefile", "functions.yaml", "README.md", "pyproject.toml", "constraints.txt"):
            shutil.copy(ROOT / name, clone / name)
        shutil.copytree(ROOT / "functions", clone / "functions", ignore=shutil.ignore_patterns("__pycache__"))
        (clone / "docs").mkdir()
        shutil.copy(DOCS / "buckets.md", clone / "docs")
        _papers(clone / "report.pdf", tmp_path / "notes")
        made.follow(ROOT / "README.md", {"python": "functions/hello.py", "yaml": "functions.yaml"})


def _papers(report: Path, notes: Path) -> None:
    canvas = Canvas(str(report))
    canvas.drawString(72, 720, "We decided to sweep the furnace every autumn.")
    canvas.save()
    notes.mkdir()
    (notes / "meeting.md").write_text("Bert has been asked to look after the roof.\n")


@pytest.mark.parametrize("target", ["install", "demo", "test", "lint", "fmt", "bench", "chaos", "clean"])
def test_every_target_of_make_is_there(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_page_that_is_not_true_is_found_out(reader: Reader, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.md"
    wrong.write_text("```sh\necho one\n```\n\n```text\ntwo\n```\n")
    with pytest.raises(AssertionError, match="'two' is not to be seen"):
        reader.follow(wrong)
    wrong.write_text("```sh\nfalse\ntrue\n```\n")
    with pytest.raises(AssertionError, match="exit code 1"):
        reader.follow(wrong)


def test_what_is_seen_is_compared_line_by_line() -> None:
    assert shown("a…c\nd\n", "x\nabc\ny\nd\n") is None
    assert shown("d\na…c\n", "x\nabc\ny\nd\n") == "a…c"
    assert shown("a\n", "ab\n") == "a"


@pytest.mark.parametrize("page", GUIDES)
def test_pages_have_commands(page: str) -> None:
    assert any(step.block.lang == "sh" and step.seen for step in steps(DOCS / f"{page}.md", {}))
