"""One step of a migration: work for as long as the caller has time, and say how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import redis

from runtime.context import Migration
from runtime.errors import TundishError
from runtime.index.migrate import Progress
from runtime.index.migration_state import CANCELLED, DONE, FAILED, RUNNING, MigrationState

Report = Callable[[float, float | None, str], None]


class Named(Protocol):
    """Where an index is to go: a model, or an engine."""

    @property
    def name(self) -> str: ...


To = TypeVar("To", bound=Named, contravariant=True)  # noqa: PLC0105 - a place to go to has no variance


class Moves(Protocol[To]):
    """Who brings an index there (runtime/index/migrate.py, runtime/index/qdrant/move_in.py, move_out.py)."""

    def has(self, index: str, models: To, /) -> bool: ...

    def migrate(
        self, index: str, models: To, stop: Callable[[], bool], report: Callable[[int, int], object], /
    ) -> Progress: ...


def step(
    client: redis.Redis,
    migrator: Moves[Any],
    index: str,
    models: Named,
    *,
    run: str,
    task: str,
    stop: Callable[[], bool],
    report: Report,
) -> Migration:
    """What `Index.migrate` promises. Batches that are late for the model that the index has are nobody's migration."""
    state = MigrationState(client, index)
    known = state.read()
    late = migrator.has(index, models) and (known is None or known.run != run)
    if not late and not state.begin(run, task, models.name, models.name):
        return Migration(index, models.name, CANCELLED)
    wanted = True

    def tell(done: int, total: int) -> None:
        nonlocal wanted
        report(done, total, f"batches in {models.name}")
        wanted = late or state.update(run, done=done, total=total)

    try:
        progress = migrator.migrate(index, models, lambda: not wanted or stop(), tell)
    except TundishError as error:
        if not late:
            state.update(run, state=FAILED, message=str(error))
        raise
    ended = RUNNING if progress.left else DONE
    if not late:
        wanted = state.update(run, state=ended, message=" ".join(progress.damaged)[:1000])
    return _result(index, models, ended if wanted or ended == DONE else CANCELLED, progress)


def _result(index: str, models: Named, state: str, progress: Progress) -> Migration:
    return Migration(
        index, models.name, state, progress.done, progress.total, progress.generation, list(progress.damaged)
    )
