"""Every part is restarted while clients call and objects come: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import redis

from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.invocations.invocation import read_many
from runtime.store.port import MinioStore
from tests.rolling import PROJECT, Caller, Fleet, environ_of
from tests.workers import SAMPLES, until


def test_a_rolling_restart_of_every_part_loses_nothing(
    redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path
) -> None:
    notes, file = tmp_path / "notes", tmp_path / "functions.yaml"
    file.write_text(PROJECT.format(notes=notes))
    shutil.copy(SAMPLES / "life" / "life.py", tmp_path)
    store = MinioStore(store_settings)
    store.ensure_bucket("rolling")
    fleet = Fleet(file, tmp_path / "home", environ_of(broker_url, store_settings), redis_client)
    objects: list[str] = []
    with contextlib.closing(fleet):
        for kind, queue in (("worker", "work"), ("worker", "work"), ("gateway", ""), ("gateway", ""), ("beat", "")):
            fleet.add(kind, queue)
        fleet.add("triggers")
        with contextlib.ExitStack() as stack:
            callers = [stack.enter_context(Caller(fleet, number, notes)) for number in range(3)]
            for part in fleet.parts:
                key = f"object-{len(objects)}"
                objects.append(key)
                store.put("rolling", key, key.encode())
                part.roll()
        (beat,) = [part for part in fleet.parts if part.kind == "beat"]
        beat.end()  # no tick comes between the look at the records and that at the notes
        answers = {key: answer for caller in callers for key, answer in caller.answers.items()}
        ids: Any = redis_client.zrange(keys.ALL, 0, -1)
        until(lambda: all(one and one.terminal for one in read_many(redis_client, _names(ids)).values()), 60)
        until(lambda: set(objects) <= set(notes.read_text().split()), 60)
    records = [one for one in read_many(redis_client, _names(ids)).values() if one]
    lines = Counter(notes.read_text().split())
    assert len(answers) > 20, "it was a restart under load"
    assert {status for status, _ in answers.values()} <= {200, 202}
    assert {one.state for one in records} == {"succeeded"}
    assert {(one.attempts, one.lost) for one in records} == {(1, 0)}, "no attempt was broken off"
    assert {key: lines[key] for key in answers} == dict.fromkeys(answers, 1), "each was done once"
    assert {key: lines[key] for key in objects} == dict.fromkeys(objects, 1)
    assert lines["tick"] == len([one for one in records if one.function == "tick"])


def _names(ids: Any) -> list[str]:
    return [task_id.decode() for task_id in ids]
