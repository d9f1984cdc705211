"""The 202 of a call while the broker is away, against the same call while it is up, and how fast they are delivered.

Run it with `make bench B=outbox`. One gateway process, one broker that syncs before it answers, both on this machine.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.common import report
from tests.brokers import own_broker
from tests.fronts import Front, front
from tests.workers import until

ALONE, TOGETHER, CLIENTS = 500, 4000, 16
YAML = """
version: 1
functions: {noop: {handler: mine.py:noop, triggers: [{http: {}}]}}
outbox: true
"""


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def alone(gateway: Front) -> list[float]:
    """Seconds of each call, one after the other."""
    return [timed(lambda: gateway.send("noop")) for _ in range(ALONE)]


def together(gateway: Front) -> float:
    """Calls a second that several clients get accepted."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        seconds = timed(lambda: list(pool.map(lambda _: gateway.send("noop"), range(TOGETHER))))
    return TOGETHER / seconds


def delivered(gateway: Front) -> float:
    """Calls a second that leave the outbox, looked at seldom: a look costs the gateway time."""
    full = gateway.waiting()
    until(lambda: gateway.waiting() < full)
    first, began = gateway.waiting(), time.perf_counter()
    while gateway.waiting():
        time.sleep(0.25)
    return first / (time.perf_counter() - began)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "functions.yaml"
        file.write_text(YAML)
        (Path(folder) / "mine.py").write_text("def noop(): ...\n")
        with own_broker(Path(folder) / "broker") as broker, front(file, broker.url) as gateway:
            gateway.send("noop")
            up, up_rate = alone(gateway), together(gateway)
            broker.kill()
            gateway.send("noop")
            away, away_rate = alone(gateway), together(gateway)
            broker.start()
            rate = delivered(gateway)
        report("accepted_while_away", away, peer=up, peer_name="broker up")
        report("accepted_while_away_16_clients", [away_rate], "/s", peer=[up_rate], peer_name="broker up")
        report("delivered", [rate], "/s")


if __name__ == "__main__":
    main()
