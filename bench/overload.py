"""What a flood costs those who are not part of it. Run it with `make bench B=overload`.

- another queue: `POST /function/noop` of a queue of its own, by one client, while 5,000 calls wait in another queue
  (`behind_a_backlog`) and while so many more come that most are refused (`beside_a_storm`); each taken in turn with
  the same without a flood, which is the peer
- another tenant: one call of a tenant while another has 2,000 waiting in the same queue, with a share for each tenant
  (`per_tenant`) and, as the peer, without
- what a refusal takes, against what accepting takes: processor time of gateway and broker together
- slow clients: what the gateway's memory grows by for each of 1,000 of them
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import urllib3

from bench import memory, overload_slow
from bench.common import System, percentiles, report, system
from runtime.broker.connection import connect
from runtime.config.load import load_settings
from runtime.deployment.deployment import load_deployment
from runtime.invocations.submit import Call, accept

FUNCTIONS = "import time\n\ndef noop() -> None:\n    return None\n\ndef nap() -> None:\n    time.sleep(0.02)\n"
PROJECT = """
version: 1
queues:
  calm: {concurrency: 1}
  flooded: {concurrency: 1}
  fair: {concurrency: 1, per_tenant: 100}
  unfair: {concurrency: 1, per_tenant: 1000000}
functions:
  noop: {handler: load.py:noop, queue: calm, triggers: [{http: {}}]}
  nap: {handler: load.py:nap, queue: flooded, overload: {waiting: WAITING}, triggers: [{http: {}}]}
  fair: {handler: load.py:noop, queue: fair, triggers: [{http: {}}]}
  unfair: {handler: load.py:noop, queue: unfair, triggers: [{http: {}}]}
"""
BACKLOG = 5000
FLOOD = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few seconds")
    quick: bool = parser.parse_args().quick
    http = urllib3.PoolManager(maxsize=16, retries=False, timeout=60.0)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "load.py").write_text(FUNCTIONS)
        file = Path(folder, "functions.yaml")
        file.write_text(PROJECT.replace("WAITING", str(BACKLOG // 10 if quick else BACKLOG)))
        with system(file) as found:
            queues(found, http, 40 if quick else 300, rounds=1 if quick else 3)
            refusals(found, http, 100 if quick else 1000)
            tenants(found, file, FLOOD // 10 if quick else FLOOD, rounds=1 if quick else 5)
            empty(found, http)
            overload_slow.measure(found, 100 if quick else 1000)


def queues(found: System, http: urllib3.PoolManager, calls: int, *, rounds: int) -> None:
    """The calls of one queue while another is quiet, is full, and is stormed."""
    quiet: list[float] = []
    behind: list[float] = []
    beside: list[float] = []
    answer_times(found, http, calls // 4)
    for _ in range(rounds):
        quiet += answer_times(found, http, calls)
        fill(found, http)
        behind += answer_times(found, http, calls)
        fill(found, http)
        with storm(found) as became:
            beside += answer_times(found, http, calls)
        empty(found, http)
    percentiles("other_queue_behind_a_backlog", behind, quiet, "without a flood")
    percentiles("other_queue_beside_a_storm", beside, quiet, "without a flood")
    print(json.dumps({"metric": "storm_answers", **became}), flush=True)


def answer_times(found: System, http: urllib3.PoolManager, calls: int) -> list[float]:
    times = []
    for _ in range(calls):
        began = time.perf_counter()
        answer = http.request("POST", f"{found.url}/function/noop", body=b"{}", headers=_JSON)
        times.append(time.perf_counter() - began)
        if answer.status != 200:
            raise SystemExit(f"noop answered {answer.status}: {answer.data!r}")
    return times


def fill(found: System, http: urllib3.PoolManager) -> None:
    """Bring the flooded queue to its limit."""
    body = json.dumps({"tasks": [{"task_type": "nap"}] * 500}).encode()
    while http.request("POST", f"{found.url}/api/v1/tasks/batch", body=body, headers=_JSON).status == 202:
        pass


def empty(found: System, http: urllib3.PoolManager) -> None:
    for queue in ("flooded", "fair", "unfair"):
        while json.loads(http.request("POST", f"{found.url}/api/v1/tasks/queue/{queue}/purge").data).get("more"):
            pass


@contextlib.contextmanager
def storm(found: System) -> Iterator[dict[str, int]]:
    """Two hundred calls a second for a queue that is full; gives how many were answered in which way."""
    became: dict[str, int] = {}
    over = threading.Event()
    http = urllib3.PoolManager(retries=False, timeout=60.0)

    def send() -> None:
        while not over.wait(0.005):
            answer = http.request("POST", f"{found.url}/async-function/nap", body=b"{}", headers=_JSON)
            told = f"{answer.status}, Retry-After {answer.headers.get('retry-after', 'none')}"
            became[told] = became.get(told, 0) + 1

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield became
    finally:
        over.set()
        thread.join()


def refusals(found: System, http: urllib3.PoolManager, calls: int) -> None:
    """Processor time of gateway and broker for a call that is refused, and for one that is accepted (and not run)."""
    serving = [overload_slow.process_of(found.pid, words) for words in ("-m\0gateway", "valkey-server")]
    http.request("POST", f"{found.url}/admin/pause", json={"kind": "queue", "name": "flooded"})
    taken: dict[int, list[float]] = {202: [], 503: []}
    for status, times in taken.items():
        if status == 503:
            fill(found, http)
        for _ in range(4):
            before = sum(map(memory.processor, serving))
            for _ in range(calls // 4):
                answer = http.request("POST", f"{found.url}/async-function/nap", body=b"{}", headers=_JSON)
                if answer.status != status:
                    raise SystemExit(f"nap answered {answer.status}, not {status}: {answer.data!r}")
            times.append((sum(map(memory.processor, serving)) - before) / (calls // 4))
    http.request("POST", f"{found.url}/admin/resume", json={"kind": "queue", "name": "flooded"})
    report("refusal_cpu", taken[503], peer=taken[202], peer_name="accepting")
    empty(found, http)


def tenants(found: System, file: Path, flood: int, *, rounds: int) -> None:
    """Seconds until one call of a tenant has ended that comes when another tenant has a flood waiting."""
    deployed = load_deployment(load_settings(found.environ, file=file), found.environ)
    client = connect(found.environ["CELERY_BROKER_URL"])
    times: dict[str, list[float]] = {"fair": [], "unfair": []}
    whole: dict[str, list[float]] = {"fair": [], "unfair": []}
    for _ in range(rounds):
        for name, took in times.items():
            began = time.perf_counter()
            for _ in range(flood):
                last = accept(client, deployed, Call(name, tenant="many", caller="key")).id
            asked = time.perf_counter()
            took.append(
                until_ended(client, accept(client, deployed, Call(name, tenant="one", caller="key")).id) - asked
            )
            whole[name].append((until_ended(client, last) - began) / flood)
    client.close()
    report("other_tenant_in_a_flood", times["fair"], peer=times["unfair"], peer_name="without a share")
    report("flood_call", whole["fair"], peer=whole["unfair"], peer_name="without a share")


def until_ended(client: Any, task_id: str) -> float:
    """When a call has ended, on the clock of perf_counter."""
    while not client.hexists(f"tundish:inv:{task_id}", "ended"):
        time.sleep(0.002)
    return time.perf_counter()


_JSON = {"Content-Type": "application/json"}


if __name__ == "__main__":
    main()
