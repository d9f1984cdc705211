"""How far a parent is while its children work: told by their ends, in the record and in the stream of its output."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import finish, suspend
from runtime.attempts.lines import PROGRESS, decode
from runtime.cli.pace import pace
from runtime.context import Far
from runtime.deployment.deployment import Deployment
from runtime.invocations.admission import admit_next
from runtime.invocations.fans import Fan
from runtime.invocations.submit import Call, submit
from runtime.testing import MemoryCalls, fake_context
from tests.stepping import KEPT, begun
from tests.workers import SAMPLES, known

FILE = SAMPLES / "flow" / "functions.yaml"


def mapped(client: redis.Redis, deployed: Deployment, far: Far | None) -> tuple[Any, list[str]]:
    """A parent that waits for three children, whose ends count 10, 20 and 30."""
    attempt = begun(client, deployed, submit(client, deployed, Call("parent", {"count": 3, "path": ""})))
    fan = Fan(client, attempt.id, 0)
    fan.open("digest", 3, far)
    children = []
    for number, amount in enumerate((10, 20, 30)):
        call = Call("child", {"number": number, "path": ""}, parent=attempt.id, root=attempt.id)
        call = replace(call, fan=fan.name, fan_index=number, in_flight=3, amount=amount if far else None)
        children.append(submit(client, deployed, call))
    fan.close()
    admit_next(client, deployed, f"fan:{fan.name}")
    return attempt, children


def told(client: redis.Redis, task_id: str) -> list[dict[str, Any]]:
    found: Any = client.xrange(keys.log(task_id))
    return [line.shown() for line in map(decode, found) if line.stream == PROGRESS]


def end(client: redis.Redis, deployed: Deployment, child: str, state: str = "succeeded") -> None:
    attempt = begun(client, deployed, child)
    assert finish(client, deployed.find("child").spec, attempt, state, {"result": b"1"}, KEPT)


def test_the_ends_of_children_carry_the_progress_on(redis_client: redis.Redis, deployed: Deployment) -> None:
    parent, (first, second, third) = mapped(redis_client, deployed, Far(5, 65, "documents", ()))
    end(redis_client, deployed, first)  # while the parent still sends
    assert suspend(redis_client, parent, f"{parent.id}:0", KEPT)
    record = known(redis_client, parent.id)
    assert record.state == "waiting" and record.progress is not None
    assert {name: record.progress[name] for name in ("done", "total", "message")} == {
        "done": 15,
        "total": 65,
        "message": "documents",
    }
    end(redis_client, deployed, second, "failed")  # it needs nothing more of the time either
    end(redis_client, deployed, third)
    record = known(redis_client, parent.id)
    assert record.progress is not None and record.progress["done"] == 65
    assert record.progress["per_second"] > 0 and record.progress["seconds_left"] == 0
    reports = told(redis_client, parent.id)
    assert (reports[0]["done"], reports[-1]["done"], len(reports)) == (15, 65, 2), "not one for each of many"
    assert {report["attempt"] for report in reports} == {1}


def test_without_amounts_or_total_nothing_is_made_up(redis_client: redis.Redis, deployed: Deployment) -> None:
    parent, children = mapped(redis_client, deployed, None)
    end(redis_client, deployed, children[0])
    assert known(redis_client, parent.id).progress is None
    parent, children = mapped(redis_client, deployed, Far(0, None, "", ()))
    end(redis_client, deployed, children[2])
    progress = known(redis_client, parent.id).progress
    assert progress is not None
    assert (progress["done"], progress["total"], "seconds_left" in progress) == (30, None, False)


def test_a_map_counts_on_from_what_was_reported() -> None:
    seen: list[Any] = []

    class Calls(MemoryCalls):
        def gather(self, calls: Any, in_flight: int, **options: Any) -> list[tuple[str, Any]]:
            seen.append(options)
            return []

    context = fake_context(calls=Calls())
    context.progress(2, 9, "rows")
    list(context.map("f", [{}, {}], amounts=[3, 4]))
    list(context.map("f", [{}]))
    assert seen == [{"far": Far(2, 9, "rows", [3, 4])}, {}]


@pytest.mark.parametrize(
    ("report", "words"),
    [
        ({"done": 1}, ""),
        ({"per_second": 0.25, "seconds_left": 7200}, "0.25/s, 2.0 h left"),
        ({"per_second": 1234.5, "seconds_left": 44.4}, "1234/s, 44 s left"),
        ({"per_second": 50, "seconds_left": 600}, "50/s, 10 min left"),
        ({"per_second": 12.34}, "12.3/s"),
    ],
)
def test_the_pace_as_a_person_reads_it(report: dict[str, Any], words: str) -> None:
    assert pace(report) == words
