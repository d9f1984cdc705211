"""Every part is restarted in turn for some minutes, while three clients call, a schedule ticks and objects come.

What it counts: calls that were lost, done twice, or whose attempt was broken off (none is meant to be), and how long
clients waited for their answers. It prints one JSON object; exit code 1 where something was lost or done twice.

    python -m bench.rolling --minutes 5
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.host.free_ports import Ports
from runtime.invocations.invocation import Invocation, read_many
from runtime.store.port import MinioStore
from runtime.system import services
from tests.conftest import running
from tests.rolling import PROJECT, Caller, Fleet, environ_of
from tests.workers import SAMPLES, until

PARTS = (("worker", "work"), ("worker", "work"), ("gateway", ""), ("gateway", ""), ("beat", ""), ("triggers", ""))
CLIENTS = 3
PAUSE_SECONDS = 1.0
"""Between two restarts."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tundish-rolling-") as folder, contextlib.ExitStack() as stack:
        told = _roll(Path(folder), given.minutes * 60, stack)
    print(json.dumps(told), flush=True)
    return int(bool(told["lost"] or told["done_twice"] or told["broken_off"]))


def _roll(folder: Path, seconds: float, stack: contextlib.ExitStack) -> dict[str, Any]:
    notes, file, ports = folder / "notes", folder / "functions.yaml", Ports(folder)
    file.write_text(PROJECT.format(notes=notes))
    shutil.copy(SAMPLES / "life" / "life.py", folder)
    credentials = services.load_credentials(folder)
    valkey, url = services.valkey(folder, ports, credentials)
    weed, place = services.seaweedfs(folder, ports, credentials)
    stack.enter_context(running(valkey))
    stack.enter_context(running(weed))
    store = MinioStore(place)
    store.ensure_bucket("rolling")
    client = stack.enter_context(broker.connect(url))
    fleet = stack.enter_context(contextlib.closing(Fleet(file, folder / "home", environ_of(url, place), client)))
    for kind, queue in PARTS:
        fleet.add(kind, queue)
    rolls, objects, over = Counter[str](), list[str](), time.monotonic() + seconds
    with contextlib.ExitStack() as calling:
        callers = [calling.enter_context(Caller(fleet, number, notes)) for number in range(CLIENTS)]
        while time.monotonic() < over:
            for part in fleet.parts:
                objects.append(f"object-{len(objects)}")
                store.put("rolling", objects[-1], b"x")
                part.roll()
                rolls[part.kind] += 1
                time.sleep(PAUSE_SECONDS)
    records = until(lambda: _ended(client), 90)
    until(lambda: set(objects) <= set(notes.read_text().split()), 60)
    lines = Counter(notes.read_text().split())
    answers = {key: answer for caller in callers for key, answer in caller.answers.items()}
    once = [*answers, *objects]
    return {
        "metric": "rolling",
        "seconds": round(seconds),
        "restarts": dict(rolls),
        "calls": len(answers),
        "answers": Counter(status for status, _ in answers.values()),
        "asked_again": sum(caller.again for caller in callers),
        "states": Counter(one.state for one in records),
        "lost": sum(not lines[key] for key in once),
        "done_twice": sum(lines[key] > 1 for key in once),
        "broken_off": sum((one.attempts, one.lost) != (1, 0) for one in records),
        "objects": len(objects),
        "ticks": lines["tick"],
        **_waited([took for caller in callers for took in caller.took]),
    }


def _ended(client: redis.Redis) -> list[Invocation] | None:
    """All records, once all of them have ended; those of the last hour, which are kept."""
    ids: Any = client.zrange(keys.ALL, 0, -1)
    found = [one for one in read_many(client, [task_id.decode() for task_id in ids]).values() if one]
    return found if all(one.terminal for one in found) else None


def _waited(took: list[tuple[str, float]]) -> dict[str, list[float]]:
    """Median, 99 % and the longest in seconds: of calls that are waited for (they run for 0.3 s), and of the others."""
    told = {}
    for name, path in (("answered", "/function/slow"), ("accepted", "/async-function/note")):
        found = sorted(seconds for at, seconds in took if at == path) or [0.0]
        shares = (statistics.median(found), found[int(len(found) * 0.99)], found[-1])
        told[f"{name}_seconds"] = [round(one, 3) for one in shares]
    return told


if __name__ == "__main__":
    sys.exit(main())
