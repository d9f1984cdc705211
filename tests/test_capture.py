"""What functions print, log and report, captured on real workers of every kind of pool."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from runtime import keys
from runtime.attempts.capture import Capture
from runtime.attempts.lines import ALL_CAP, BYTES_LIMIT, ENTRIES_CAP, LINE_LIMIT, LINES_LIMIT, PROGRESS, Line, decode
from runtime.attempts.output import Output
from runtime.broker.connection import connect
from runtime.deployment.deployment import Deployment
from runtime.invocations.invocation import read
from runtime.invocations.submit import Call, submit
from runtime.testing import MemoryProgress, fake_context
from tests.workers import SAMPLES, ended, until, upkeep, worker

FILE = SAMPLES / "output" / "functions.yaml"


@pytest.fixture
def capture(redis_client: redis.Redis) -> Iterator[Capture]:
    made = Capture(redis_client, 60)
    yield made
    made.close()


def lines(client: redis.Redis, task_id: str) -> list[Line]:
    found: Any = client.xrange(keys.log(task_id))
    return [decode(entry) for entry in found]


def texts(found: list[Line], *streams: str) -> list[str]:
    return [line.text.decode() for line in found if line.stream in streams]


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo", "gevent"])
def test_everything_that_a_function_says_is_kept(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, pool: str
) -> None:
    with worker(FILE, broker_url, pool):
        task_id = submit(redis_client, deployed, Call(f"say_{pool}", {"word": "mélange"}))
        assert ended(redis_client, task_id).state == "succeeded"
    found = lines(redis_client, task_id)
    assert texts(found, "stdout") == [
        "printed mélange",
        "from a thread mélange",
        "from a pool mélange",
        "done mélange",
    ]
    assert texts(found, "stderr") == ["bad mélange"]
    logged = [(line.level, line.text.decode()) for line in found if line.stream == "log"]
    assert logged[:3] == [("WARNING", "logged mélange"), ("INFO", "by the way, mélange"), ("ERROR", "caught")]
    assert logged[3][1].startswith("Traceback")
    assert logged[-1] == ("ERROR", "ValueError: mélange")
    assert {line.attempt for line in found} == {1}
    assert 0 < redis_client.ttl(keys.log(task_id)) <= redis_client.ttl(keys.invocation(task_id))
    everything: Any = redis_client.xrange(keys.LOGS)
    assert [decode(entry).text for entry in everything] == [line.text for line in found]
    assert {(line.task_id, line.function) for line in map(decode, everything)} == {(task_id, f"say_{pool}")}


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_two_at_once_do_not_mix(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, pool: str, tmp_path: Path
) -> None:
    with worker(FILE, broker_url, pool):
        calls = [Call(f"chat_{pool}", {"word": word, "meet": str(tmp_path)}) for word in ("tick", "tock")]
        ids = [submit(redis_client, deployed, call) for call in calls]
        for task_id in ids:
            assert ended(redis_client, task_id).state == "succeeded"
    for task_id, word in zip(ids, ("tick", "tock"), strict=True):
        assert texts(lines(redis_client, task_id), "stdout") == [f"{word} {number}" for number in range(50)]


@pytest.mark.parametrize("size", [(100_000, 100), (2, 5_000_000)], ids=["many lines", "long lines"])
def test_a_flood_is_cut_and_says_so(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, size: tuple[int, int]
) -> None:
    count, width = size
    with worker(FILE, broker_url, "prefork"):
        task_id = submit(redis_client, deployed, Call("flood", {"lines": count, "width": width}))
        assert ended(redis_client, task_id).state == "succeeded"
    *found, told = lines(redis_client, task_id)
    assert len(found) == (2 if count == 2 else LINES_LIMIT)
    assert max(len(line.text) for line in found) <= LINE_LIMIT + len("…".encode())
    assert sum(len(line.text) for line in found) <= BYTES_LIMIT
    assert (told.stream, told.level) == ("log", "WARNING")
    dropped_lines, dropped_bytes, *_ = (int(word) for word in told.text.split() if word.isdigit())
    assert dropped_lines == count - len(found)
    kept = sum(min(len(line.text), LINE_LIMIT) for line in found)
    assert kept + dropped_bytes + (count - dropped_lines) == count * (width + 1)


def test_what_a_killed_child_had_said_is_kept(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment, tmp_path: Path
) -> None:
    with worker(FILE, broker_url, "prefork"), upkeep(redis_client, deployed):
        task_id = submit(redis_client, deployed, Call("hold", {"flag": str(tmp_path / "flag")}))
        first = until(lambda: texts(lines(redis_client, task_id), "stdout"))
        os.kill(int(first[0].split()[1]), signal.SIGKILL)
        assert ended(redis_client, task_id).state == "succeeded"
    found = lines(redis_client, task_id)
    assert [text.split()[0] for text in texts(found, "stdout")] == ["first", "second"]
    assert [line.attempt for line in found] == [1, 2]


def test_every_attempt_is_kept(redis_client: redis.Redis, broker_url: str, deployed: Deployment) -> None:
    with worker(FILE, broker_url, "prefork"), upkeep(redis_client, deployed):
        task_id = submit(redis_client, deployed, Call("twice"))
        assert ended(redis_client, task_id).state == "succeeded"
    found = lines(redis_client, task_id)
    assert [(line.attempt, line.text) for line in found] == [(1, b"attempt 1"), (2, b"attempt 2")]


def test_progress_is_thinned_out_and_the_last_one_is_written(
    redis_client: redis.Redis, broker_url: str, deployed: Deployment
) -> None:
    with worker(FILE, broker_url, "prefork"):
        task_id = submit(redis_client, deployed, Call("count", {"to": 500, "seconds": 0.004}))
        record = ended(redis_client, task_id)
    assert record.progress is not None
    at = record.progress.pop("at")
    assert record.progress == {"done": 500, "total": 500, "message": "number 500"}
    assert record.started is not None and record.ended is not None
    assert record.started <= at <= record.ended
    reports = [json.loads(text) for text in texts(lines(redis_client, task_id), PROGRESS)]
    assert 1 < len(reports) <= 10 * (record.ended - record.started) + 1
    assert [report["done"] for report in reports] == sorted(report["done"] for report in reports)
    assert reports[-1]["done"] == 500
    assert not redis_client.exists(keys.LOGS), "progress is no output"


def test_progress_of_an_attempt_that_is_over_is_not_written(redis_client: redis.Redis, deployed: Deployment) -> None:
    task_id = submit(redis_client, deployed, Call("count", {"to": 1}))
    with Capture(redis_client, 60).attempt(task_id, "count", 1) as output:
        output.progress(1, None, "")
    with Capture(redis_client, 60).attempt("forgotten", "count", 1) as output:
        output.progress(1, None, "")
    record = read(redis_client, task_id)
    assert record is not None and record.progress is None
    assert not redis_client.exists(keys.invocation("forgotten"))


def test_streams_are_capped(redis_client: redis.Redis, capture: Capture) -> None:
    for number in range(12):
        with capture.attempt("one", "f", number):
            for _ in range(LINES_LIMIT):
                print(".")
    assert redis_client.xlen(keys.LOGS) < 1.1 * ALL_CAP
    assert redis_client.xlen(keys.log("one")) < 1.1 * ENTRIES_CAP
    assert 0 < redis_client.ttl(keys.log("one")) <= 60


def test_a_broker_that_is_away_loses_output_and_nothing_else(
    redis_client: redis.Redis, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    capture = Capture(connect("redis://127.0.0.1:9/0"), 60)
    try:
        with capture.attempt("one", "f", 1) as output:
            print("still printed")
            assert not capture.flush()
            print("and again")
            output.progress(1, 2, "")
    finally:
        capture.close()
    assert capsys.readouterr().out == "still printed\nand again\n"
    assert "f[one] 2 lines of output could not be kept" in caplog.text


def test_what_could_not_be_written_is_written_when_the_broker_is_back(
    redis_client: redis.Redis, capture: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with capture.attempt("one", "f", 1) as output:
        print("first")
        with monkeypatch.context() as patch:
            patch.setattr(redis_client, "pipeline", lambda **_: raise_(redis.ConnectionError("away")))
            assert not capture.flush()
        print("second")
        output.progress(1, 2, "")
    assert texts(lines(redis_client, "one"), "stdout") == ["first", "second"]


def test_who_forks_or_goes_on_afterwards_is_not_heard(redis_client: redis.Redis, capture: Capture) -> None:
    go = threading.Event()

    def late() -> None:
        go.wait()
        print("too late")

    with capture.attempt("one", "f", 1):
        thread = threading.Thread(target=late)
        thread.start()
        if not (child := os.fork()):
            print("from a child")
            os._exit(0)
        os.waitpid(child, 0)
        print("from here")
    with capture.attempt("two", "f", 1):
        go.set()
        thread.join()
    assert texts(lines(redis_client, "one"), "stdout") == ["from here"]
    assert not lines(redis_client, "two")


def test_stdout_logging_and_threads_are_given_back(redis_client: redis.Redis) -> None:
    before = sys.stdout, sys.stderr, threading.Thread.start, list(logging.getLogger().handlers)
    capture = Capture(redis_client, 60)
    with capture.attempt("one", "f", 1):
        assert sys.stdout is not before[0]
        assert sys.stdout.encoding == before[0].encoding
    capture.close()
    assert (sys.stdout, sys.stderr, threading.Thread.start, list(logging.getLogger().handlers)) == before


@given(st.lists(st.text(st.sampled_from("ab\n\r\ud800é"), max_size=6), max_size=12))
def test_pieces_make_the_same_lines_as_the_whole(pieces: list[str]) -> None:
    def kept(*parts: str) -> list[bytes]:
        output = Output("id", "f", 1, lambda: None)
        for part in parts:
            output.write("stdout", part)
        output.end()
        return [line.text for line in output.take()[0]]

    assert kept(*pieces) == kept("".join(pieces))


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "1", True, None])
def test_bad_progress_is_refused(bad: Any) -> None:
    context = fake_context()
    with pytest.raises((TypeError, ValueError), match="progress: done must be"):
        context.progress(bad)
    if bad is not None:
        with pytest.raises((TypeError, ValueError), match="progress: total must be"):
            context.progress(1, bad)
    with pytest.raises(TypeError, match="message"):
        context.progress(1, 2, 3)  # type: ignore[arg-type]


def test_a_test_sees_what_is_reported() -> None:
    progress = MemoryProgress()
    context = fake_context(report=progress)
    one: Any = np.int64(1)
    more: Any = np.float32(2.5)
    context.progress(one, more, "x" * 1000)
    context.progress(3)
    assert progress.seen == [(1, 2.5, "x" * 500), (3, None, "")]
    assert [type(value) for value in progress.seen[0][:2]] == [int, float]


def raise_(error: Exception) -> Any:
    raise error
