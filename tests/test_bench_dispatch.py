"""The benchmark of the hot path runs: a real gateway and worker, plain Celery beside them, few calls of each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import redis

from bench import dispatch, dispatch_plot, dispatch_table
from bench.dispatch_house import House, Plan
from bench.dispatch_lines import TARGETS, Lines
from bench.dispatch_peers import Ended, client, installed, none_failed, started
from bench.pages import put
from bench.peers import drive
from bench.peers.plans import PLANS
from runtime.broker import presence
from tests.fronts import front
from tests.workers import worker

CELERY = PLANS[0]
TINY = Plan(
    [("noop", 1), ("noop", 16), ("1k", 2)],
    fast_cells=[("noop", 1)],
    fast_counted=False,
    rounds=1,
    seconds=0.01,
    share=0.0,
    gathered=20,
    steady_seconds=0.1,
    many=32,
)


@pytest.fixture
def house(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Iterator[House]:
    file = dispatch.project(tmp_path / "ours")
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(worker(file, broker_url, "bench"))
        gateway = stack.enter_context(front(file, broker_url))
        ours = stack.enter_context(dispatch.tundish(gateway.url, redis_client, tmp_path))
        peer = stack.enter_context(started(CELERY, broker_url, tmp_path))
        (pid,) = (one.pid for one in presence.read(redis_client) if one.kind == "gateway")
        yield House(ours, [peer], redis_client, os.getpid(), pid, process.pid)


def test_every_number_is_measured(house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    dispatch.measure(house, lines, TINY)
    lines.missing("rq", "not installed: make bench-peers")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told == lines.told
    found = {line["metric"]: line for line in told}
    assert set(TARGETS) - set(found) == {"async_vs_flower", "completed_vs_taskiq"}, "these peers were not asked"
    for name in (
        "sync_p50",
        "async_vs_celery_enqueue",
        "completed_vs_celery",
        "gathered_vs_celery",
        "sync_p50_everysec",
    ):
        line = found[name]
        assert line["ratio"] == pytest.approx(line["ours"] / line["peer"], rel=0.01)
        assert line["peer_name"] == "celery" and len(line["spread"]) == len(line["peer_spread"]) == 2
    assert found["clients_256_errors"]["ours"] == 0 and found["clients_256_fairness"]["ours"] > 0
    assert found["clients_256_memory"]["ours"] > 0 and found["sync_cpu"]["peer"] > 0
    whole = {"machine": dispatch.machine(house.broker, {"celery": "5"}), "lines": told}
    table = dispatch_table.page(whole).splitlines()
    assert table[2].startswith("| **tundish** |") and table[3].startswith("| celery 5 |") and "rq | missing" in table[4]
    drawn = ElementTree.fromstring(dispatch_plot.svg(whole))  # noqa: S314 - our own
    assert len(drawn.findall(".//{*}rect")) == 1 + 2 * len(dispatch_plot.PANELS)
    page = "before\n<!-- dispatch -->\nold\n<!-- end of dispatch -->\nafter\n"
    assert put(page, "dispatch", "new") == page.replace("old", "new")


def test_what_is_not_installed_is_known(tmp_path: Path) -> None:
    assert "rq" not in installed(PLANS, tmp_path / "nowhere")
    assert set(installed(PLANS, tmp_path / "nowhere")) == {plan.name for plan in PLANS if plan.ours}


def test_a_client_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such broker')"]
    with client("peer", command, os.environ, tmp_path) as made, pytest.raises(Ended, match="no such broker"):
        made.ask("ended")


class Odd(drive.Peer):
    """Every second call fails."""

    made = 0

    def call(self, client: int, function: str, given: drive.Given) -> None:
        self.made += 1
        if self.made % 2 == 0:
            raise ValueError(function)

    send = call

    def ended(self) -> int:
        return self.sent


class Late(drive.AsyncPeer):
    """Every call takes as long as the loop takes to come back."""

    async def call(self, client: int, function: str, given: drive.Given) -> None:
        await asyncio.sleep(0)

    send = call

    def ended(self) -> int:
        return self.sent


def test_a_load_counts_calls_and_failures() -> None:
    blocking = drive.Blocking(Odd())
    told = blocking.sends("noop", {}, clients=1, count=5)
    assert (len(told["seconds"]), told["errors"], told["error"]) == (3, 2, "ValueError: noop")
    assert blocking.ended() == {"ended": 3} and told["each"] == [3, 3]
    with pytest.raises(SystemExit, match="us: 2 calls failed, the first: ValueError: noop"):
        none_failed(told, "us")
    with asyncio.Runner() as runner:
        looped = drive.Looped(Late(), runner)
        assert looped.sends("noop", {}, clients=3, count=7)["each"] == [2, 3]
        assert looped.calls("noop", {}, clients=2, seconds=0)["each"] == [1, 1], "at least one each"
        assert len(looped.paced("noop", {}, clients=2, seconds=0.02, rate=500)["seconds"]) == 10
        assert looped.ended() == {"ended": 19}
