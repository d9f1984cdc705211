"""A worker: `python -m runtime.worker -Q QUEUE [-n NAME]`. SIGHUP replaces the code that it runs, without a gap."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from runtime.config import snapshot
from runtime.config.load import load_settings
from runtime.deployment.deployment import load_deployment
from runtime.errors import TundishError
from runtime.host.niceness import step_back
from runtime.processes.child import STATUS_VARIABLE
from runtime.system import start_gate
from runtime.system.grace import of_queue
from runtime.telemetry import logs
from runtime.worker.shifts import Shifts

if TYPE_CHECKING:
    from runtime.attempts.tally import Tally
    from runtime.config.settings import Settings
    from runtime.deployment.deployment import Deployed
    from runtime.embedding.library import Library


@click.command()
@click.option("-Q", "--queue", "queue_name", required=True, help="The queue to serve.")
@click.option("-n", "--name", help="Node name; default QUEUE@HOST.")
@click.option(
    "-c", "--concurrency", type=click.IntRange(1, 1024), help="How many calls run at once; default from the YAML."
)
@click.option("-f", "--file", type=click.Path(path_type=Path), help="functions.yaml.")
def main(queue_name: str, name: str | None, concurrency: int | None, file: Path | None) -> None:
    """Serve one queue until told to stop."""
    # A flag wins over the environment. The other queues that hear of it have no worker here.
    flags = {"CELERY_WORKER_CONCURRENCY": str(concurrency)} if concurrency else {}
    environ = {**os.environ, **flags}
    try:
        sys.exit(_Worker(environ, file, queue_name, name or f"{queue_name}@{socket.gethostname()}").run())
    except TundishError as error:
        click.echo(f"tundish worker: {error}", err=True)
        sys.exit(2)


class _Worker:
    """One queue's warm parent, and what each of its shifts does."""

    def __init__(self, environ: Mapping[str, str], file: Path | None, queue: str, name: str) -> None:
        self._environ, self._file, self._queue, self._name = environ, file, queue, name
        self._models: Library | None = None
        self._tally: Tally | None = None

    def run(self) -> int:
        settings = load_settings(self._now(), file=self._file)
        queue = settings.project.queues.get(self._queue)
        if queue is None:
            names = ", ".join(settings.project.queues)
            raise TundishError(f"There is no queue {self._queue}; functions.yaml has {names}.")
        step_back(queue.nice)  # before anything starts a thread, which would keep the level it began with
        self._logs(settings)
        if queue.pool != "gevent":  # which has to patch what the others import
            from runtime.attempts.tally import Tally
            from runtime.worker.warm import warm

            self._models = warm(self._queue, queue, settings)
            self._tally = Tally(self._queue)  # one for all shifts: what an older one still ends is not lost
        start_gate.wait(os.environ)
        say = self._logs(settings).info  # a library may have had its own mind
        grace = of_queue(settings.project, self._queue)
        return Shifts(self._work, self._environ, say=say, tell=_teller(self._environ), grace=grace).run()

    def _logs(self, settings: Settings) -> logging.Logger:
        return logs.setup_for(settings, "tundish.worker", self._environ, process=f"worker {self._queue}")

    def _now(self) -> dict[str, str]:
        """The environment, pointing to what is being taken over just now, where something is."""
        described = self._environ.get("TUNDISH_DESCRIPTION")
        newest = {"TUNDISH_DESCRIPTION": str(snapshot.newest(Path(described)))} if described else {}
        return {**self._environ, **newest}

    def _work(self, number: int, ready: Callable[[], None]) -> int:
        """A shift: the settings and the code as they are now."""
        environ, described = self._now(), self._environ.get("TUNDISH_DESCRIPTION")
        try:
            settings = load_settings(environ, file=self._file)
            queue = settings.project.queues.get(self._queue)
            if queue and queue.pool == "gevent":
                _patch()
            step_back(queue.nice if queue else 0)
            self._logs(settings)
            deployment = load_deployment(settings, environ)
            if described:
                deployment.settings = settings.model_copy(update={"description": Path(described)})
            elif number > 1:
                _insist(deployment.functions, self._queue)
            from runtime.worker.celery_worker import serve  # only now: gevent must come before what it patches

            name = node_name(self._name, number)
            # People see and signal the parent, which outlives its shifts.
            pid = os.getppid()
            return serve(deployment, self._queue, name, models=self._models, pid=pid, ready=ready, tally=self._tally)
        except TundishError as error:
            click.echo(f"tundish worker: {error}", err=True)
            return 2


def node_name(name: str, number: int) -> str:
    """The node name of a shift: it stands beside the one before for a while. `left@host`, then `left.2@host`."""
    if number == 1:
        return name
    node, at, host = name.partition("@")
    return f"{node}.{number}{at}{host}"


def _insist(functions: Mapping[str, Deployed], queue: str) -> None:
    """Without a supervisor nobody else looks whether new code can be loaded before it replaces what works."""
    own = {name: found for name, found in functions.items() if found.spec.queue == queue}
    if broken := [f"{name}: {found.error}" for name, found in own.items() if found.error]:
        raise TundishError("the code is not taken over: " + "; ".join(broken))


def _teller(environ: Mapping[str, str]) -> Callable[[str], None]:
    number = environ.get(STATUS_VARIABLE)

    def tell(word: str) -> None:
        if number:
            with contextlib.suppress(OSError):
                os.write(int(number), f"{word}\n".encode())

    return tell


def _patch() -> None:
    """Make waiting cooperative in this process."""
    from gevent import monkey

    monkey.patch_all()
