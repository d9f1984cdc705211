"""One bucket storm: clients that change objects, a postman who loses notifications, a killer; then the reckoning."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from pathlib import Path

from tests.chaos.buckets.clients import Clients
from tests.chaos.buckets.evidence import Evidence, Witness
from tests.chaos.buckets.plan import deeds
from tests.chaos.buckets.postman import Postman
from tests.chaos.buckets.promises import unsettled
from tests.chaos.buckets.store import Store, second_triggers
from tests.chaos.buckets.target import Documents
from tests.chaos.killer import Killer
from tests.system import running_system, until

SAMPLE = Path(__file__).parent.parent.parent / "samples" / "storm"
SETTLE_SECONDS = 180.0


def storm(
    folder: Path, count: int, *, seed: int, lasting: float, patience: float = 8.0, rounds: int | None = None
) -> Evidence:
    """Change objects `count` times within `lasting` seconds or more, while everything is killed in turn: `rounds`
    times, or until all is done (None); then wait until bucket and index are equal, and still are after two more
    listings. `patience`: how many seconds the system is given to recover before the next kill."""
    postman = Postman(seed)
    store = Store(folder / "store", postman.url, seed)
    with contextlib.ExitStack() as stack:
        stack.enter_context(postman.working())
        stack.enter_context(store.running())
        system = stack.enter_context(running_system(folder, "--no-reload", sample=SAMPLE, **store.environ))
        second = second_triggers(system, folder / "second", seed)
        stack.enter_context(second.running())
        postman.target = f"{system.url}/events/seaweedfs"
        target = Documents(system, store, second)
        todo = list(deeds(count, seed))
        clients = Clients(system.url, store.settings, todo, lasting=lasting)
        killer = Killer(target, seed, patience=patience, most=rounds)
        began = time.monotonic()
        clients.start()
        killer.start()
        until(lambda: not clients.busy and killer.rounds, "the end of the changes", 7200.0)
        killer.join()
        if len(clients.done) != len(todo):
            raise AssertionError(f"a client broke: {len(clients.done)} of {len(todo)} changes were made")
        ended = time.monotonic()
        witness = Witness(system, store, folder / "cache")
        found = _settled(witness, clients, target)
        found.kills, found.post, found.records = killer.kills, postman.count, witness.records()
        found.verdict = witness.verdict()
        found.seconds, found.settled = time.monotonic() - began, time.monotonic() - ended
        return found


def _settled(witness: Witness, clients: Clients, target: Documents) -> Evidence:
    """The evidence once nothing is unsettled, and was not either two listings earlier; else what there is when the
    patience is over."""
    give_up = time.monotonic() + SETTLE_SECONDS
    while True:
        found = witness.look(clients.done, target.dropped)
        if time.monotonic() > give_up:
            return found
        if unsettled(found):
            time.sleep(0.2)
            continue
        for _ in range(2):
            until(partial(witness.listed_after, witness.listed()), "another listing", 60.0)
        found = witness.look(clients.done, target.dropped)
        if not unsettled(found):
            return found
