"""`tundish buckets`, for people and for programs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import redis
from click.testing import CliRunner, Result
from starlette.testclient import TestClient

from runtime import keys
from runtime.buckets import event_letters
from runtime.buckets.entry import Entry
from runtime.buckets.watch import Watch
from runtime.cli import client as cli_client
from runtime.cli.main import cli
from runtime.config.settings import Settings
from tests import ledgers
from tests.ledgers import fill, note


@pytest.fixture
def made(made: Settings) -> Settings:
    return ledgers.watched(made)


@pytest.fixture
def known(made: Settings) -> list[Watch]:
    return ledgers.known(made)


class Through:
    """The command line's client, answered by a gateway in this process."""

    def __init__(self, web: TestClient) -> None:
        self._web = web

    def call(self, method: str, path: str, *, fields: Any = None, **_: Any) -> cli_client.Answer:
        answer = self._web.request(method, path, params=fields)
        return cli_client.Client._checked(
            cli_client.Answer(
                type("R", (), {"status": answer.status_code, "headers": answer.headers, "data": answer.content})()
            )
        )

    def get(self, path: str, **fields: str) -> Any:
        return self.call("GET", path, fields=fields).json()


@pytest.fixture
def tundish(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(cli_client, "find", lambda _: Through(web))

    def run(*words: str, answer: str = "") -> Result:
        return CliRunner().invoke(cli, ["buckets", *words], obj={}, input=answer)

    return run


def test_the_list_for_people(tundish: Any, redis_client: redis.Redis, known: list[Watch]) -> None:
    mine = known[0]
    note(redis_client, mine, a=Entry(state="dead"), b=Entry(state="done"))
    hold = {"bucket": "documents", "trigger": mine.name, "count": 9, "known": 10, "at": 3.0, "confirmed": False}
    redis_client.set(mine.hold, json.dumps(hold))
    listing = {"ended": time.time(), "took": 0.5, "objects": 7}
    redis_client.set(keys.listing(mine.name, "documents"), json.dumps(listing))
    done = tundish()
    assert done.exit_code == 0, done.output
    assert done.stdout == tundish("list").stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith(mine.name))
    assert "7 objects in 0.5 s" in line
    assert "nobody watches" in line
    assert "tundish buckets confirm documents" in done.stdout
    assert "tundish buckets failed documents" in done.stdout
    assert done.stderr == ""
    assert json.loads(tundish("list", "--json").stdout)["triggers"][-1]["held"]["count"] == 9


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"kind": "seaweedfs", "since": "5"}, "seaweedfs, waiting"),
        ({"kind": "seaweedfs", "since": "5", "missed": "70", "detail": "changes go unannounced"}, "seaweedfs, silent"),
        ({"kind": "seaweedfs", "since": "5", "heard": "6", "missed": "99"}, "seaweedfs, silent"),
        ({"kind": "minio_listen", "since": "0", "detail": "not connected yet"}, "minio_listen, silent"),
        ({"kind": "seaweedfs", "since": "5", "heard": "6", "woken": "1"}, "seaweedfs  "),
        ({"kind": "poll", "since": "5"}, "poll  "),
    ],
)
def test_a_source_that_waits_for_its_first_notification_is_not_called_silent(
    tundish: Any, redis_client: redis.Redis, known: list[Watch], fields: dict[Any, Any], shown: str
) -> None:
    redis_client.hset(keys.source("documents"), mapping={"woken": "0", **fields})
    done = tundish()
    line = next(line for line in done.stdout.splitlines() if line.startswith(known[0].name))
    assert shown in line
    assert (f"{known[0].name}: {fields.get('detail')}" in done.stdout) == bool(fields.get("detail"))


def test_what_failed_for_people(tundish: Any, redis_client: redis.Redis, known: list[Watch]) -> None:
    assert tundish("failed").stdout == "No object has failed.\n"
    note(redis_client, known[0], **{"a.pdf": Entry(state="dead", etag="e1", reason="no text in it", at=1000.0)})
    fill(redis_client, known[1], 300, state="dead")
    done = tundish("failed", "documents", "--prefix", "a")
    assert all(part in done.stdout for part in ("a.pdf", "e1", "embed", "no text in it"))
    assert len(json.loads(tundish("failed", "--limit", "1000", "--json").stdout)["documents"]) == 301
    assert len(json.loads(tundish("failed", "--limit", "7", "--json").stdout)["documents"]) == 7
    missing = tundish("failed", "nowhere")
    assert missing.exit_code == 1
    assert "watched buckets: documents, other" in missing.stderr


def test_unusable_notifications_for_people(tundish: Any, redis_client: redis.Redis) -> None:
    assert tundish("events").stdout == "Every notification could be used.\n"
    for number in range(250):
        event_letters.keep(redis_client, "minio", f"[red]{number}".encode(), "no Records")
    done = tundish("events", "--limit", "3")
    assert all(part in done.stdout for part in ("[red]249", "no Records", "minio"))
    assert len(json.loads(tundish("events", "--limit", "240", "--json").stdout)["events"]) == 240
    assert tundish("events", "--purge", answer="n\n").exit_code == 1
    assert event_letters.read(redis_client, 1)
    assert tundish("events", "--purge", "--yes").stdout == "250 thrown away\n"
    assert tundish("events").stdout == "Every notification could be used.\n"


def test_confirming(tundish: Any, redis_client: redis.Redis, known: list[Watch]) -> None:
    assert tundish("confirm", "documents").stdout == "Nothing in documents waits for a confirmation.\n"
    hold = {"bucket": "documents", "trigger": known[0].name, "count": 9, "known": 10, "at": 3.0, "confirmed": False}
    redis_client.set(known[0].hold, json.dumps(hold))
    assert "9 of 10 objects" in tundish("confirm", "documents").stdout
    assert json.loads(redis_client.get(known[0].hold) or b"{}")["confirmed"] is True
