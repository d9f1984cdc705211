"""What shells offer after `tundish`: asked of the shells themselves, where they are installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from runtime.cli.main import cli
from tests.system import System, clean_environ, until

PROJECT = """
version: 1
queues: {letters: {}, maps: {}}
functions:
  read_letter:
    handler: letters.py:read
    triggers: [{http: {}}, {bucket: inbox, index: letters}]
  read_map: {handler: maps.py:read, retires: 3, triggers: [{cron: "@daily"}]}
"""
OFFERS = [
    ("inv", ["invoke"]),
    ("invoke read_", ["read_letter", "read_map"]),
    ("functions read_m", ["read_map"]),
    ("worker -Q ", ["letters", "maps"]),
    ("drain let", ["letters"]),
    ("drain letters ma", ["maps"]),
    ("purge m", ["maps"]),
    ("pause ", ["function", "queue", "trigger", "schedule"]),
    ("pause queue l", ["letters"]),
    ("pause trigger ", ["read_letter"]),
    ("resume schedule ", ["read_map"]),
    ("resume function read_l", ["read_letter"]),
    ("put --bucket ", ["inbox"]),
    ("buckets wire ", ["inbox"]),
    ("search --index ", ["default", "letters"]),
    ("schedule next ", ["read_map"]),
    ("tasks --function read_m", ["read_map"]),
    ("index r", ["release", "rollback"]),
    ("completion z", ["zsh"]),
    ("tasks --lim", ["--limit"]),
    ("cancel ", []),
]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "functions.yaml").write_text(PROJECT)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return clean_environ(TUNDISH_FILE=str(tmp_path / "functions.yaml"), PATH=path)


def offered(line: str, environ: dict[str, str]) -> list[str]:
    """What is offered at the end of a line, of which the last word is not finished."""
    *words, incomplete = line.split(" ")
    found = ShellComplete(cli, {"obj": environ}, "tundish", "").get_completions(words, incomplete)
    return [item.value for item in found]


@pytest.mark.parametrize(("line", "names"), OFFERS, ids=[line for line, _ in OFFERS])
def test_names_are_offered(line: str, names: list[str], environ: dict[str, str]) -> None:
    assert offered(line, environ) == names


@pytest.mark.parametrize("text", ["functions: [", "- a list", "functions: {a: 3, b: {triggers: 4}}", "\x00"])
def test_a_file_that_cannot_be_read_offers_what_it_can(text: str, environ: dict[str, str]) -> None:
    Path(environ["TUNDISH_FILE"]).write_text(text)
    assert offered("invoke ", environ) == (["a", "b"] if "a: 3" in text else [])
    assert offered("put --bucket ", environ) == []


def test_a_system_is_asked_for_calls_and_where_there_is_no_file(system: System, environ: dict[str, str]) -> None:
    run = CliRunner().invoke(
        cli, ["invoke", "greet", "-d", '{"name": "Ada"}', "--async"], obj={**environ, "TUNDISH_URL": system.url}
    )
    task = run.stdout.strip()
    done = ["tasks", task, "--json"]
    here = {**environ, "TUNDISH_URL": system.url}
    until(lambda: json.loads(CliRunner().invoke(cli, done, obj=here).stdout)["state"] == "succeeded", "the call")
    found = ShellComplete(cli, {"obj": here}, "tundish", "").get_completions(["tasks"], task[:6])
    assert [(item.value, item.help) for item in found] == [(task, "greet succeeded")]
    assert task in offered("retry ", here)
    assert task not in offered("cancel ", here)
    assert task not in offered(f"retry {task} ", here)  # it is there already
    Path(environ["TUNDISH_FILE"]).unlink()
    assert offered("invoke gre", here) == ["greet"]
    assert offered("drain w", here) == ["work"]


def test_nothing_heavy_is_imported_while_a_shell_waits(environ: dict[str, str]) -> None:
    code = (
        "import os, sys; from click.shell_completion import ShellComplete; from runtime.cli.main import cli\n"
        "s = ShellComplete(cli, {'obj': dict(os.environ)}, 'tundish', '')\n"
        "assert s.get_completions(['pause', 'queue'], 'l') and s.get_completions([], 'in'); print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert not {"pydantic", "rich", "redis", "urllib3", "minio", "celery"} & set(done.stdout.split())


SHELLS = {
    "bash": """
        eval "$(tundish completion bash)"
        COMP_WORDS=(tundish pause queue l); COMP_CWORD=3
        _tundish_completion tundish; echo "${COMPREPLY[@]}"
        COMP_WORDS=(tundish invoke ""); COMP_CWORD=2; COMPREPLY=()
        _tundish_completion tundish; echo "${COMPREPLY[@]}"
    """,
    "zsh": """
        autoload -U compinit; compinit -u -D
        compadd() { print -r -- $completions }
        eval "$(tundish completion zsh)"
        words=(tundish pause queue l); CURRENT=4; _tundish_completion
        words=(tundish invoke ""); CURRENT=3; _tundish_completion
    """,
    "fish": """
        tundish completion fish | source
        complete -C "tundish pause queue l" | string split \\t -f 1 | string join " "
        complete -C "tundish invoke " | string split \\t -f 1 | string join " "
    """,
}


@pytest.mark.parametrize("shell", SHELLS)
def test_a_real_shell(shell: str, environ: dict[str, str], tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    flags = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    done = subprocess.run(
        [program, *flags, "-c", SHELLS[shell]],
        env={**environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    lines = [line for line in done.stdout.splitlines() if line]
    words = " ".join(lines).split()
    assert words == ["letters", "read_letter", "read_map"], done.stdout + done.stderr


def test_the_shell_is_the_one_of_the_user(environ: dict[str, str]) -> None:
    for shell in SHELLS:
        own = CliRunner().invoke(cli, ["completion"], obj={**environ, "SHELL": f"/usr/bin/{shell}"})
        assert own.output == CliRunner().invoke(cli, ["completion", shell], obj=environ).output
    wrong = CliRunner().invoke(cli, ["completion"], obj={**environ, "SHELL": "/bin/tcsh"})
    assert (wrong.exit_code, "bash|zsh|fish" in wrong.stderr) == (2, True)
