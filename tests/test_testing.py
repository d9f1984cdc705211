"""`runtime.testing`: a function is called in a test as a worker calls it."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import pytest

from runtime.context import Context, ObjectEvent
from runtime.errors import BadInput, InvalidArguments, ObjectMissing
from runtime.harness.system import NoSystem
from runtime.testing import MemoryStore, call, fake_context, real_context, removed, s3_event, uploaded
from tests.system import clean_environ, until


@dataclass(frozen=True)
class Order:
    amount: int
    day: date | None = None


def total(orders: list[Order], factor: int = 1) -> int:
    return factor * sum(order.amount for order in orders)


def who(*, context: Context) -> str:
    return f"{context.function} {context.tenant}"


def test_arguments_become_what_the_type_hints_say() -> None:
    assert call(total, orders=[{"amount": "2", "day": "2026-02-03"}, Order(3)], factor=2) == 10


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ({}, "orders: is required"),
        ({"orders": [{"amount": "many"}]}, r"orders\[0\].amount: must be a valid integer"),
        ({"orders": [], "faktor": 2}, "faktor: there is no such parameter"),
    ],
)
def test_arguments_that_production_would_refuse_are_refused(arguments: dict[str, Any], found: str) -> None:
    with pytest.raises(InvalidArguments, match=found):
        call(total, **arguments)


def test_the_context_is_a_fake_one_unless_one_is_given() -> None:
    assert call(who) == "who default"
    assert call(who, context=fake_context("other", tenant="acme")) == "other acme"


def test_nothing_is_repeated() -> None:
    attempts: list[int] = []

    def fails() -> None:
        attempts.append(1)
        raise BadInput("no")

    with pytest.raises(BadInput, match="no"):
        call(fails)
    assert attempts == [1]


async def later(seconds: float = 0) -> str:
    await asyncio.sleep(seconds)
    return "done"


def count(to: int) -> Iterator[int]:
    yield from range(to)


async def count_later(to: int) -> AsyncIterator[int]:
    for number in range(to):
        await asyncio.sleep(0)
        yield number


def test_coroutines_are_awaited_and_generators_gathered() -> None:
    assert call(later) == "done"
    assert call(count, to=3) == [0, 1, 2]
    assert call(count_later, to=3) == [0, 1, 2]


def test_an_async_test_may_call_an_async_function() -> None:
    async def test() -> Any:
        return call(later)

    assert asyncio.run(test()) == "done"


def test_a_result_that_nobody_could_be_sent_is_an_error() -> None:
    with pytest.raises(TypeError, match="JSON cannot hold"):
        call(lambda: threading.Lock())  # noqa: PLW0108 (a class has no signature here)


def test_a_file_that_is_returned_is_not_read() -> None:
    assert call(lambda: io.BytesIO(b"content")).read() == b"content"


def names(objects: list[ObjectEvent], *, context: Context) -> dict[str, int]:
    return {one.key: len(context.store.get(one.bucket, one.key).data) for one in objects if one.event == "created"}


def sizes(event: dict[str, Any], context: Context) -> dict[str, Any]:
    """As it is written for Lambda."""
    found = [record["s3"]["object"] for record in event["Records"]]
    return {unquote_plus(one["key"]): one.get("size") for one in found}


def test_bucket_functions_are_told_as_their_trigger_tells_them() -> None:
    context = fake_context(store=MemoryStore())
    one = uploaded(context.store, "inbox", "a b+c.txt", b"12345")
    two = removed(context.store, "inbox", "gone.txt")
    assert one.etag == context.store.head("inbox", "a b+c.txt").etag
    assert (one.size, two.size, two.etag) == (5, None, None)
    assert (one.seq or 0) < (two.seq or 0)
    assert call(names, objects=[one, two], context=context) == {"a b+c.txt": 5}
    assert call(sizes, event=s3_event(one, two), context=context) == {"a b+c.txt": 5, "gone.txt": None}


def lambda_handler(event, context):  # type: ignore[no-untyped-def]
    names = [record["s3"]["object"]["key"] for record in event.get("Records", [])]
    return {"statusCode": 201, "body": f"{context.aws_request_id} {names}"}


def test_a_handler_of_lambda_is_called_in_its_own_way() -> None:
    context = fake_context()
    answer = call(lambda_handler, **s3_event(uploaded(context.store, "inbox", "a.txt")), context=context)
    assert (answer.status, answer.read()) == (201, b"test ['a.txt']")


def test_what_setup_made_is_given_as_the_state() -> None:
    def looks(*, context: Context) -> str:
        return str(context.state["name"])

    assert call(looks, context=fake_context(state={"name": "model"})) == "model"


def test_what_is_removed_is_gone() -> None:
    store = MemoryStore()
    uploaded(store, "inbox", "a.txt", b"1")
    removed(store, "inbox", "a.txt")
    with pytest.raises(ObjectMissing):
        store.get("inbox", "a.txt")


def test_without_a_system_a_real_context_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(NoSystem, match="tundish up"):
        real_context(home=tmp_path).store.head("inbox", "a.txt")


def test_a_broken_project_shows_its_log(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("def test_it(tundish_system): pass\n")
    (tmp_path / "functions.yaml").write_text("version: 2\n")
    words = ["-p", "runtime.pytest_plugin", "-p", "no:cacheprovider"]
    environ = clean_environ(PYTEST_DISABLE_PLUGIN_AUTOLOAD="1", CELERY_BROKER_URL="redis://127.0.0.1:1/0")
    command = [sys.executable, "-P", "-m", "pytest", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
    assert "`tundish up` ended with 1" in done.stdout
    assert "functions.yaml:1: version" in done.stdout


def test_a_system_does_not_outlive_a_test_that_is_killed(tmp_path: Path) -> None:
    """It is killed as soon as anything was started."""
    (tmp_path / "functions.yaml").write_text("version: 1\nfunctions: {}\n")
    code = f"""
import os, time
from pathlib import Path
from runtime.testing import running_system
with running_system({str(tmp_path / "functions.yaml")!r}, Path({str(tmp_path / "home")!r}), os.environ): time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-P", "-c", code], env=clean_environ(), cwd=tmp_path)
    try:
        until(lambda: len(_processes(str(tmp_path / "home"))) > 3, "the start of its broker and its store")
    finally:
        process.kill()
        process.wait()
    until(lambda: not _processes(str(tmp_path / "home")), "the end of its processes")


def _processes(word: str) -> list[str]:
    listed = subprocess.run(["ps", "-eww", "-o", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [line for line in listed.splitlines() if word in line]
