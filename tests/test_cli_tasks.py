"""The commands for tasks, dead letters and what rests, against a real system."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.system import System, until


def submitted(system: System, function: str, **arguments: Any) -> str:
    return system.tundish("invoke", function, "-d", json.dumps(arguments), "--async").stdout.strip()


def state(system: System, task_id: str) -> str:
    found: str = json.loads(system.tundish("tasks", task_id, "--json").stdout)["state"]
    return found


def test_a_list_and_one_task(system: System) -> None:
    task_id = submitted(system, "greet", name="Ada Lovelace")
    until(lambda: state(system, task_id) == "succeeded", "the end of the call")
    listed = json.loads(system.tundish("tasks", "--function", "greet", "--since", "1h", "--json").stdout)["tasks"]
    assert task_id in [one["task_id"] for one in listed]
    assert task_id in system.tundish("tasks", "--state", "succeeded").stdout
    assert json.loads(system.tundish("tasks", "--function", "greet", "--limit", "1", "--json").stdout)["tasks"]
    shown = system.tundish("tasks", task_id).stdout
    assert "state: succeeded" in shown
    assert 'arguments: {"name": "Ada Lovelace"}' in shown
    assert 'result: "Hello, Ada Lovelace!"' in shown
    assert system.tundish("tasks", "nobody").returncode == 1
    assert system.tundish("tasks", task_id, "--state", "dead").returncode == 2
    done = system.tundish("tasks", "--state", "sleeping")
    assert done.returncode == 1
    assert "running" in done.stderr


def test_dead_letters(system: System) -> None:
    task_id = submitted(system, "fail", message="for the letters")
    until(lambda: state(system, task_id) == "dead", "the end of the call")
    assert "RuntimeError: for the letters" in system.tundish("tasks", task_id).stdout
    for words in (("dead",), ("dead", "list", "--error", "FOR THE LETTERS"), ("dead", "list", "--function", "fail")):
        assert task_id in system.tundish(*words).stdout
    assert task_id not in system.tundish("dead", "list", "--function", "greet").stdout
    shown = system.tundish("dead", "show", task_id).stdout
    assert 'arguments: {"message": "for the letters"}' in shown
    assert "Traceback (most recent call last)" in shown
    assert system.tundish("dead", "redrive", task_id).stdout == "1 redriven\n"
    until(lambda: task_id in system.tundish("dead").stdout, "another failure")
    again = system.tundish("retry", task_id, "--json")
    (repeated,) = json.loads(again.stdout)["tasks"]
    assert repeated["origin_id"] == task_id
    until(lambda: state(system, repeated["task_id"]) == "dead", "the end of the repetition")
    (third,) = system.tundish("retry", task_id).stdout.splitlines()
    until(lambda: state(system, third) == "dead", "the end of another repetition")

    asked = system.tundish("dead", "purge", "--error", "for the letters", stdin="n\n")
    assert asked.returncode == 1
    assert "these dead letters" in asked.stderr
    assert system.tundish("dead", "purge", "--error", "for the letters", "--yes").stdout == "3 purged\n"
    assert system.tundish("dead", "show", task_id).returncode == 1
    assert system.tundish("dead", "redrive", "nobody").returncode == 1
    assert system.tundish("dead", "purge", task_id, "--function", "fail", "--yes").returncode == 2


def test_pause_wait_cancel_and_resume(system: System) -> None:
    done = system.tundish("pause", "function", "greet", "--reason", "being tested")
    assert done.stdout == "function greet rests\n"
    try:
        assert "being tested" in system.tundish("pause").stdout
        first, second = submitted(system, "greet", name="A"), submitted(system, "greet", name="B")
        until(lambda: "accepted (paused)" in system.tundish("tasks", first).stdout, "the gate")
        assert system.tundish("cancel", first, "--reason", "no need").stdout == f"cancelled {first}\n"
        done = system.tundish("cancel", first, "nobody")
        assert done.returncode == 1
        assert "There is no task nobody" in done.stderr
        assert state(system, first) == "cancelled"
        assert "reason: no need" in system.tundish("tasks", first).stdout
        assert system.tundish("purge", "work", stdin="n\n").returncode == 1
        until(lambda: state(system, second) == "accepted", "the gate")
        assert "1 calls cancelled" in system.tundish("purge", "work", "--yes").stdout
        assert state(system, second) == "cancelled"
    finally:
        assert system.tundish("resume", "function", "greet").stdout == "function greet goes on\n"
    assert system.tundish("resume").stdout == "Nothing rests.\n"
    assert system.tundish("resume", "function", "greet").stdout == "function greet did not rest\n"
    wrong = system.tundish("pause", "queue", "werk")
    assert wrong.returncode == 1
    assert "did you mean work?" in wrong.stderr
    assert system.tundish("pause", "queue").returncode == 2


def test_purge_of_a_queue_that_is_not_there(system: System) -> None:
    done = system.tundish("purge", "nowhere", "--yes")
    assert done.returncode == 1
    assert "There is no queue nowhere" in done.stderr


@pytest.mark.parametrize("words", [("purge", "work"), ("dead", "purge"), ("buckets", "events", "--purge")])
def test_where_nobody_answers_nothing_is_purged(system: System, words: tuple[str, ...]) -> None:
    done = system.tundish(*words)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Nobody answered" in done.stderr and "--yes" in done.stderr


def test_an_object_is_removed_from_a_bucket_that_is_missing(system: System) -> None:
    done = system.tundish("rm", "nope", "--bucket", "nopebucket")
    assert (done.returncode, done.stderr) == (1, "tundish: nope: there is no bucket nopebucket\n")
    done = system.tundish("rm", "nope")
    assert (done.returncode, done.stderr) == (1, "tundish: nope: there is no such object in the bucket documents\n")
