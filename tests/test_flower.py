"""Flower beside a system: its tasks, its password, and what other users of the host can see of that."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import urllib3
from click.testing import CliRunner, Result

from runtime.cli.flower import apart
from runtime.cli.main import cli
from runtime.deployment.deployment import Deployment
from runtime.host.free_ports import Ports
from runtime.invocations.submit import Call, submit
from runtime.worker.app import create_app
from tests.system import System, clean_environ
from tests.system import until as happens
from tests.workers import SAMPLES, ended, until, worker

ADMIN = "tundish_admin_0123456789abcdefghij"


@contextlib.contextmanager
def flower(system: System, log: Path, *words: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """`tundish flower` beside a running system."""
    known = clean_environ(TUNDISH_FILE=str(system.folder / "functions.yaml"), TUNDISH_HOME=str(system.home), **environ)
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "flower", *words]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=known, stdout=file, stderr=file, start_new_session=True)
    try:
        yield process
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_flower_shows_every_task_to_who_has_the_password(system: System, tmp_path: Path) -> None:
    """Those that succeed and those that fail; the password is in no command line."""
    port = Ports(tmp_path).take("flower")
    environ = {"FLOWER_PORT": str(port), "FLOWER_BASIC_AUTH": "me:open-sesame"}
    log = tmp_path / "flower.log"

    def ask(path: str, password: str = "") -> tuple[int, Any]:
        headers = urllib3.make_headers(basic_auth=f"me:{password}" if password else None)
        url = f"http://127.0.0.1:{port}{path}"
        try:
            answer = urllib3.request("GET", url, headers=headers, retries=False, timeout=10)
        except urllib3.exceptions.HTTPError:
            return 0, None
        return answer.status, answer.json() if answer.status == 200 else None

    with flower(system, log, "--inspect-timeout=5000", "--cookie-secret=also-hidden", **environ) as process:

        def workers() -> bool:
            assert process.poll() is None, log.read_text()
            status, found = ask("/api/workers?refresh=1", "open-sesame")
            return status == 200 and any(name.startswith("work@") for name in found)

        happens(workers, "Flower")
        assert [ask("/api/workers")[0], ask("/api/workers", "wrong")[0]] == [401, 401]
        line = Path(f"/proc/{process.pid}/cmdline").read_text() if Path("/proc").is_dir() else ""
        assert "open-sesame" not in line and "also-hidden" not in line
        states: dict[str, tuple[str, str]] = {}

        def shown() -> bool:
            """Workers begin to tell Flower of their tasks some seconds after it has come."""
            for name, given, state in (("greet", {"name": "you"}, "SUCCESS"), ("fail", {}, "FAILURE")):
                answer = system.request("POST", f"/function/{name}", json=given)
                states[answer.headers["X-Call-Id"]] = (name, state)
            _, found = ask("/api/tasks", "open-sesame")
            seen = {one: (told["name"], told["state"]) for one, told in (found or {}).items()}
            return {name for one, (name, state) in states.items() if seen.get(one) == (name, state)} == {
                "greet",
                "fail",
            }

        happens(shown, "the tasks in Flower")
    assert "open-sesame" not in log.read_text()
    assert f"http://127.0.0.1:{port}/" in log.read_text()


FILE = SAMPLES / "telling" / "functions.yaml"


def test_monitors_hear_of_gathered_calls_by_their_own_ids(
    client: redis.Redis, broker_url: str, deployed: Deployment
) -> None:
    """What Flower is told: the events of Celery, as any program of it receives them."""
    app = create_app(deployed.settings)
    heard: dict[str, list[str]] = {}
    over = threading.Event()

    def listen() -> None:
        def keep(event: dict[str, Any]) -> None:
            if event["type"].startswith("task-"):
                heard.setdefault(event["uuid"], []).append(event["type"])

        with app.connection_for_read() as connection:
            receiver = app.events.Receiver(connection, handlers={"*": keep})
            while not over.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    receiver.capture(limit=None, timeout=0.2, wakeup=False)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    with worker(FILE, broker_url, "many"):

        def told() -> bool:
            """Again and again, until the worker has begun to tell."""
            app.control.enable_events()
            ids = [submit(client, deployed, Call("score", {"number": number})) for number in range(3)]
            for task_id in ids:
                assert ended(client, task_id).state == "succeeded"
            whole = ["task-received", "task-started", "task-succeeded"]
            with contextlib.suppress(AssertionError):
                return until(lambda: all(heard.get(one) == whole for one in ids), 1.0)
            return False

        until(told, 60.0)
    over.set()
    thread.join()
    app.close()


def run(*words: str, **environ: str) -> Result:
    return CliRunner().invoke(cli, ["flower", *words], obj=environ)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be executed: command and environment."""
    found: list[Any] = []

    def execve(_: str, command: list[str], environ: dict[str, str]) -> None:
        found.append((command, environ))

    monkeypatch.setattr("runtime.cli.flower.os.execve", execve)
    return found


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "functions.yaml").write_text("version: 1\nfunctions: {}\n")
    broker = "redis://:broker-password@127.0.0.1:1/0"
    return {
        "TUNDISH_FILE": str(tmp_path / "functions.yaml"),
        "TUNDISH_HOME": str(tmp_path / "home"),
        "CELERY_BROKER_URL": broker,
    }


