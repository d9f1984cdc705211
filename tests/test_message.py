"""Our message beside the one that kombu writes for the same call."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgpack
import pytest
import redis

from runtime import keys
from runtime.config.settings import Function, Project, Queue, Settings
from runtime.invocations.message import HEADER, build, queued_at
from runtime.worker.app import create_app

ARGUMENTS = {"text": "größer", "number": 3, "list": [1, None, 2.5], "raw": b"\x00\xff"}


def kombu_message(client: redis.Redis, broker_url: str, tmp_path: Any) -> dict[str, Any]:
    project = Project(queues={"q": Queue()}, functions={"f": Function(name="f", handler="x:y", queue="q")})
    settings = Settings(
        project=project, file=tmp_path / "f.yaml", home=tmp_path, broker_url=broker_url, result_backend=broker_url
    )
    app = create_app(settings)
    app.send_task("f", kwargs=ARGUMENTS, task_id="id", priority=2, time_limit=9, soft_time_limit=8, ignore_result=True)
    raw = client.rpop(keys.queue_list("q", 2))
    assert isinstance(raw, bytes)
    found: dict[str, Any] = json.loads(raw)
    return found


def test_field_by_field(redis_client: redis.Redis, broker_url: str, tmp_path: Any) -> None:
    theirs = kombu_message(redis_client, broker_url, tmp_path)
    ours = json.loads(build("id", "f", ARGUMENTS, queue="q", priority=7, queued_ms=5, root="id", limits=(9, 8)))
    assert set(ours) == set(theirs)
    for name in ("content-type", "content-encoding"):
        assert ours[name] == theirs[name]
    assert msgpack.unpackb(base64.b64decode(ours["body"]), raw=False) == msgpack.unpackb(
        base64.b64decode(theirs["body"]), raw=False
    )
    assert set(ours["headers"]) - set(theirs["headers"]) == {HEADER}
    assert set(theirs["headers"]) - set(ours["headers"]) == set()
    for name, value in theirs["headers"].items():
        if name not in ("origin", "kwargsrepr"):
            assert ours["headers"][name] == value, name
    assert set(ours["properties"]) == set(theirs["properties"])
    for name, value in theirs["properties"].items():
        if name not in ("delivery_tag", "reply_to"):
            assert ours["properties"][name] == value, name


def test_when_a_message_was_queued() -> None:
    assert queued_at(build("id", "f", {}, queue="q", priority=5, queued_ms=77, root="id")) == 77
    assert queued_at(b"{}") is None
    assert queued_at(b"\xff") is None


@pytest.mark.parametrize("parent", [None, 'par"ent\\ \x07 ö 😀 \ud800'])
@pytest.mark.parametrize("odd", ["plain", 'quo"te', "back\\slash", "new\nline", "ü 😀", "\ud800", "{curly}"])
def test_whatever_is_in_it_it_is_as_json_dumps_writes_it(odd: str, parent: str | None) -> None:
    limits = (30.0, None)
    raw = build(odd, odd, {odd.encode("ascii", "replace").decode(): [1, True]}, queue=odd, priority=0, queued_ms=1,
                root=f"root {odd}", parent=parent, limits=limits, keep_result=True)  # fmt: skip
    told = json.loads(raw)
    assert json.dumps(told).encode() == raw
    headers, properties = told["headers"], told["properties"]
    assert (headers["task"], headers["id"], headers["root_id"], headers["parent_id"]) == (
        odd,
        odd,
        f"root {odd}",
        parent,
    )
    assert (headers["timelimit"], headers["ignore_result"]) == ([30.0, None], False)
    assert (properties["delivery_info"]["routing_key"], properties["delivery_tag"]) == (odd, f"{odd}:1")
