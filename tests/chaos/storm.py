"""One storm: a real system, clients that call, a killer that kills, and what is left at the end."""

from __future__ import annotations

import time
from pathlib import Path

from runtime.broker import connect
from tests.chaos.clients import Clients
from tests.chaos.evidence import Evidence, backlog, collect
from tests.chaos.killer import Killer
from tests.chaos.plan import wishes
from tests.chaos.target import Calls
from tests.system import running_system, until

SAMPLE = Path(__file__).parent.parent / "samples" / "chaos"
IDLE_SECONDS = 120.0


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
        until(lambda: not clients.busy and killer.rounds >= rounds, "the end of the calls", 3600.0)
        killer.join()
        if len(clients.answers) != len(todo):
            raise AssertionError(f"a client broke: {len(clients.answers)} of {len(todo)} calls were made")
        found = collect(system, clients.answers, killer.kills, within=IDLE_SECONDS)
        found.seconds = time.monotonic() - began
        return found