def test_without_keys_it_is_open_on_this_machine(home: dict[str, str], executed: list[Any]) -> None:
    assert run(**home).exit_code == 0
    command, environ = executed[0]
    assert "--address=127.0.0.1" in command and "--port=5555" in command
    assert "FLOWER_BASIC_AUTH" not in environ
    assert not [word for word in command if "broker-password" in word]


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ((), {"TUNDISH_AUTH": "required"}),
        (("--address=0.0.0.0",), {}),
        ((), {"FLOWER_ADDRESS": "0.0.0.0"}),
    ],
    ids=["keys", "option", "variable"],
)
def test_it_asks_for_a_password_where_the_gateway_asks_for_keys(
    home: dict[str, str], executed: list[Any], words: tuple[str, ...], more: dict[str, str]
) -> None:
    refused = run(*words, **home, **more)
    assert refused.exit_code == 1 and not executed
    assert "set FLOWER_BASIC_AUTH=name:password" in refused.stderr
    key = Path(home["TUNDISH_HOME"]) / "admin.key"
    key.parent.mkdir()
    key.write_text(ADMIN)
    allowed = run(*words, **home, **more)
    assert allowed.exit_code == 0
    command, environ = executed[0]
    assert environ["FLOWER_BASIC_AUTH"] == f"admin:{ADMIN}"
    assert str(key) in allowed.stderr
    assert not [word for word in (*command, allowed.output) if ADMIN in word]
    assert run(*words, **home, **more, FLOWER_BASIC_AUTH="me:mine").exit_code == 0
    assert executed[1][1]["FLOWER_BASIC_AUTH"] == "me:mine"


def test_an_administrators_key_that_flower_cannot_take(home: dict[str, str], executed: list[Any]) -> None:
    key = Path(home["TUNDISH_HOME"]) / "own.key"
    key.parent.mkdir()
    key.write_text(f"{ADMIN},{ADMIN}")
    refused = run(**home, TUNDISH_AUTH="required", TUNDISH_ADMIN_KEY_FILE=str(key))
    assert (refused.exit_code, executed) == (1, [])
    assert "comma" in refused.stderr and ADMIN not in refused.stderr


@pytest.mark.parametrize(
    ("given", "options", "secrets"),
    [
        (["--max-tasks=5", "--basic-auth=a:b"], ["--max-tasks=5"], {"FLOWER_BASIC_AUTH": "a:b"}),
        (["--basic_auth", "a:b", "--debug"], ["--debug"], {"FLOWER_BASIC_AUTH": "a:b"}),
        (["--oauth2-secret=x", "--auth=.*"], ["--auth=.*"], {"FLOWER_OAUTH2_SECRET": "x"}),
        (["basic-auth=kept"], ["basic-auth=kept"], {}),
    ],
)
def test_what_must_not_be_seen_leaves_the_command_line(
    given: list[str], options: list[str], secrets: dict[str, str]
) -> None:
    assert apart(given) == (options, secrets)


def test_the_port_of_the_command_line_wins(home: dict[str, str], executed: list[Any]) -> None:
    assert run("--port", "7000", "--max-tasks=5", **home, FLOWER_PORT="6000").exit_code == 0
    assert run(**home, FLOWER_PORT="6000").exit_code == 0
    assert "--port=7000" in executed[0][0] and "--max-tasks=5" in executed[0][0]
    assert "--port=6000" in executed[1][0]
