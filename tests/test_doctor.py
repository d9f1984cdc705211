"""What the doctor finds of a project, its processes, its queues and buckets, and this host."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis
from click.testing import CliRunner

from runtime import keys
from runtime.broker.presence import Presence
from runtime.buckets.source_state import read as sources
from runtime.buckets.watch import watches
from runtime.cli.main import cli
from runtime.config.settings import StoreSettings
from runtime.doctor import host
from runtime.doctor.examine import CHECKS
from runtime.doctor.model import _folder
from runtime.index.port import FaissIndex
from runtime.invocations import pause
from runtime.invocations.submit import Call, submit
from runtime.system.reload_state import Reload, record
from tests.doctoring import PLAIN, cannot, look, one, patient, project
from tests.indexing import Doc, fresh_store, write
from tests.minio_server import FakeMinio
from tests.system import System, clean_environ
from tests.trying import trial
from tests.workers import deployment, until

NAMES = [name for name, _ in CHECKS]
WATCHING = "from typing import Any\n\ndef plain(objects: Any) -> None: ...\n"


@contextlib.contextmanager
def alive(client: redis.Redis, kind: str, name: str, *, ready: bool = True, **fields: Any) -> Iterator[None]:
    """Somebody who says that he is a part of the system, and does nothing."""
    found = Presence(client, kind, name)
    if fields:
        found.tell(**fields)
    found.set(ready=ready)
    found.start()
    until(lambda: client.exists(keys.process(kind, name)))
    yield
    found.stop()


def bucket_project(folder: Path, **trigger: Any) -> None:
    functions = {"plain": {**PLAIN, "triggers": [{"bucket": "pictures", **trigger}]}}
    project(folder, code=WATCHING, functions=functions)


# The project


def test_a_project_that_is_well(tmp_path: Path) -> None:
    project(tmp_path)
    who = patient(tmp_path)
    assert [one(who, name).state for name in ("configuration", "functions", "feedback loops")] == ["ok"] * 3


def test_mistakes_in_the_configuration(tmp_path: Path) -> None:
    project(tmp_path, functions={"plain": {**PLAIN, "retires": 3, "queue": "nowhere"}})
    found = look(patient(tmp_path, environ={"TUNDISH_PORT": "many"}), "configuration")
    assert len(found) == 3
    assert {one.state for one in found} == {"fail"}
    assert any("did you mean retries?" in one.found for one in found)
    assert "configuration" not in cannot(patient(tmp_path), "broker")
    assert "has errors" in cannot(patient(tmp_path), "functions")


def test_functions_that_do_not_load_or_fit(tmp_path: Path) -> None:
    functions = {
        "plain": {**PLAIN, "triggers": [{"cron": "@daily", "with": {"colour": "red"}}]},
        "gone": {"handler": "plain.py:gone"},
    }
    project(tmp_path, functions=functions)
    gone, misfit = look(patient(tmp_path), "functions")
    assert (gone.state, gone.found.startswith("gone cannot be loaded")) == ("fail", True)
    assert (misfit.state, "colour" in misfit.found) == ("fail", True)


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    functions = {"plain": {**PLAIN, "writes": ["pictures"], "triggers": [{"bucket": "pictures"}]}}
    project(tmp_path, code=WATCHING, functions=functions)
    who = patient(tmp_path)
    found = one(who, "feedback loops")
    assert (found.state, "calls itself for ever" in found.found) == ("fail", True)
    assert one(who, "functions").state == "ok"  # it is told once


def test_a_change_that_was_not_taken_over(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    project(tmp_path)
    who = patient(tmp_path, broker_url)
    assert one(who, "reload").state == "ok"
    bad = Reload(time.time(), 0.1, False, "plain.py:3: a bracket", ["plain.py"])
    record(who.settings, bad)
    found = one(who, "reload")
    assert (found.state, "plain.py:3: a bracket" in found.found) == ("warn", True)
    record(who.settings, replace(bad, ok=True))
    assert one(who, "reload").state == "ok"


# Parts and queues


def test_without_a_system_there_is_nothing_to_say_of_its_parts(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path
) -> None:
    bucket_project(tmp_path)
    for name in ("parts", "queues", "notifications"):
        assert cannot(patient(tmp_path, broker_url), name) == "no part of the system runs; start it with `tundish up`"
        assert "CELERY_BROKER_URL names no broker" in cannot(patient(tmp_path), name)


def test_parts_that_are_missing_or_not_ready(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    bucket_project(tmp_path)
    who = patient(tmp_path, broker_url, environ={"TUNDISH_URL": "http://127.0.0.1:9"})
    with alive(redis_client, "gateway", "g"), alive(redis_client, "beat", "b", ready=False):
        found = {one.found.split(" ")[1]: one for one in look(who, "parts")}
    assert {name: one.state for name, one in found.items()} == {
        "triggers": "fail",  # none runs
        "beat": "warn",  # it is not ready
        "embedder": "warn",
        "gateway": "fail",  # it does not answer
    }
    assert "http://127.0.0.1:9" in found["gateway"].found
    assert all(one.mend for one in found.values())


def test_a_queue_without_a_worker(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    project(tmp_path)
    redis_client.zadd(keys.queued("default", 5), {"waiting": time.time() * 1000})
    with alive(redis_client, "beat", "b"):
        found = one(patient(tmp_path, broker_url), "queues")
    assert found.state == "fail"
    assert found.found == "No worker serves the queue default; 1 calls wait in it."
    assert "tundish worker -Q default" in found.mend


def test_a_worker_that_is_alive_and_takes_nothing(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.doctor.queues.TAKEN_SECONDS", 0.5)
    project(tmp_path, queues={"default": {}, "spare": {}})
    with contextlib.ExitStack() as stack:
        for queue in ("default", "spare"):  # the second has no function of its own
            said: dict[str, Any] = {"queue": queue, "pool": "prefork", "concurrency": 1}
            stack.enter_context(alive(redis_client, "worker", f"{queue}@here", **said))
        first, second = look(patient(tmp_path, broker_url), "queues")
    for found, name in ((first, "default"), (second, "spare")):
        assert (found.state, f"{name}@here says that it is alive" in found.found) == ("fail", True)
        assert redis_client.llen(name) == 0  # the probe is gone


def test_calls_in_a_queue_that_is_gone(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    """They are judged by their functions: `beat` puts those that there are where they are served now."""
    functions = {"plain": PLAIN, "gone": PLAIN}
    file = project(tmp_path, functions=functions, queues={"old": {}}, defaults={"queue": "old"})
    before = deployment(file, broker_url)
    for name in ("plain", "plain", "gone"):
        submit(redis_client, before, Call(name))
    redis_client.sadd(keys.QUEUED, keys.queued("older", 5))
    project(tmp_path)
    with alive(redis_client, "beat", "b"):
        gone, moved = look(patient(tmp_path, broker_url), "queues")[:2]
    assert (gone.state, gone.found.startswith("1 calls wait in the queue old for gone")) == ("fail", True)
    assert (moved.state, moved.found.startswith("2 calls of plain wait in the queue old")) == ("warn", True)
    assert "the queue default" in moved.mend


def test_a_store_that_tells_nobody_and_a_worker_that_works(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    (tmp_path / "plain.py").write_text(WATCHING)
    tried = trial(redis_client, broker_url, store_settings, tmp_path, PLAIN, {"source": "seaweedfs"})
    who = patient(tmp_path, broker_url, store_settings)
    with tried.running():
        assert one(who, "queues").found == "default: default@test takes messages"
        until(lambda: [one.standing for one in sources(redis_client, [tried.bucket]).values()] == ["waiting"])
        assert one(who, "notifications").state == "ok"
        assert one(who, "buckets").state == "ok"
        redis_client.zadd(keys.queued("default", 5), {"stuck": (time.time() - 300) * 1000})
        late = one(who, "queues")
        assert (late.state, "the oldest for 300 s" in late.found) == ("warn", True)
    redis_client.hset(keys.source(tried.bucket), "missed", time.time())  # a listing found what nobody had told of
    with alive(redis_client, "triggers", "t"):
        found = one(who, "notifications")
    assert (found.state, "only the listing finds them" in found.found) == ("warn", True)
    assert f"tundish buckets wire {tried.bucket}" in found.mend


# Buckets


def test_a_bucket_without_a_rule(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    bucket_project(tmp_path, source="minio_webhook")
    with FakeMinio().running() as server, alive(redis_client, "beat", "b"):
        server.buckets["pictures"] = server.buckets["tundish"]
        who = patient(tmp_path, broker_url, server.settings)
        unwired, unwatched = look(who, "notifications")
        assert (unwired.state, unwired.mend) == ("fail", "tundish buckets wire pictures")
        assert (unwatched.state, "No `triggers` process" in unwatched.found) == ("fail", True)
        server.buckets["pictures"] = b"""<NotificationConfiguration><QueueConfiguration><Queue>arn:minio:sqs::t:webhook
            </Queue></QueueConfiguration></NotificationConfiguration>"""
        assert one(patient(tmp_path, broker_url, server.settings), "notifications") == unwatched


def test_triggers_that_wait_for_somebody(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    bucket_project(tmp_path)
    who = patient(tmp_path, broker_url)
    (watch,) = watches(who.settings.project)
    assert one(who, "buckets").state == "ok"
    held = {"count": 70, "known": 100, "at": time.time(), "confirmed": False}
    redis_client.set(watch.hold, json.dumps(held))
    redis_client.set(keys.lost(watch.name, "pictures"), json.dumps({"at": time.time(), "objects": 30}))
    listing = {"ended": time.time() - 3600, "took": 1.0, "objects": 5}
    redis_client.set(keys.listing(watch.name, "pictures"), json.dumps(listing))
    found = look(who, "buckets")
    assert [one.state for one in found] == ["warn"] * 3
    assert "70 of 100 objects of pictures" in found[0].found
    assert "tundish buckets confirm pictures" in found[0].mend
    assert "ledger" in found[1].found
    assert "has not listed pictures whole" in found[2].found


# The model


@pytest.mark.parametrize(
    ("checks", "state", "found"),
    [
        ({"broker": {"ready": True, "detail": ""}}, "ok", "newest version of each"),
        ({"index notes": {"ready": True, "detail": "rows.bin is gone"}}, "warn", "older version: rows.bin is gone"),
        ({"index notes": {"ready": False, "detail": "rows.bin is gone"}}, "fail", "not answered: rows.bin is gone"),
    ],
)
def test_what_a_gateway_says_of_its_indexes(tmp_path: Path, checks: dict[str, Any], state: str, found: str) -> None:
    class Gateway(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"status": "not ready", "checks": checks}).encode()
            self.send_response(503)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    project(tmp_path)
    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        who = patient(tmp_path, environ={"TUNDISH_URL": f"http://127.0.0.1:{server.server_port}"})
        verdict = one(who, "indexes")
    assert verdict.state == state
    assert found in verdict.found
    assert "No gateway" in cannot(patient(tmp_path, environ={"TUNDISH_URL": "http://127.0.0.1:9"}), "indexes")


def test_the_weights_are_the_published_ones(tmp_path: Path) -> None:
    project(tmp_path)
    assert one(patient(tmp_path), "model").state == "ok"
    (tmp_path / "model.safetensors").write_bytes(b"something else")
    found = one(patient(tmp_path, model_folder=tmp_path), "model")
    assert (found.state, "not the published ones" in found.found) == ("fail", True)
    found = one(patient(tmp_path, model_folder=tmp_path / "nowhere"), "model")
    assert (found.state, "cannot be read" in found.found) == ("fail", True)


def test_an_index_of_another_model(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    project(tmp_path)
    store = fresh_store(store_settings)
    index = FaissIndex(store, redis_client, tmp_path / "cache")
    write(index, "one", Doc("a", 1, ["alpha"]), model="an-older-model")
    index.build("default")
    settings = store_settings.model_copy(update={"bucket": store.bucket})
    good, other = look(patient(tmp_path, broker_url, settings, model_folder=_folder()), "model")
    assert (good.state, other.state) == ("ok", "fail")
    assert "an-older-model" in other.found


# This host


def test_room_on_the_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    who = patient(tmp_path)
    assert [one.state for one in look(who, "disk space")] == ["ok", "ok"]
    assert not list(tmp_path.glob(".doctor-*"))
    monkeypatch.setattr(host, "_LITTLE", 2**60)
    assert [one.state for one in look(who, "disk space")] == ["warn", "warn"]
    monkeypatch.setattr(host, "_NONE", 2**60)
    assert [one.state for one in look(who, "disk space")] == ["fail", "fail"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_a_state_folder_in_which_nothing_can_be_written(tmp_path: Path) -> None:
    project(tmp_path)
    found = look(patient(tmp_path, environ={"TUNDISH_HOME": "/proc/tundish"}), "disk space")[0]
    assert (found.state, "Nothing can be written into the state folder" in found.found) == ("fail", True)


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    project(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        number = str(other.getsockname()[1])
        found = one(patient(tmp_path, environ={"TUNDISH_PORT": number}), "port")
    assert (found.state, number in found.found) == ("fail", True)
    assert one(patient(tmp_path, environ={"TUNDISH_PORT": number}), "port").state == "ok"


def test_what_lies_about(redis_client: redis.Redis, broker_url: str, tmp_path: Path) -> None:
    bucket_project(tmp_path)
    who = patient(tmp_path, broker_url)
    assert one(who, "leftovers").state == "ok"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    box = tmp_path / "home" / "outbox" / "box"
    box.mkdir(parents=True)
    (box / "00000001.log").write_bytes(b"a call")
    (tmp_path / "home" / "run.json").write_text(json.dumps({"pid": gone.pid, "url": "http://127.0.0.1:1"}))
    redis_client.hset(
        keys.PAUSED, "function:plain", json.dumps({"since": time.time() - 3 * 86_400, "reason": "the move"})
    )
    pause.pause(redis_client, "queue", "default")  # only since now
    redis_client.zadd(keys.ended("dead"), {"letter": 1})
    redis_client.hset(keys.ledger("old-12345678", "pictures"), "key", b"")
    redis_client.hset(watches(who.settings.project)[0].ledger, "key", b"")
    found = look(patient(tmp_path, broker_url), "leftovers")
    assert [one.state for one in found] == ["warn"] * 5
    text = "\n".join(f"{one.found} {one.mend}" for one in found)
    assert f"pid {gone.pid}" in text
    assert str(box.parent) in text
    assert "has rested for 3 days (the move). tundish resume function plain" in text
    assert "1 dead letters" in text
    assert "tundish:ledger:old-12345678:pictures" in text


def test_a_system_that_was_killed_is_no_broker_that_fails(tmp_path: Path) -> None:
    project(tmp_path)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "home").mkdir()
    left = {"CELERY_BROKER_URL": "redis://127.0.0.1:9/0", "MINIO_ENDPOINT": "127.0.0.1:9"}
    left |= {"MINIO_ACCESS_KEY": "a", "MINIO_SECRET_KEY": "b"}
    (tmp_path / "home" / "run.json").write_text(json.dumps({"pid": gone.pid, "url": "", "environ": left}))
    who = patient(tmp_path)
    assert "no system runs" in cannot(who, "broker")
    assert "no system runs" in cannot(who, "store")
    assert one(who, "leftovers").state == "warn"


# The command


@pytest.mark.parametrize("name", NAMES)
def test_every_check_is_documented(name: str) -> None:
    page = (Path(__file__).parent.parent / "docs" / "doctor.md").read_text()
    assert re.search(rf"^\| `{name}` \| [\w`]", page, re.MULTILINE)


def test_few_open_files_without_a_system(tmp_path: Path) -> None:
    project(tmp_path)
    command = f'ulimit -n 200 && "{sys.executable}" -P -m runtime.cli.main doctor --json'
    environ = clean_environ(TUNDISH_FILE=str(tmp_path / "functions.yaml"), TUNDISH_PORT="0")
    done = subprocess.run(["sh", "-c", command], env=environ, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    assert (done.returncode, told["ok"]) == (1, False)
    (few,) = [one for one in told["findings"] if one["state"] == "fail"]
    assert few["name"] == "open files"
    assert "200 files" in few["found"]
    assert set(few) == {"name", "state", "found", "mend"}
    assert {one["name"] for one in told["unchecked"]} >= {"broker", "store", "queues"}
    assert {one["name"] for one in told["findings"] + told["unchecked"]} == set(NAMES)


def test_a_system_that_is_well(system: System) -> None:
    done = system.tundish("doctor", "--json")
    told = json.loads(done.stdout)
    assert not [one for one in told["findings"] if one["state"] == "fail"]
    assert (done.returncode, told["ok"], told["unchecked"]) == (0, True, [])
    assert list(dict.fromkeys(one["name"] for one in told["findings"])) == NAMES
    here = {"TUNDISH_FILE": str(system.folder / "functions.yaml"), "TUNDISH_HOME": str(system.home)}
    shown = CliRunner().invoke(cli, ["doctor"], obj=clean_environ(**here))
    assert shown.exit_code == 0, shown.stdout
    assert "ok    broker eviction: maxmemory-policy is noeviction\n" in shown.stdout
    assert " failed" in shown.stdout.splitlines()[-1]
    assert "\x1b" not in shown.stdout
