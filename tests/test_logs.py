"""Logs of every process: for people, or as JSON with the call that they are about."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from gateway.web.request_log import RequestLog
from runtime import keys
from runtime.attempts.lines import decode
from runtime.config.load import load_settings
from runtime.config.logs import LogsSpec
from runtime.config.settings import Settings
from runtime.deployment.deployment import Deployment
from runtime.errors import ConfigError
from runtime.invocations.submit import Call, submit
from runtime.processes.console import Console
from runtime.security.redact import MASK, Redactor
from runtime.telemetry import log_fields, log_format, logs
from runtime.telemetry.log_stream import JsonStream
from tests import gatewaying
from tests.workers import SAMPLES, ended, environment, kill, until

FILE = SAMPLES / "telling" / "functions.yaml"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
SECRET = "hush-7f3a9c"
PASSWORD = "sesame-open"


@pytest.fixture
def root() -> Iterator[None]:
    """Gives the root logger and the streams back as they were."""
    kept, level = logging.getLogger().handlers[:], logging.getLogger().level
    streams = sys.stdout, sys.stderr
    yield
    logging.getLogger().handlers[:] = kept
    logging.getLogger().setLevel(level)
    sys.stdout, sys.stderr = streams


def record(message: str, *args: object, **more: Any) -> logging.LogRecord:
    made = logging.makeLogRecord({"msg": message, "args": args, "levelname": "INFO", "name": "tundish.x", **more})
    made.created = 1_600_000_000.25
    return made


def told(form: str, made: logging.LogRecord, **fields: str) -> Any:
    with log_fields.about(fields):
        text = log_format.formatter(form, "worker work", Redactor([SECRET])).format(made)
    return json.loads(text) if form == "json" else text


def test_a_line_of_json_says_what_it_is_about() -> None:
    found = told("json", record("done %s", 1), task_id="1", function="f", tenant="acme", traceparent=TRACE)
    assert found == {
        "time": "2020-09-13T12:26:40.250Z",
        "level": "INFO",
        "logger": "tundish.x",
        "message": "done 1",
        "process": "worker work",
        "pid": os.getpid(),
        "task_id": "1",
        "function": "f",
        "tenant": "acme",
        "trace_id": TRACE[3:35],
        "span_id": TRACE[36:52],
    }


def test_extras_are_members_and_secrets_among_them_are_not() -> None:
    found = told("json", record("x", order=7, api_key="k", about={"password": "p", "of": [SECRET]}, time="noon"))
    assert (found["time"][:4], found["time_"]) == ("2020", "noon")
    assert (found["order"], found["api_key"], found["about"]) == (7, MASK, {"password": MASK, "of": [MASK]})


def test_a_line_of_celery_names_its_call_and_not_its_arguments() -> None:
    made = record("Task", data={"id": "1", "name": "f", "args": "(1, 2)"}, name="celery.app.trace")
    found = told("json", made)
    assert (found["task_id"], found["function"]) == ("1", "f")
    assert "data" not in found and "(1, 2)" not in json.dumps(found)


def test_a_line_that_begins_with_a_call_is_about_it() -> None:
    found = told("json", record("%s[%s] put back: its worker %s is gone", "f", "17", "work@a"))
    assert (found["function"], found["task_id"]) == ("f", "17")
    assert "task_id" not in told("json", record("%s: %s as %s", "a", "b", "c"))


def test_a_line_for_people_names_the_call_where_it_does_not_itself() -> None:
    assert told("text", record("done"))[9:] == "INFO    tundish.x done"
    assert told("text", record("done"), task_id="17", tenant="default").endswith("x done task_id=17")
    assert told("text", record("done"), task_id="17", tenant="acme").endswith("x done task_id=17 tenant=acme")
    assert told("text", record("f[17] done"), task_id="17").endswith("x f[17] done")


def test_what_is_said_of_a_block_ends_with_it() -> None:
    with log_fields.about({"task_id": "1", "tenant": None}), log_fields.about({"function": "f"}):
        assert dict(log_fields.current()) == {"task_id": "1", "function": "f"}
    assert not log_fields.current() and log_fields.traceparent() == {}


def test_printed_lines_become_json(root: None) -> None:
    below = io.StringIO()
    stream = JsonStream(below, log_format.wrapper("stdout", "test", Redactor([SECRET])))
    with log_fields.about({"task_id": "9"}):
        print("a\nb", SECRET, file=stream)
    print("begun ", end="", file=stream)
    thread = threading.Thread(target=lambda: print("other", file=stream))
    thread.start()
    thread.join()
    print("ended", file=stream)
    found = [json.loads(line) for line in below.getvalue().splitlines()]
    assert [one["message"] for one in found] == ["a", f"b {MASK}", "other", "begun ended"]
    assert [one.get("task_id") for one in found] == ["9", "9", None, None]


def test_setting_up_twice_wraps_once(root: None, capfd: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        logs.setup("x", form="json", process="test")
    print("once")
    logging.getLogger("y").warning("logged")
    logs.setup("x")
    print("plain")
    out, err = capfd.readouterr()
    first, second = out.splitlines()
    assert json.loads(first)["message"] == "once" and second == "plain"
    assert json.loads(err)["message"] == "logged"


@pytest.mark.parametrize("level", ["debug", "20", 30])
def test_levels_by_name_and_as_celery_leaves_them(root: None, level: str | int) -> None:
    logs.setup("x", level)
    assert logging.getLogger().level == {"debug": 10, "20": 20, 30: 30}[level]


def test_the_log_of_a_supervisor_is_json_throughout() -> None:
    stream = io.StringIO()
    console = Console(stream, {"SOME_TOKEN": SECRET})
    console.line("gateway", f"starts with {SECRET}")
    console.json = True
    own = log_format.line(1.0, "INFO", "x", "from a child", {"process": "gateway"})
    console.line("gateway", own)
    console.line("gateway", f"a traceback with redis://:{PASSWORD}@host")
    console.say("two\nlines")
    plain, *rest = stream.getvalue().splitlines()
    assert plain == f"gateway            | starts with {MASK}"
    assert rest[0] == own
    assert [json.loads(line)["message"] for line in rest[1:]] == [
        f"a traceback with redis://:{MASK}@host",
        "two",
        "lines",
    ]


def test_the_environment_wins_and_nonsense_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nfunctions: {}\nlogs: {format: json, level: debug, access: false}\n")
    found = load_settings({}, file=file)
    assert (found.logs.format, found.log_level, found.logs.tells_requests) == ("json", "DEBUG", False)
    found = load_settings({"TUNDISH_LOG_FORMAT": "TEXT", "CELERY_LOG_LEVEL": "error"}, file=file)
    assert (found.logs.format, found.log_level) == ("text", "ERROR")
    with pytest.raises(ConfigError) as caught:
        load_settings({"TUNDISH_LOG_FORMAT": "xml"}, file=file)
    assert "'xml' is not one of text, json" in str(caught.value.problems[0])
    assert [LogsSpec(format="json").tells_requests, LogsSpec().tells_requests] == [True, False]


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_logs_as_json_and_never_a_secret(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path, pool: str, deployed: Deployment
) -> None:
    """Everything that Python says there is JSON, and what a function says names its call."""
    file = tmp_path / "worker.log"
    environ = environment(broker_url, {"TUNDISH_LOG_FORMAT": "json", "CELERY_WORKER_POOL": pool})
    command = [sys.executable, "-P", "-m", "runtime.worker", "-Q", "work", "-n", "work@logs", "-f", str(FILE)]
    with file.open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True)
    try:
        call = Call("talk", {"word": "mélange"}, tenant="acme", trace=TRACE)
        task_id = submit(redis_client, deployed, call)
        assert ended(redis_client, task_id).state == "succeeded"
        until(lambda: f"talk[{task_id}] succeeded" in file.read_text())
    finally:
        kill(process)
    text = file.read_text()
    assert SECRET not in text and PASSWORD not in text
    assert "straight to the descriptor\n" in text  # the one thing that Python does not see
    found = [json.loads(line) for line in text.splitlines() if line != "straight to the descriptor"]
    mine = {one["message"]: one for one in found if one.get("task_id") == task_id}
    said = ["printed mélange", "to stderr mélange", "logged mélange", f"by {MASK}", "in Celery's way mélange"]
    for message in [*said, "from a thread mélange", "caught"]:
        one = mine[message]
        assert (one["function"], one["tenant"], one["trace_id"]) == ("talk", "acme", TRACE[3:35]), message
        assert one["process"] == "worker work"
    assert (mine["logged mélange"]["order"], mine["logged mélange"]["smtp_password"]) == (7, MASK)
    assert f"redis://user:{MASK}@host" in mine["caught"]["error"]
    assert {one["logger"] for one in mine.values()} >= {"stdout", "stderr", "theirs", "tundish.function.talk"}
    assert all(set(one) >= {"time", "level", "logger", "message"} for one in found)
    kept: Any = redis_client.xrange(keys.log(task_id))
    texts = [decode(entry).text.decode() for entry in kept]
    assert f"by {MASK}" in texts
    assert not [line for line in texts if SECRET in line or PASSWORD in line]


@pytest.fixture
def told_requests(made: Settings, root: None) -> Iterator[tuple[TestClient, io.StringIO]]:
    """A gateway that logs as JSON, and what it logs."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(log_format.formatter("json", "gateway", Redactor()))
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger().setLevel("INFO")
    with gatewaying.serving(made.model_copy(update={"logs": LogsSpec(format="json")})) as web:
        yield web, stream


