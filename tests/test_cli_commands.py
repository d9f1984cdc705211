"""All commands: help, usage, exit codes and JSON are the same kind everywhere, and as docs/cli.md says."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from runtime.cli.main import _COMMANDS, _GROUPS, cli
from tests.system import System, clean_environ, until

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "cli.md").read_text()


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its words; those that do something alone and have others below them, too."""
    context = click.Context(group, info_name="tundish")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))


COMMANDS = {" ".join(words): command for words, command in leaves(cli)}
JSON = {name: command for name, command in COMMANDS.items() if "--json" in str([one.opts for one in command.params])}
PROGRAMS = PAGE[PAGE.index("## For programs") : PAGE.index("## Completion")]
TOLD = dict(re.findall(r"^\| `tundish ([a-z -]+)` \| ([^|]*) \|", PROGRAMS, re.MULTILINE))
PLAIN = set(re.findall(r"`tundish ([a-z ]+)`", PROGRAMS[PROGRAMS.index("These have no `--json`") :]))


def run(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, list(words), obj=clean_environ(**environ))


def at(system: System, *words: str) -> Result:
    """A command against a system, in this process."""
    return run(*words, TUNDISH_FILE=str(system.folder / "functions.yaml"), TUNDISH_HOME=str(system.home))


def keys(name: str) -> set[str]:
    """The top-level keys that the page promises for a command."""
    plain = re.sub(r"\([^)]*\)", "", TOLD[name]).partition("; ")[0]
    return set(re.findall(r"`(\w+)`", plain))


