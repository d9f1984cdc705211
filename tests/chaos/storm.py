"""One storm: a real system, clients that call, a killer that kills, and what is left at the end."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import redis

from runtime.broker import presence
from runtime.broker.connection import connect
from tests.chaos.clients import Clients
from tests.chaos.evidence import Evidence, backlog, collect, waiting
from tests.chaos.killer import Killer
from tests.chaos.plan import wishes
from tests.chaos.processes import running
from tests.chaos.target import Calls
from tests.system import System, running_system, until

SAMPLE = Path(__file__).parent.parent / "samples" / "chaos"
IDLE_SECONDS = 120.0
CALL_SECONDS = 1.0
"""What a call may take of the storm's time at most, kills and all; and `STORM_SECONDS` for all of them together."""
STORM_SECONDS = 600.0


def storm(folder: Path, count: int, *, seed: int, rounds: int = 1, lasting: float = 30.0) -> Evidence:
    """Make `count` calls within `lasting` seconds or more, while everything is killed in turn, `rounds` times at
    least; then wait until all is quiet.

    The broker is the embedded one, which writes to disk before it answers (`appendfsync always`).
    """
    with running_system(folder, "--no-reload", sample=SAMPLE) as system:
        client = connect(system.connections["CELERY_BROKER_URL"])
        todo = list(wishes(count, seed))
        clients = Clients(system.url, todo, lambda: backlog(client), lasting=lasting)
        killer = Killer(Calls(system), seed)
        began = time.monotonic()
        clients.start()
        killer.start()
        try:
            patience = STORM_SECONDS + count * CALL_SECONDS
            until(lambda: not clients.busy and killer.rounds >= rounds, "the end of the calls", patience)
        except AssertionError as error:
            error.add_note(_stuck(system, client, clients, killer))
            raise
        killer.join()
        if len(clients.answers) != len(todo):
            raise AssertionError(f"a client broke: {len(clients.answers)} of {len(todo)} calls were made")
        found = collect(system, clients.answers, killer.kills, within=IDLE_SECONDS)
        found.seconds = time.monotonic() - began
        return found


def _stuck(system: System, client: redis.Redis, clients: Clients, killer: Killer) -> str:
    """What there is to see of a storm that does not end: who waits for what, and the log without its ticks."""
    told = [f"{len(clients.answers)} calls were answered; {killer.rounds} rounds, the last kills: {killer.kills[-12:]}"]
    with contextlib.suppress(redis.RedisError):
        told += [f"waiting: {waiting(client)}", f"processes: {presence.read(client)}"]
    told += [f"{one.pid} {one.parent} {' '.join(one.argv)}" for one in running() if str(system.home) in str(one.argv)]
    told += [line for line in system.log.splitlines() if " tick" not in line][-150:]
    return "\n".join(told)
