"""A gateway's own process on an address that others reach: it asks for keys, and counts who fails by where they are."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from click.testing import CliRunner

from gateway.access.failures import MOST
from runtime.cli.main import cli
from tests.fronts import Front
from tests.workers import environment

YAML = "version: 1\nfunctions: {add: {handler: mine.py:add, triggers: [{http: {}}]}}\n"


@pytest.fixture(scope="module")
def environ(broker_url: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("project")
    (folder / "mine.py").write_text("def add(a: int, b: int = 1) -> int:\n    return a + b\n")
    (folder / "functions.yaml").write_text(YAML)
    (folder / "key").write_text("k" * 32)
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    told = {
        "TUNDISH_FILE": str(folder / "functions.yaml"),
        "TUNDISH_HOST": "0.0.0.0",
        "TUNDISH_PORT": str(port),
        "TUNDISH_ADMIN_KEY_FILE": str(folder / "key"),
        "TUNDISH_TRUSTED_PROXIES": "127.0.0.0/8",
    }
    return environment(broker_url, told)


@pytest.fixture(scope="module")
def front(environ: dict[str, str]) -> Iterator[Front]:
    made = Front(environ)
    made.start()
    yield made
    made.kill()


def get(front: Front, path: str, **headers: str) -> urllib3.BaseHTTPResponse:
    return urllib3.request("GET", front.url + path, headers=headers, retries=False, timeout=30.0)


def test_everybody_needs_a_key(front: Front) -> None:
    assert get(front, "/functions").status == 401
    assert get(front, "/functions", Authorization=f"Bearer {'k' * 32}").status == 200
    assert get(front, "/functions", Authorization=f"Bearer {'k' * 31}").status == 401
    assert get(front, "/healthz").status == 200


def test_behind_a_proxy_those_who_guess_are_told_apart(front: Front) -> None:
    def guess(address: str) -> int:
        forwarded = {"X-Forwarded-For": address, "Authorization": "Bearer tundish_who_knows"}
        return get(front, "/functions", **forwarded).status

    assert [guess("203.0.113.1") for _ in range(MOST + 1)] == [401] * MOST + [429]
    assert guess("203.0.113.2") == 401


def test_commands_on_this_host_know_the_key_and_others_are_told_how(
    front: Front, environ: dict[str, str], tmp_path: Path
) -> None:
    own = {"TUNDISH_URL": front.url, "TUNDISH_HOME": str(tmp_path)}

    def run(more: dict[str, str], *words: str) -> Any:
        return CliRunner().invoke(cli, words, obj={**own, **more})

    file = {"TUNDISH_ADMIN_KEY_FILE": environ["TUNDISH_ADMIN_KEY_FILE"]}
    assert "add" in run(file, "functions").output
    made = run(file, "keys", "create", "reader", "--role", "read", "--all-tenants", "--json").output
    assert '"confined": false' in made
    refused = run({}, "functions")
    assert refused.exit_code == 1
    assert "TUNDISH_API_KEY" in refused.output
    wrong = run(file, "keys", "create", "reader")
    assert wrong.exit_code == 1
    assert "There is a key called reader already" in wrong.output
    assert run(file, "keys", "revoke", "reader").exit_code == 0