@pytest.fixture
def nowhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a folder with a project and without a system."""
    (tmp_path / "plain.py").write_text("def plain() -> None: ...\n")
    (tmp_path / "functions.yaml").write_text("version: 1\nfunctions:\n  plain: {handler: plain.py:plain}\n")
    return {"TUNDISH_FILE": str(tmp_path / "functions.yaml"), "TUNDISH_HOME": str(tmp_path / "home")}


# What holds for every command


@pytest.mark.parametrize("name", COMMANDS)
def test_help(name: str) -> None:
    shown = run(*name.split(), "--help")
    assert shown.exit_code == 0
    assert f"tundish {name}".replace("tundish", "cli", 1) in shown.output
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option) and option.name != "help":
            assert option.help or option.name == "bucket", f"{name}: {option.opts} has no help"


@pytest.mark.parametrize("name", COMMANDS)
def test_an_option_that_is_not_there_is_wrong_usage(name: str) -> None:
    if name == "flower":  # hands on what it does not know
        return
    wrong = run(*name.split(), "--nonsense")
    assert wrong.exit_code == 2
    assert "No such option" in wrong.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_json_or_says_that_it_has_none(name: str) -> None:
    assert (name in JSON) == (name in TOLD)
    assert (name in JSON) != (name in PLAIN)


ASKS = {
    "invoke": "x",
    "cancel": "x",
    "retry": "x",
    "dead show": "x",
    "dead purge": "--yes",
    "keys create": "x",
    "keys revoke": "x",
    "scale": "x=1",
    "pause": "queue x",
    "resume": "queue x",
    "purge": "x --yes",
    "put": f"{__file__}",
    "rm": "x",
    "search": "x",
    "index rollback": "1",
    "index migrate": "--status",
    "buckets confirm": "x",
    "buckets events": "--purge --yes",
    "replay": "--bucket x",
}
OFFLINE = {"check", "doctor", "functions", "models", "schedule", "schedule next"}


@pytest.mark.parametrize("name", JSON)
def test_without_a_system(name: str, nowhere: dict[str, str]) -> None:
    found = run(*name.split(), *ASKS.get(name, "").split(), "--json", **nowhere)
    if name in OFFLINE:
        assert json.loads(found.stdout)
        assert found.exit_code == 0, found.stderr
        return
    assert (found.exit_code, found.stdout) == (3, "")
    assert found.stderr.count("\n") == 1
    assert "tundish up" in found.stderr


@pytest.mark.parametrize("name", ["worker", "beat", "triggers", "flower", "buckets wire"])
def test_a_part_that_finds_no_broker_says_how_to_name_one(name: str, nowhere: dict[str, str]) -> None:
    found = run(*name.split(), **nowhere)
    assert found.exit_code in (1, 3)
    assert "`tundish up`" in found.stderr
    assert found.stderr.startswith("tundish: ")


@pytest.mark.parametrize(
    ("words", "near"), [("serach x", "search"), ("funtions", "functions"), ("doktor", "doctor"), ("qq", None)]
)
def test_a_command_that_is_not_there(words: str, near: str | None) -> None:
    wrong = run(*words.split())
    assert wrong.exit_code == 2
    assert f"did you mean {near}?" in wrong.stderr if near else "tundish --help" in wrong.stderr


def test_the_list_of_commands_names_each_once() -> None:
    named = [name for names in _GROUPS.values() for name in names]
    assert len(named) == len(set(named))
    assert set(_COMMANDS) <= set(named)
    shown = run("--help").output
    for name, (_, words) in _COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(words[:20])}", shown, re.MULTILINE), name


# `tundish` alone


def test_alone_it_says_what_comes_next(tmp_path: Path, nowhere: dict[str, str]) -> None:
    nothing = run(TUNDISH_FILE=str(tmp_path / "other" / "functions.yaml"))
    assert (nothing.exit_code, "tundish init" in nothing.stdout) == (0, True)
    here = run(**nowhere)
    assert (here.exit_code, "nothing runs" in here.stdout, "tundish up" in here.stdout) == (0, True, True)
    away = run(**nowhere, TUNDISH_URL="http://127.0.0.1:9")
    assert (away.exit_code, "127.0.0.1:9" in away.stdout, "tundish doctor" in away.stdout) == (0, True, True)


# What is answered 503 is worth another try


BUSY = "The broker did not answer."


class Busy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"title": "busy", "detail": BUSY}).encode()
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: Any) -> None:
        """Silent."""


def test_a_system_that_cannot_just_now_is_no_failure(nowhere: dict[str, str]) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Busy)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        for words in ("tasks", "queues", "pause queue x", "rm a b", "cancel a b"):
            found = run(*words.split(), **nowhere, TUNDISH_URL=url)
            assert found.exit_code == 3, (words, found.output)
            told = (
                "The answer was HTTP 503. Try again in a moment." if words[:2] == "rm" else "The broker did not answer."
            )
            assert found.stderr == f"tundish: {told}\n", words
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_ctrl_c(nowhere: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        environ = clean_environ(**nowhere, TUNDISH_URL=f"http://127.0.0.1:{listener.getsockname()[1]}")
        command = [sys.executable, "-P", "-m", "runtime.cli.main", "tasks"]
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        listener.settimeout(60)
        asked, _ = listener.accept()  # and is never answered
        asked.recv(1)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, "Traceback" in err) == (130, "", False), err


# Against a system


READS = {
    "check": "",
    "doctor": "",
    "functions": "",
    "tasks": "",
    "dead": "",
    "dead list": "",
    "queues": "",
    "workers": "",
    "schedule": "",
    "schedule next": "",
    "keys": "",
    "keys list": "",
    "usage": "",
    "index": "",
    "index versions": "",
    "index verify": "",
    "buckets": "",
    "buckets list": "",
    "buckets failed": "",
    "buckets events": "",
    "search": "anything",
    "invoke": 'greet -d {"name":"Ada"}',
}


@pytest.mark.parametrize("name", READS)
def test_the_promised_keys_are_there(name: str, system: System) -> None:
    promised = keys(f"{name} list" if name in ("dead", "buckets", "keys") else name)
    done = at(system, *name.split(), *READS[name].split(), "--json")
    told = json.loads(done.stdout)
    assert promised
    assert promised <= set(told), done.stderr


def test_alone_it_says_where_the_system_runs(system: System) -> None:
    shown = at(system)
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, f"Tundish runs at {system.url}.")


def test_json_before_a_subcommand_holds_for_it(system: System) -> None:
    assert "schedules" in json.loads(at(system, "schedule", "--json", "next").stdout)
    assert "triggers" in json.loads(at(system, "buckets", "--json", "list").stdout)
    assert "tasks" in json.loads(at(system, "dead", "--json", "list", "--limit", "1").stdout)
    asked = at(system, "index", "--index", "nowhere", "versions")
    assert (asked.exit_code, "nowhere" in asked.stderr) == (1, True)


def on_terminal(system: System, *words: str, **more: str) -> str:
    """What a person with a terminal sees of a command."""
    ours, theirs = pty.openpty()
    told = {"TUNDISH_FILE": str(system.folder / "functions.yaml"), "TUNDISH_HOME": str(system.home), **more}
    environ = {name: value for name, value in clean_environ(TERM="xterm-256color").items() if name != "NO_COLOR"} | told
    command = [sys.executable, "-P", "-m", "runtime.cli.main", *words]
    process = subprocess.Popen(command, env=environ, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # how Linux says that the other end is closed
        while piece := os.read(ours, 4096):
            shown += piece
    os.close(ours)
    process.wait(20)
    return shown.decode()


def test_colours_are_for_terminals_and_can_be_switched_off(system: System) -> None:
    colour = r"\x1b\[[0-9;]*3[1-6]m"
    seen = on_terminal(system, "queues")
    assert re.search(colour, seen), seen
    assert "\x1b" not in at(system, "queues").stdout
    seen = on_terminal(system, "doctor", TUNDISH_FILE="/nowhere/functions.yaml", TUNDISH_HOME="/nowhere")
    assert re.search(r"\x1b\[1;31mfail", seen), seen
    plain = on_terminal(system, "queues", NO_COLOR="1")
    assert not re.search(colour, plain), plain


def test_queues_and_workers(system: System) -> None:
    shown = at(system, "queues").stdout
    assert re.search(r"^work +ready +\d+ +\d+ +\d", shown, re.MULTILINE), shown
    told = json.loads(at(system, "workers", "--json").stdout)["workers"]
    assert {one["queue"] for one in told} == {"work", "embedding"}
    assert all(one["worker"] in at(system, "workers").stdout for one in told)


def test_several_rest_at_once(system: System) -> None:
    done = at(system, "pause", "function", "greet", "nobody", "fail", "--json")
    told = json.loads(done.stdout)
    assert (done.exit_code, told["names"], told["paused"]) == (1, ["greet", "fail"], True)
    assert "nobody" in done.stderr
    assert at(system, "resume", "function", "greet", "fail").stdout == (
        "function greet goes on\nfunction fail goes on\n"
    )
    assert json.loads(at(system, "resume", "function", "greet", "--json").stdout)["changed"] is False
    assert "paused" in json.loads(at(system, "pause", "--json").stdout)


def test_draining(system: System) -> None:
    def state(task: str) -> str:
        found: str = json.loads(at(system, "tasks", task, "--json").stdout)["state"]
        return found

    def call(seconds: float) -> str:
        return at(system, "invoke", "sleep", "-d", json.dumps({"seconds": seconds}), "--async").stdout.strip()

    long = call(20)
    until(lambda: state(long) == "running", "the call")
    try:
        late = at(system, "drain", "work", "--timeout", "100ms", "--json")
        told = json.loads(late.stdout)
        assert (late.exit_code, told["drained"]) == (1, False)
        assert told["queues"][0] | {"queued": 0, "parked": 0} == {
            "queue": "work",
            "running": 1,
            "queued": 0,
            "parked": 0,
            "paused": True,
        }
        assert "resume queue work" in late.stderr
        assert at(system, "cancel", long).exit_code == 0
        waits = call(0)
        done = at(system, "drain")  # all of them
        assert done.exit_code == 0, done.stderr
        assert re.match(r"Nothing runs in embedding, work; \d+ calls wait", done.stdout)
        assert state(waits) == "accepted"
    finally:
        assert at(system, "resume", "queue", "work", "embedding").exit_code == 0
    until(lambda: state(waits) == "succeeded", "the call that had waited")
    wrong = at(system, "drain", "nowhere")
    assert (wrong.exit_code, "nowhere" in wrong.stderr) == (1, True)
    assert at(system, "drain", "--timeout", "soon").exit_code == 2


def test_a_drain_that_is_stopped_says_what_rests(system: System) -> None:
    task = at(system, "invoke", "sleep", "-d", '{"seconds": 20}', "--async").stdout.strip()
    running = ("tasks", task, "--json")
    until(lambda: json.loads(at(system, *running).stdout)["state"] == "running", "the call")
    environ = clean_environ(TUNDISH_FILE=str(system.folder / "functions.yaml"), TUNDISH_HOME=str(system.home))
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "drain", "work"]
    process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: "queue work" in re.sub(" +", " ", at(system, "pause").stdout), "the pause")
        assert process.stderr is not None
        assert process.stderr.readline() == "1 calls still run\n"
        process.send_signal(signal.SIGINT)
        assert "resume queue work" in process.communicate(timeout=20)[1]
        assert process.returncode == 130
    finally:
        process.kill()
        at(system, "cancel", task)
        assert at(system, "resume", "queue", "work").exit_code == 0


def test_an_index_goes_back_and_on(system: System, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / f"{name}.txt").write_text(f"The {name} word on rolling back.")
        assert at(system, "put", str(tmp_path / f"{name}.txt"), "--prefix", "back/").exit_code == 0
    newest, before, *_ = json.loads(at(system, "index", "versions", "--json").stdout)["versions"]
    assert before["version"] in at(system, "index", "versions").stdout
    done = at(system, "index", "rollback", before["version"])
    try:
        assert done.exit_code == 0, done.stderr
        assert f"generation {before['generation']} is back" in done.stdout
        assert "tundish index release" in done.stdout
        shown = at(system, "index").stdout
        assert "held" in shown and "next step: Nothing" in shown
        again = at(system, "index", "rollback", "ffffffff")
        assert (again.exit_code, "tundish index versions" in again.stderr) == (1, True)
    finally:
        released = json.loads(at(system, "index", "release", "--json").stdout)
    assert released["released"]
    assert at(system, "index", "release").stdout == "index default was not held\n"
    built = json.loads(at(system, "index", "build", "--json").stdout)
    assert built["documents"] == newest["documents"]
    assert "index default: " in at(system, "index", "build").stdout
    assert at(system, "rm", "back/first.txt", "back/second.txt", "--json").exit_code == 0
    gone = at(system, "rm", "back/first.txt", "--json")
    assert (gone.exit_code, list(json.loads(gone.stdout)["refused"])) == (1, ["back/first.txt"])


def test_flower_that_is_not_installed(nowhere: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "flower", None)
    found = run("flower", **nowhere)
    assert found.exit_code == 1
    assert "pip install 'tundish[flower]'" in found.stderr
