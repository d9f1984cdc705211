"""The whole system with its broker at the memory limit: new work gets 503, what was accepted ends, nothing is lost."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

from runtime import keys
from runtime.broker import presence
from runtime.broker.connection import connect
from tests.chaos import processes
from tests.chaos.journal import Journal
from tests.chaos.storm import SAMPLE
from tests.system import System, running_system, until


def post(system: System, door: str, function: str, number: int) -> tuple[int, str, str]:
    """Status, id and Retry-After of a call."""
    headers = {"Content-Type": "application/json"}
    answer = system.request("POST", f"/{door}/{function}", body=json.dumps({"number": number}), headers=headers)
    return answer.status, answer.headers.get("X-Call-Id", ""), answer.headers.get("Retry-After", "")


def state(system: System, task_id: str) -> str:
    found: str = json.loads(system.request("GET", f"/api/v1/tasks/task/{task_id}").data)["state"]
    return found


def test_at_the_memory_limit(tmp_path: Path) -> None:
    with running_system(tmp_path, "--no-reload", sample=SAMPLE) as system:
        client = connect(system.connections["CELERY_BROKER_URL"])
        journal = Journal(system.folder / "journal")
        # More than is done at once: some of it runs, some waits, some is retried, some is followed by another call.
        accepted = [post(system, "async-function", "slow", 9) for _ in range(20)]
        accepted += [post(system, "async-function", name, 2) for name in ("flaky", "link", "hopeless", "suicidal")]
        assert {status for status, _, _ in accepted} == {202}
        client.config_set("maxmemory", 1)

        for door in ("function", "async-function"):
            status, _, again = post(system, door, "work", 1)
            assert (status, again.isdigit()) == (503, True)
        assert system.request("PUT", "/buckets/chaos/at-the-limit.txt", body=b"?").status < 300
        before = {one.pid for one in processes.running() if one.parent == system.process.pid}
        # Longer than a lease and a heartbeat last: both are renewed at the limit, too.
        until(lambda: all(state(system, task_id) in ("succeeded", "dead") for _, task_id, _ in accepted), "the end", 90)
        assert {one.pid for one in processes.running() if one.parent == system.process.pid} == before
        alive = {one.kind for one in presence.read(client)}
        assert {"gateway", "triggers", "worker", "beat"} <= alive
        done = Counter(line.id for line in journal.new() if line.step == "done" and line.function == "slow")
        assert done == Counter(task_id for _, task_id, _ in accepted[:20]), "each once"
        # What is killed at the limit comes back, at the latest when there is room again.
        worker = processes.of_kind("worker parent", system.process.pid, "slow")
        os.kill(worker[0], signal.SIGKILL)
        client.config_set("maxmemory", 0)

        until(lambda: post(system, "function", "ping_slow", 1)[0] == 200, "an answer")
        until(lambda: any("at-the-limit.txt" in line.keys for line in journal.new()), "the object")
        until(lambda: not client.exists(keys.RUNNING, keys.chain("gathered")), "the chain")
        assert any(line.function == "gathered" for line in Journal(system.folder / "journal").new())
