"""What functions say of themselves is written down and read again, whatever it is."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from runtime.attempts.failure import describe_error
from runtime.config.settings import Settings
from runtime.file import File
from runtime.invocations.invocation import decode
from runtime.testing import fake_context
from runtime.values.legible import legible
from tests.gatewaying import Hand, failing

ODD = "caf\udce9 \ude00\ud83d"
"""A file name in Latin-1, as os.listdir tells it, and the halves of a character the wrong way round."""


class Silent(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


def raised(error: Exception) -> dict[str, Any]:
    try:
        raise error
    except (ValueError, Silent) as caught:
        return describe_error(caught)


def test_an_error_that_cannot_say_what_it_is() -> None:
    told = raised(Silent())
    assert told["message"] == "its message cannot be shown (RuntimeError in its __str__)"
    assert told["summary"].startswith("Silent: its message")
    assert "in raised" in told["traceback"]


def test_an_error_that_says_a_lot() -> None:
    told = raised(ValueError("y" * 5_000_000))
    assert len(told["message"]) == len(told["traceback"]) == 20_000


def test_an_error_that_cannot_be_encoded() -> None:
    told = raised(ValueError(ODD))
    assert told["message"] == "caf\\udce9 \\ude00\\ud83d"
    json.dumps(told, ensure_ascii=False).encode()
    assert legible("Öfen 😀") == "Öfen 😀"


def test_progress_that_cannot_be_encoded() -> None:
    context, said = fake_context(), list[str]()
    context.report = lambda done, total, message: said.append(message)
    context.progress(1, 2, ODD)
    assert said == ["caf\\udce9 \\ude00\\ud83d"]


def test_records_that_have_such_texts_already_are_read() -> None:
    fields = {"state": "failed", "function": "f", "error": json.dumps({"type": "E", "message": ODD + " 😀"})}
    fields |= {"progress": json.dumps({"done": 1, "message": ODD})}
    found = decode("1", {name.encode(): value.encode() for name, value in fields.items()})
    assert found is not None and found.error is not None and found.progress is not None
    assert found.error["message"] == "caf? ?? 😀"
    assert found.progress["message"] == "caf? ??"


def test_the_list_of_calls_is_told_with_one_of_them(web: TestClient, redis_client: redis.Redis, made: Settings) -> None:
    task_id = web.post("/async-function/add", json={"a": 1}).json()["task_id"]
    Hand(redis_client, made, failing("ValueError", ODD)).end(task_id)
    assert web.get("/api/v1/tasks").status_code == 200
    assert web.get(f"/api/v1/tasks/task/{task_id}").json()["error"].startswith("ValueError: caf?")
    assert web.get(f"/api/v1/tasks/task/{task_id}/result").status_code == 500


@pytest.mark.parametrize(("soft", "most"), [(256, 16_384), (20_000, 20_000)])
def test_files_that_may_be_open(soft: int, most: int) -> None:
    code = (
        "import resource\n"
        "from runtime.host.open_files import allow_many\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, 20_000))\n"
        "allow_many()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(most), "20000"]


def test_the_name_of_a_file_goes_into_a_header() -> None:
    assert File(b"abc", name="a\ud800\r\nX: Öfen.txt").name == "a___X: Öfen.txt"
    assert File(b"abc", name="/some/where/").name == "where"
    assert File(b"abc", name="").name is None
