"""The soak in short: under a steady load no process grows, and its picture shows what was seen."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bench import soak, soak_plot
from bench.soak_look import held, look
from runtime.broker.connection import connect
from tests.system import System

MEBIBYTE = 2**20


def sample(minute: float, pss: int, keys: int = 100) -> dict[str, Any]:
    taken = {"pss": pss, "rss": pss, "files": 20, "threads": 4, "processes": 1}
    return {
        "at": minute * 60,
        "processes": {"gateway": taken, "worker work": taken},
        "broker": {"bytes": 10**6, "keys": keys, "clients": 9},
    }


def test_what_grows_is_seen(capsys: pytest.CaptureFixture[str]) -> None:
    samples = [sample(minute, 50 * MEBIBYTE + max(0, minute - 10) * MEBIBYTE) for minute in range(30)]
    soak.report(samples)
    told = {line["metric"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert told["soak_gateway_RSS"]["rise_an_hour"] == pytest.approx(60 * MEBIBYTE)
    assert (told["soak_broker_keys"]["ours"], told["soak_broker_keys"]["rise_an_hour"]) == (100, 0)
    drawn = soak_plot.svg(samples)
    assert drawn.count('class="l"') == 7 and drawn.count('class="r"') == 7
    assert "worker work, RSS" in drawn


def test_a_running_system_does_not_grow(system: System) -> None:
    client = connect(system.connections["CELERY_BROKER_URL"])

    def load(calls: int) -> None:
        def call(number: int) -> int:
            way = "async-function" if number % 3 == 0 else "function"
            return system.request("POST", f"/{way}/greet", json={"name": str(number)}).status

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(call, range(calls))) == {200, 202}

    load(200)
    before = look(system.process.pid)
    load(400)
    after = look(system.process.pid)
    assert {"gateway", "worker work", "beat", "triggers", "broker", "supervisor"} <= set(before)
    for kind in ("gateway", "worker work", "beat", "supervisor"):
        assert after[kind].pss - before[kind].pss < 10 * MEBIBYTE, kind
        assert after[kind].files <= before[kind].files + 10, kind
        assert after[kind].threads <= before[kind].threads + 10, kind
    assert held(client)["clients"] < 200
    client.close()