def requests(stream: io.StringIO) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in stream.getvalue().splitlines()]
    return [one for one in found if one["logger"] == "tundish.access"]


def test_the_gateway_has_a_line_for_every_request(told_requests: tuple[TestClient, io.StringIO]) -> None:
    web, stream = told_requests
    headers = {"traceparent": TRACE, "Authorization": f"Bearer {SECRET}"}
    answer = web.post(f"/async-function/add?token={SECRET}", json={"a": 1}, headers=headers)
    web.get("/functions/nope%0Aforged")
    web.get("/functions", headers={"Origin": "http://evil.example"})
    call, wrong, refused = requests(stream)
    assert call["task_id"] == answer.json()["task_id"]
    assert (call["method"], call["path"], call["route"]) == ("POST", "/async-function/add", "/async-function/{name}")
    assert (call["status"], call["trace_id"], call["bytes"]) == (202, TRACE[3:35], len(answer.content))
    assert 0 < call["seconds"] < 60
    assert (wrong["status"], wrong["path"]) == (404, "/functions/nope%0Aforged")
    assert (refused["status"], refused["route"]) == (403, "")
    assert SECRET not in stream.getvalue()


def test_without_json_there_is_no_access_log_unless_it_is_asked_for(made: Settings) -> None:
    from gateway.app import create_app

    deployed = gatewaying.deployment(made)
    asked = made.model_copy(update={"logs": LogsSpec(access=True)})
    names = [[str(one.cls) for one in create_app(found, deployed).user_middleware] for found in (made, asked)]
    assert [str(RequestLog) in found for found in names] == [False, True]
