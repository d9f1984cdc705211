"""A short storm of kills over a whole system (`make chaos` is the long one), and a judge that can say no."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import pytest

from tests.chaos.evidence import Evidence
from tests.chaos.journal import Line
from tests.chaos.processes import KINDS
from tests.chaos.promises import broken
from tests.chaos.storm import storm
from tests.chaos.table import table


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return storm(tmp_path_factory.mktemp("chaos"), 300, seed=7)


def test_what_is_accepted_ends_whatever_is_killed(found: Evidence) -> None:
    failures = broken(found)
    assert not failures, "\n".join([*map(str, failures[:50]), table(found, len(failures))])
    assert {kill.kind for kill in found.kills} == set(KINDS)
    assert len(found.records) > 300
    assert {line.function for line in found.lines} >= {"work", "flaky", "gathered", "fan", "leaf", "tick", "take"}


def one(found: Evidence, function: str) -> str:
    """An invocation that succeeded, and that somebody was told of."""
    answered = {answer.id for answer in found.answers}
    return next(
        record.id
        for record in found.records.values()
        if record.function == function and record.state == "succeeded" and (record.id in answered or function == "tick")
    )


def lose(found: Evidence) -> None:
    del found.records[one(found, "work")]


def hang(found: Evidence) -> None:
    task_id = one(found, "work")
    found.records[task_id] = replace(found.records[task_id], state="running")


def fail(found: Evidence) -> None:
    task_id = one(found, "slow")
    found.records[task_id] = replace(found.records[task_id], state="dead")


def idle(found: Evidence) -> None:
    task_id = one(found, "work")
    found.lines = [line for line in found.lines if line.id != task_id]


def repeat(found: Evidence) -> None:
    task_id = one(found, "work")
    found.lines += [Line("done", "work", task_id, attempt, 1, 0.0) for attempt in range(90, 100)]


def overlap(found: Evidence) -> None:
    found.lines += [Line("begin", "work", one(found, "work"), 1, 1, 0.0)]


def twin(found: Evidence) -> None:
    task_id = next(answer.id for answer in found.answers if answer.wish.key and answer.id)
    found.records["twin"] = replace(found.records[task_id], id="twin")


def unchain(found: Evidence) -> None:
    found.lines = [line for line in found.lines if line.function != "gathered"]


def orphan(found: Evidence) -> None:
    parent = one(found, "fan")
    found.records = {each.id: each for each in found.records.values() if each.parent != parent}


def double(found: Evidence) -> None:
    found.records["tick"] = replace(found.records[one(found, "tick")], id="tick")


def forget(found: Evidence) -> None:
    found.objects = {**found.objects, "lost.txt": "pending"}


def leave(found: Evidence) -> None:
    found.left = {**found.left, "tundish:due": 1}


@pytest.mark.parametrize(
    ("tamper", "promise"),
    [
        (lose, "accepted = recorded"),
        (hang, "accepted = terminal"),
        (fail, "the right end"),
        (idle, "success = work done"),
        (repeat, "work is repeated only after a loss"),
        (overlap, "an attempt runs once"),
        (twin, "one key, one invocation"),
        (unchain, "a chain follows once"),
        (orphan, "children are run"),
        (double, "one tick, one invocation"),
        (forget, "every object is processed"),
        (leave, "nothing is left waiting"),
    ],
)
def test_a_broken_promise_is_seen(found: Evidence, tamper: Callable[[Evidence], None], promise: str) -> None:
    worse = copy(found)
    worse.records, worse.lines = dict(found.records), list(found.lines)
    tamper(worse)
    assert promise in {each.promise for each in broken(worse)}
