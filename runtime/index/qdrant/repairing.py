"""Mending an index in Qdrant: what is lost or damaged there is built anew from the batches, the alias is set right, and
what the index lacks is handed out again."""

from __future__ import annotations

import redis

from runtime.config.settings import Project
from runtime.context import Store
from runtime.index import manifest
from runtime.index.engines import Indexes
from runtime.index.qdrant.verifying import TWICE, Tell, verify
from runtime.index.repair import hand_out
from runtime.index.report import Outcome, Report


def repaired(
    store: Store, client: redis.Redis, project: Project, index: Indexes, report: Report, tell: Tell = lambda *_: None
) -> Report:
    """Mend what `verify` reported and compare again. Raises EngineDown, StoreDown, StoreDenied and BrokerDown."""
    outcome = Outcome()
    current = manifest.newest(store, report.index)
    if current and current.remote:
        if index.remote.holds(current):
            index.announce(report.index)  # and the alias names it again
        again = verify(store, client, project, index.remote.connect(report.index), tell)
        broken = [str(one) for one in again.findings if one.kind in ("damaged", "chunks") or one.detail == TWICE]
        if broken and current.held:
            outcome.left.append(
                f"Generation {current.generation} is damaged, and a rollback holds it: "
                f"tundish index release --index {report.index}. {broken[0]}"
            )
        elif broken:
            made = index.rebuild(report.index, broken[0])
            outcome.left += made.warnings[1:]
            outcome.done.append(f"{broken[0]} Generation {made.generation} is built anew from the batches.")
    after = verify(store, client, project, index.remote.connect(report.index), tell)
    hand_out(client, project, after, outcome)
    after.repair = outcome
    return after
