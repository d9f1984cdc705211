"""Three hosts, one broker, one store: a host that is cut off, one that is killed and one with a slow link lose nothing.

The hosts are network namespaces (tests/hosts.py): real processes, real sockets, a real cable to pull.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from runtime import keys
from tests import netns


@pytest.fixture(scope="module")
def told() -> dict[str, Any]:
    """What became of the calls."""
    if why := netns.missing():
        pytest.skip(why)
    done = subprocess.run(
        [sys.executable, "-m", "tests.hosts", "--seconds", "12"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_nothing_is_lost(told: dict[str, Any]) -> None:
    assert told["states"] == {"succeeded": told["calls"]}
    assert told["never_done"] == 0
    assert told["calls"] > 50


def test_what_the_lost_hosts_ran_is_run_elsewhere(told: dict[str, Any]) -> None:
    assert told["attempts_lost"] >= 2, "one of the host that was cut off, one of the host that was killed"
    assert set(told["by_host"]) == {"host1", "host2", "host3"}, "the slow one worked, and the one that came back"


def test_a_slow_link_that_stalls_costs_time_and_no_call(told: dict[str, Any]) -> None:
    """80 ms each way, 1 Mbit/s, and nothing at all for three seconds."""
    if not told["slow_link"]:
        pytest.skip("/dev/net/tun is not there")
    assert told["slow_link"]["calls"] > 0
    assert told["slow_link"]["frames"] > 100


def test_all_hosts_serve_the_same_queues(told: dict[str, Any]) -> None:
    assert told["workers"] == {"work@host1": "work", "work@host2": "work", "work@host3": "work"}
    assert told["lists"], "calls waited while two hosts were gone"
    assert set(told["lists"]) <= set(keys.queue_lists("work"))
    assert told["routes"] == {
        host: {"slow": ["work", [{"http": {"path": "/function/slow"}}]]} for host in ("host1", "host3")
    }


def test_every_gateway_answers_from_every_version(told: dict[str, Any]) -> None:
    """Three versions at two gateways, one behind the slow link; docs/many-hosts.md says how fast."""
    assert {host: len(taken) for host, taken in told["version_seconds"].items()} == {"host1": 3, "host3": 3}
