"""Unit files, the image, and what the pages say of deploy/."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.config.environ import Environment, connect
from tests.deploying import ROOT, SECRET, parsed

UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def unit(path: Path) -> dict[str, str]:
    reader = configparser.RawConfigParser(strict=True, interpolation=None)
    reader.optionxform = str  # type: ignore[assignment, method-assign]
    reader.read(path)
    return dict(reader["Service"])


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_starts_a_command_that_there_is(path: Path) -> None:
    program, *words = unit(path)["ExecStart"].split()
    assert program == "/opt/tundish/bin/tundish"
    parsed(words)
    assert "-HUP $MAINPID" in unit(path)["ExecReload"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    for path in UNITS:  # it looks whether the program is there
        text = path.read_text().replace("/opt/tundish/bin/tundish", "/bin/true")
        (tmp_path / path.name.replace("@", "@work")).write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *tmp_path.iterdir()], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_example_for_the_units_has_all_connections() -> None:
    lines = (ROOT / "deploy" / "systemd" / "tundish.env").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    given |= {name: SECRET for name, value in given.items() if not value}
    problems: list[Any] = []
    found = connect(Environment(given, problems, {}))
    assert not problems
    assert found["broker_url"]
    assert found["store"].secure
    assert found["event_token"] == SECRET


def test_the_page_names_files_that_there_are() -> None:
    pages = (ROOT / "docs" / "deployment.md").read_text() + (ROOT / "docs" / "kubernetes.md").read_text()
    made = {"deploy/.env", "deploy/secrets", "deploy/secrets/admin.key"}
    named = set(re.findall(r"deploy/[\w./*@-]+\w", pages)) - made
    assert {"deploy/compose.yaml", "deploy/systemd/tundish.service", "deploy/k8s/base"} <= named
    assert all(list(ROOT.glob(name)) for name in named)


def test_the_image_runs_as_nobody_in_particular() -> None:
    instructions = dict(re.findall(r"^(USER|ENTRYPOINT|STOPSIGNAL|WORKDIR|VOLUME) (.+)$", DOCKERFILE, re.MULTILINE))
    assert instructions["USER"] == "10001:10001"  # by number: Kubernetes cannot tell from a name that it is not root
    assert instructions["VOLUME"] == "/state"
    assert yaml.safe_load(instructions["ENTRYPOINT"]) == ["tini", "--", "tundish"]
    asked, default = (yaml.safe_load(words) for words in re.findall(r"CMD (\[.*\])$", DOCKERFILE, re.MULTILINE))
    parsed(default)
    assert asked[0] == "tundish"
    parsed(asked[1:])


def test_the_image_is_made_of_what_there_is() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', DOCKERFILE, re.MULTILINE)
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    (version,) = re.findall(r" (torch==[\d.]+)", DOCKERFILE)
    assert version in project["dependencies"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert source not in ignored
    told = dict(re.findall(r"(TUNDISH_\w+)=(\S+)", DOCKERFILE))
    assert told == {"TUNDISH_HOME": "/state", "TUNDISH_HOST": "0.0.0.0"}


def test_the_image_has_what_functions_yaml_and_compose_can_ask_for() -> None:
    """Its line that says what to install, run as the build runs it: Flower, JWT, spans, hybrid search; all pinned."""
    (extras,) = re.findall(r'^ARG EXTRAS="(.*)"$', DOCKERFILE, re.MULTILINE)
    (program,) = re.findall(r'python3 -c "(import os, tomllib.*?)" > needed.txt', DOCKERFILE, re.DOTALL)
    words = [sys.executable, "-c", program.replace("\\\n", "")]
    told = subprocess.run(words, env={"EXTRAS": extras}, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    needed = names(told)
    assert {"flower", "pyjwt", "opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "tantivy"} <= needed
    assert needed <= names((ROOT / "constraints.txt").read_text())


def names(text: str) -> set[str]:
    """The packages of a list of requirements, written as PyPI compares them."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return {re.split(r"[\[<>=~ ]", line)[0].lower().replace("_", "-") for line in lines}
