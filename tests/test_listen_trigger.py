"""A bucket trigger that is woken by the listen stream of a store: nothing is missed, whatever becomes of the stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.buckets import source_state
from runtime.config.settings import StoreSettings
from tests import listen_server
from tests.listen_server import Behaviour, ListenServer, live
from tests.triggering import House, kill, until
from triggers.sources import listen_stream, minder


@pytest.fixture
def build(redis_client: redis.Redis, broker_url: str, store_settings: StoreSettings, tmp_path: Path) -> Any:
    """A house whose store is `server`, in front of the real one."""

    def made(server: ListenServer, **options: Any) -> House:
        server.upstream, server.name = store_settings.endpoint, "MinIO"
        store = store_settings.model_copy(update={"endpoint": server.settings.endpoint})
        return House.build(redis_client, broker_url, store, tmp_path, **options)

    return made


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_stream, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(minder, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(minder, "LONGEST_PAUSE", 0.2)


def woken(house: House) -> bool:
    state = source_state.read(house.client, [house.bucket]).get(house.bucket)
    return state is None or state.woken


def connected(house: House, server: ListenServer) -> None:
    """Wait until somebody listens, and the listing that every connection asks for is complete."""

    def listed() -> bool:
        state = source_state.read(house.client, [house.bucket]).get(house.bucket)
        return state is not None and state.woken and bool(server.listening) and house.listed() > state.since

    until(listed)


@pytest.mark.parametrize("escape", [False, True])
def test_every_change_is_told_by_the_stream_alone(build: Any, quick: None, escape: bool) -> None:
    """Two processes, no listing for an hour: what is handed out was heard of."""
    names = ["a+b c.txt", "percent%20literal.txt", "日本語/ファイル.txt", "plain.txt", "new\nline.txt", "empty.txt"]
    with ListenServer(live(escape=escape)).running() as server:
        house = build(server)
        with house.running(2):
            connected(house, server)
            for key in names:
                house.put(key, b"" if key == "empty.txt" else b"text")
            house.finish(*names)
            house.put("plain.txt", b"other")
            house.remove("empty.txt")
            house.finish("empty.txt", state="removed")
            house.finish("plain.txt")
            assert len(server.calls) == 1
        assert sorted(key for event, key in house.changes() if event == "created") == sorted([*names, "plain.txt"])
        assert not house.client.exists(keys.EVENTS_DEAD)


def test_what_happens_while_nobody_listens_is_found_after_the_reconnect(build: Any, quick: None) -> None:
    """Events that fall into a gap are gone for good; the listing that follows every connection finds them."""
    with ListenServer(live()).running() as server:
        house = build(server)
        with house.running():
            for number in range(4):
                connected(house, server)
                open_streams = list(server.listening)
                server.listening.clear()  # from here on nobody is told anything
                house.put(f"{number}.txt")
                for call in open_streams:
                    call.events.put(("drop", ""))
                house.finish(f"{number}.txt")
        assert house.changes() == [("created", f"{number}.txt") for number in range(4)]


@pytest.mark.parametrize(
    "behaviour",
    [listen_server.never_flushes, listen_server.falls_silent, listen_server.refuses(), listen_server.breaks_off],
)
def test_without_a_working_stream_the_listing_finds_everything(
    build: Any, quick: None, monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour
) -> None:
    monkeypatch.setattr("triggers.sources.waking.RESCAN_POLLING", 0.2)
    with ListenServer(behaviour).running() as server:
        house = build(server, rescan=None)
        with house.running():
            for number in range(3):
                house.put(f"{number}.txt")
                house.finish(f"{number}.txt")
            until(lambda: not woken(house))
        assert len(house.changes()) == 3


def test_a_process_that_is_killed_while_it_listens_is_replaced(build: Any) -> None:
    """What happens before another one listens is told to nobody, and found all the same."""
    with ListenServer(live()).running() as server:
        house = build(server)
        processes = [house.process() for _ in range(2)]
        try:
            connected(house, server)
            (state,) = source_state.read(house.client, [house.bucket]).values()
            (listener,) = [one for one in processes if state.by.endswith(f":{one.pid}")]
            house.put("before.txt")
            house.finish("before.txt")
            server.listening.clear()
            kill(listener)
            house.put("between.txt")
            house.finish("between.txt")
            connected(house, server)
            house.put("after.txt")
            house.finish("after.txt")
        finally:
            for process in processes:
                kill(process)
        assert len(server.calls) == 2
        assert [key for _, key in house.changes()] == ["before.txt", "between.txt", "after.txt"]
