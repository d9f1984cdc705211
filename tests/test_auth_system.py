"""A whole system that asks for keys: its own parts and commands need none to be given, and nobody sees any."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browsing import chromium, window
from tests.system import System, clean_environ, running_system, until


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with running_system(tmp_path_factory.mktemp("auth"), "--no-reload", TUNDISH_AUTH="required") as found:
        yield found


def admin_key(system: System) -> str:
    return (system.home / "admin.key").read_text().strip()


def test_commands_of_this_host_just_work(system: System) -> None:
    assert f"Every request needs a key. The administrator's is in {system.home / 'admin.key'}" in system.log
    assert system.request("GET", "/functions").status == 401
    assert "greet" in system.tundish("functions").stdout
    done = system.tundish("invoke", "inner", "-d", '{"name": "Ada"}')  # which has no http trigger
    assert done.returncode == 0, done.stderr
    made = system.tundish("keys", "create", "shop", "--role", "invoke", "--function", "greet", "--expires", "1d")
    key = made.stdout.strip()
    assert key.startswith("tundish_shop_")
    assert "shown this once" in made.stderr
    headers = {"Authorization": f"Bearer {key}"}
    assert system.request("POST", "/function/greet", json={"name": "Ada"}, headers=headers).status == 200
    assert system.request("POST", "/function/sleep", json={}, headers=headers).status == 403
    (listed,) = json.loads(system.tundish("keys", "--json").stdout)["keys"]
    assert (listed["name"], listed["functions"], listed["used"] is None) == ("shop", ["greet"], False)
    assert "shop" in system.tundish("keys", "list").stdout
    gone = system.tundish("keys", "revoke", "shop", "nobody")
    assert (gone.returncode, "Revoked: shop." in gone.stdout, "nobody" in gone.stderr) == (1, True, True)
    until(lambda: system.request("GET", "/functions", headers=headers).status == 401, "the end of the key")


def test_another_systems_address_gets_no_key(system: System) -> None:
    """The administrator's key goes to this system only; others are asked with TUNDISH_API_KEY."""
    from runtime.callers.own_key import own_key
    from runtime.cli.client import find

    environ = {"TUNDISH_HOME": str(system.home), "TUNDISH_FILE": str(system.folder / "functions.yaml")}
    assert own_key(system.home, system.url, environ) == admin_key(system)
    assert own_key(system.home, "http://203.0.113.9:8000", environ) == ""
    client = find({**environ, "TUNDISH_URL": system.url, "TUNDISH_API_KEY": "mine"})
    assert client._headers["Authorization"] == "Bearer mine"


def test_the_store_still_tells_of_objects(system: System, tmp_path: Path) -> None:
    (tmp_path / "tides.txt").write_text("The moon pulls the sea; the tide follows it around the earth.")
    done = system.tundish("put", str(tmp_path / "tides.txt"), "--bucket", "documents")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "tides.txt" in system.tundish("search", "why does the sea rise and fall").stdout


def test_no_secret_is_in_a_command_line_a_log_or_an_open_file(system: System) -> None:
    credentials = json.loads((system.home / "credentials.json").read_text())
    secrets = {value for name, value in credentials.items() if name != "store_access_key"} | {admin_key(system)}
    assert len(secrets) == 4
    seen = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace")
            seen += str(system.home) in words or "runtime.worker" in words
            assert not any(secret in words for secret in secrets), words.split("\0")[:4]
    assert seen > 2
    logs = [system.log, *(path.read_text(errors="replace") for path in (system.home / "logs").iterdir())]
    assert not any(secret in text for text in logs for secret in secrets)
    assert system.home.stat().st_mode & 0o077 == 0
    holding = [
        path
        for path in system.home.rglob("*")
        if path.is_file() and path.stat().st_size < 2**20 and path.parent.name not in ("valkey", "seaweedfs")
        if any(secret.encode() in path.read_bytes() for secret in secrets)
    ]
    assert {path.name for path in holding} >= {"credentials.json", "run.json", "admin.key"}
    assert not [path for path in holding if path.stat().st_mode & 0o077]


def test_people_sign_in(system: System) -> None:
    with chromium() as browser, window(browser, system.url) as web:
        web.expected.add("401")  # what a browser says of the answers before it
        web.page.goto(f"{system.url}/#/queues")
        web.page.get_by_label("Key").fill("tundish_no_key")
        web.page.get_by_role("button", name="Sign in").click()
        expect(web.page.get_by_role("alert")).to_contain_text("is not known")
        web.page.get_by_label("Key").fill(admin_key(system))
        web.page.get_by_role("button", name="Sign in").click()
        expect(web.page.locator("main h1")).to_have_text("Queues and workers")
        expect(web.page.get_by_text("admin (admin)")).to_be_visible()
        assert web.page.evaluate("document.cookie") == ""
        assert not web.nameless()
        web.open("/functions/greet")
        web.page.get_by_role("button", name="Sign out").click()
        expect(web.page.get_by_label("Key")).to_be_visible()
        assert not web.faint()
        web.page.goto(f"{system.url}/plain")
        expect(web.page.get_by_label("Key")).to_be_visible()


def test_the_environment_for_other_programs_has_the_key(system: System) -> None:
    told = json.loads(system.tundish("env", "--json").stdout)
    assert told["TUNDISH_API_KEY"] == admin_key(system)
    assert clean_environ().get("TUNDISH_API_KEY") is None
