"""Gateway and broker killed with SIGKILL while calls wait in the outbox: each of them runs, and runs once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import redis

from runtime import keys
from runtime.broker.connection import connect
from tests.brokers import own_broker
from tests.fronts import front
from tests.workers import deployment, ended, until, upkeep, worker

FUNCTIONS = """
def note(number: int, path: str) -> int:
    with open(path, "a") as file:
        file.write(f"{number}\\n")
    return number
"""
YAML = """
version: 1
queues: {light: {concurrency: 2}}
defaults: {queue: light, timeout: 20s}
functions:
  note: {handler: mine.py:note, triggers: [{http: {}}]}
outbox: true
"""


def test_each_call_runs_once_whoever_is_killed(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(FUNCTIONS)
    file, runs = tmp_path / "functions.yaml", tmp_path / "runs"
    file.write_text(YAML)
    with own_broker(tmp_path / "broker") as broker, front(file, broker.url) as gateway:
        ids = [gateway.send("note", number=number, path=str(runs)) for number in range(10)]
        broker.kill()
        ids += [gateway.send("note", number=number, path=str(runs)) for number in range(10, 210)]
        gateway.kill()

        gateway.start()  # it takes over what the killed one had accepted
        assert gateway.waiting() == 200
        assert {gateway.state(task_id) for task_id in ids[10:30]} == {"accepted"}
        ids += [gateway.send("note", number=number, path=str(runs)) for number in range(210, 240)]
        broker.start()
        with connect(broker.url) as client:
            until(lambda: delivered(client) > 10)
            gateway.kill()  # in the middle of it, more often than not
            gateway.start()
            states = {gateway.state(task_id) for task_id in ids}
            assert states <= {"accepted", "queued"}, "no moment in which a call is unknown"
            until(lambda: gateway.waiting() == 0)
            assert delivered(client) == 240
            deployed = deployment(file, broker.url)
            with upkeep(client, deployed), worker(file, broker.url, "light"):
                assert {ended(client, task_id, 60).state for task_id in ids} == {"succeeded"}
    assert Counter(map(int, runs.read_text().split())) == Counter(range(240))


def delivered(client: redis.Redis) -> int:
    return int(client.zcard(keys.queued("light", 5)))
