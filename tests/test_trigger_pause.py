"""A bucket trigger that is paused on a real store: nothing is handed out, and afterwards nothing is missing."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.buckets import holds
from runtime.buckets.watch import find
from runtime.config.settings import StoreSettings
from runtime.errors import TriggerNotFound
from runtime.invocations import pause
from tests.triggering import House, until


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Any:
    return lambda **options: House.build(redis_client, broker_url, store_settings, tmp_path, **options)


def noticed(house: House) -> None:
    """Wait until every process has read the flags anew."""
    read = time.monotonic() + 1.2
    until(lambda: time.monotonic() > read)


def arrived(house: House, *names: str) -> None:
    """Wait until the notifications about these keys have been read by somebody."""
    house.tell(*names)
    until(lambda: house.client.xinfo_groups(keys.EVENTS)[0]["lag"] == 0)


@pytest.mark.parametrize("stable", [True, False])
def test_what_comes_in_a_pause_is_handed_out_after_it(build: Any, stable: bool) -> None:
    house = build()
    name = house.watch.name if stable else f"note:{house.bucket}"
    for key in ("old.txt", "gone.txt"):
        house.put(key)
    with house.running(2):
        house.finish("old.txt", "gone.txt")
        done = len(house.changes())
        pause.pause(house.client, "trigger", name, "for a test")
        noticed(house)
        house.put("new.txt")
        house.put("old.txt", b"other")
        house.remove("gone.txt")
        house.put("silent.txt")
        arrived(house, "new.txt", "old.txt", "gone.txt")
        noticed(house)
        assert len(house.changes()) == done
        assert house.state("new.txt") == "absent"
        pause.resume(house.client, "trigger", name)
        house.finish("new.txt", "silent.txt")
        house.finish("gone.txt", state="removed")
        house.finish("old.txt")
    assert sorted(house.changes()[done:]) == [
        ("created", "new.txt"),
        ("created", "old.txt"),
        ("created", "silent.txt"),
        ("removed", "gone.txt"),
    ]
    assert not holds.read(house.client, house.project)


def test_what_was_out_ends_in_a_pause_and_hints_survive_the_process(build: Any) -> None:
    """Most of the bucket is removed, and its events come, while it is paused: that is no sudden loss."""
    house = build()
    names = [f"{number}.txt" for number in range(6)]
    for key in names:
        house.put(key)
    with house.running():
        until(lambda: len(house.changes()) == len(names))
        pause.pause(house.client, "trigger", house.watch.name)
        noticed(house)
        for record in house.calls():
            house.end(record)
        until(lambda: {house.state(key) for key in names} == {"done"})
        for key in names[1:]:
            house.remove(key)
        arrived(house, *names[1:])
    # The process has ended, the events are still in the stream; another one takes them over.
    assert house.client.xlen(keys.EVENTS) == len(names) - 1
    service = house.running()
    pause.resume(house.client, "trigger", house.watch.name)
    with service:
        house.finish(*names[1:], state="removed")
    assert not holds.read(house.client, house.project)
    assert house.state(names[0]) == "done"


def test_more_hints_than_there_is_room_for_are_found_by_the_listing(
    build: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = build()
    with house.running() as (service,):
        (watcher,) = service._watchers
        monkeypatch.setattr(watcher, "_backlog", 3)
        pause.pause(house.client, "trigger", house.watch.name)
        noticed(house)
        names = [f"{number}.txt" for number in range(9)]
        for key in names:
            house.put(key)
            house.tell(key, key)
        # Three keys wait with one notification each; the others left the stream, and block nobody.
        until(lambda: house.client.xlen(keys.EVENTS) == 3)
        assert len(watcher.inbox) == 3
        pause.resume(house.client, "trigger", house.watch.name)
        house.finish(*names)
    assert sorted(house.changes()) == [("created", key) for key in names]


def test_a_trigger_is_found_by_its_name_or_by_function_and_bucket(build: Any) -> None:
    house = build()
    for name in house.watch.names:
        assert find(house.project, name) == [house.watch]
    with pytest.raises(TriggerNotFound, match="did you mean note:"):
        find(house.project, f"note-{house.bucket}")
