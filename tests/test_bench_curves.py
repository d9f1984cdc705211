"""The cost curves run: a place or two of each at a tiny size, over a real broker, store, gateway and workers."""

from __future__ import annotations

import json
import sys
from xml.etree import ElementTree

import pytest

from bench import curves, curves_plot, curves_queued, curves_table, profile, start
from bench.curves_load import Point
from bench.start_process import environment, started, until_answer

TINY = curves.Plan((3,), (1, 2), (1, 70_000), (1, 30), count=3, duration=0.1)
EXPECTED = {
    "functions": {"described", "call", "call_cpu", "many_rate", "many_cpu", "gateway_memory", "worker_memory"},
    "nodes": {"idle_commands", "idle_cpu", "call", "many_rate", "nap_rate", "busy"},
    "payload": {"length", "length_cpu", "echo", "echo_cpu", "store_alone"},
    "queued": {"submit", "submit_broker_cpu", "memory", "upkeep", "census", "stats", "purge_of_100"},
}


@pytest.mark.parametrize("part", EXPECTED)
def test_every_number_of_a_curve_is_measured(
    part: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curves_queued, "GRACE_MS", 0)
    points = curves.measure(TINY, [part])
    told = {line["metric"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    for point in points:
        assert {f"{part}_{point.at}_{name}" for name in EXPECTED[part]} <= set(told)
        assert all(value > 0 for values in point.times.values() for value in values)
    if len(points) > 1:
        last = told[f"{part}_{points[-1].at}_{sorted(points[-1].times)[0]}"]
        assert last["peer_name"] == f"with {points[0].at}" and last["ratio"] > 0


def test_a_picture_and_tables_of_all_curves() -> None:
    axes = {(axis, name) for panel in curves_plot.PANELS for _, axis, name in panel.lines}
    axes |= {(axis, name) for axis, rows in curves_table.ROWS.items() for _, name, _ in rows}
    points = [
        Point(one, at, {name: [at / 100] for axis, name in axes if axis == one}).plain()
        for one in curves_table.ROWS
        for at in (1, 10)
    ]
    drawn = ElementTree.fromstring(curves_plot.svg(points))  # noqa: S314 - our own
    lines = sum(len(panel.lines) for panel in curves_plot.PANELS)
    assert len(drawn.findall(".//{*}polyline")) == lines, "every line is of something that is measured"
    rows = [row for row in curves_table.tables(points).splitlines() if row]
    assert len(rows) == sum(2 + len(rows) for rows in curves_table.ROWS.values())
    assert {row.count("|") for row in rows} == {4}


def test_a_start_is_timed() -> None:
    helped = start.help_of([sys.executable, "-c", "sum(range(1000000))"])
    assert 0 < helped.cpu < 60 and helped.seconds > 0
    with pytest.raises(SystemExit, match="ended with 3"):
        start.help_of([sys.executable, "-c", "raise SystemExit(3)"])
    told = pytest.raises(SystemExit, match="gone astray")
    with started([sys.executable, "-c", "raise SystemExit('gone astray')"], environment()) as process, told:
        until_answer(process, "GET", "http://127.0.0.1:9/", 200)


def test_samples_become_microseconds_of_a_call() -> None:
    stacks = """run (uvicorn/server.py:61);invoke (/home/me/tundish/gateway/calls/invoke.py:12) 6
run (uvicorn/server.py:61);invoke (gateway/calls/invoke.py:12);dumps (json/__init__.py:231) 2
run (uvicorn/server.py:61);send (/venv/lib/python3.11/site-packages/redis/asyncio/connection.py:5) 1
_bootstrap (threading.py:966) 1"""
    found = {row.name: row.micros for row in profile.rows("gateway", stacks, 500.0)}
    assert found == {"gateway.calls.invoke": 300.0, "json": 100.0, "redis": 50.0, "threading (Python's own)": 50.0}
    few = profile.rows("gateway", stacks, 500.0, most=1)
    assert [(row.name, row.micros) for row in few] == [("gateway.calls.invoke", 300.0), ("the rest", 200.0)]
