"""A broker at its memory limit: new work is refused, and what was accepted runs, ends, and is recorded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from runtime import keys
from runtime.broker.connection import connect, translated
from runtime.errors import BrokerFull
from runtime.invocations.submit import Call, submit
from tests.brokers import own_broker
from tests.workers import deployment, ended, until, upkeep, worker

FUNCTIONS = """
import time

def nap(number: int, seconds: float, path: str) -> str:
    with open(path, "a") as file:
        file.write(f"{number}\\n")
    time.sleep(seconds)
    if number == 1:
        raise ValueError("for the retry")
    return "x" * 1000
"""
YAML = """
version: 1
queues: {light: {concurrency: 2}}
defaults: {queue: light, timeout: 60s, retries: {max: 1, backoff: 100ms, jitter: 0}}
functions: {nap: {handler: mine.py:nap}}
"""

CHAINED = """
version: 1
queues: {light: {}, idle: {}}
functions:
  one: {handler: mine.py:one, queue: light, on_success: two}
  two: {handler: mine.py:two, queue: light}
  late: {handler: mine.py:two, queue: idle, expires: 2s}
retention: {succeeded: 2s}
"""


def test_what_was_accepted_ends(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    file, runs = tmp_path / "functions.yaml", tmp_path / "runs"
    file.write_text(YAML)
    with own_broker(tmp_path / "broker") as broker, connect(broker.url) as client:
        deployed = deployment(file, broker.url)

        def send(number: int, seconds: float) -> str:
            return submit(client, deployed, Call("nap", {"number": number, "seconds": seconds, "path": str(runs)}))

        with upkeep(client, deployed), worker(file, broker.url, "light"):
            # The first one runs for longer than its lease is: it must be renewed at the limit, too.
            ids = [send(number, 12 if number == 0 else 0.2) for number in range(12)]
            until(lambda: client.zcard(keys.RUNNING) == 2)
            client.config_set("maxmemory", 1)
            with pytest.raises(BrokerFull, match="memory limit"):
                send(99, 0)
            found = [ended(client, task_id, 60) for task_id in ids]
            with pytest.raises(BrokerFull), translated():
                client.set("plain", "write")
            client.config_set("maxmemory", 0)
            assert ended(client, send(12, 0)).state == "succeeded"
    assert [one.state for one in found] == ["succeeded", "dead", *["succeeded"] * 10]
    assert [one.attempts for one in found] == [1, 2, *[1] * 10], "nothing ran again for want of a lease"
    assert found[0].result_json is not None
    assert Counter(map(int, runs.read_text().split())) == Counter([*range(13), 1])


def test_the_upkeep_goes_on_while_a_chain_waits_for_memory(tmp_path: Path) -> None:
    """What follows a call is new work and has to wait; expiry and retention, which free memory, must not."""
    (tmp_path / "mine.py").write_text("import time\n\ndef one(): time.sleep(0.5)\n\ndef two(): return 2\n")
    file = tmp_path / "functions.yaml"
    file.write_text(CHAINED)
    with own_broker(tmp_path / "broker") as broker, connect(broker.url) as client:
        deployed = deployment(file, broker.url)
        with upkeep(client, deployed), worker(file, broker.url, "light"):
            first, late = (submit(client, deployed, Call(name)) for name in ("one", "late"))
            until(lambda: client.zcard(keys.RUNNING))
            client.config_set("maxmemory", 1)
            until(lambda: client.exists(keys.chain("two")))
            assert ended(client, late).state == "expired"
            until(lambda: not client.exists(keys.invocation(first)))
            client.config_set("maxmemory", 0)
            until(lambda: not client.exists(keys.chain("two")))
