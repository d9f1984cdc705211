"""`python -m triggers.beat`: Celery's beat with the schedules of functions.yaml, and the upkeep of the queues.

Any number of beats may run; each tick is submitted once. SIGHUP reads everything anew, SIGTERM ends it.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from functools import partial
from types import FrameType
from typing import Any

import redis
from celery.beat import Scheduler, Service
from celery.schedules import BaseSchedule

from runtime.broker import connection as broker
from runtime.broker.presence import Presence, own_name
from runtime.callbacks.posting import Callbacks
from runtime.config.load import load_settings
from runtime.deployment.deployment import Deployment, load_deployment
from runtime.errors import TundishError
from runtime.host import leash
from runtime.metrics.sampler import Sampler
from runtime.schedules.schedule import Schedule
from runtime.telemetry import logs
from runtime.worker.app import create_app
from runtime.worker.reaper import Upkeep
from triggers.clock import Clock

log = logging.getLogger("tundish.beat")

LONGEST_SLEEP = 0.5  # also how long a signal may wait


class Ticks(BaseSchedule):  # type: ignore[misc]
    """A schedule of functions.yaml as Celery lists it. When it is due only the Clock decides."""

    def __init__(self, schedule: Schedule, app: Any = None) -> None:
        super().__init__(app=app)
        self.schedule = schedule

    def is_due(self, _last_run_at: Any) -> tuple[bool, float]:
        return False, LONGEST_SLEEP

    def __repr__(self) -> str:
        return f"<{self.schedule.expression}, {self.schedule.trigger.timezone}>"


class YamlScheduler(Scheduler):  # type: ignore[misc]
    """Celery's scheduler with the entries of functions.yaml. Nothing is kept in a file."""

    def __init__(self, *args: Any, clock: Clock, presence: Presence, **options: Any) -> None:
        self._clock, self._presence = clock, presence
        super().__init__(*args, **options)

    def setup_schedule(self) -> None:
        for one in self._clock.schedules:
            arguments = dict(one.trigger.arguments)
            self.add(name=one.name, task=one.function, schedule=Ticks(one, self.app), kwargs=arguments)

    def tick(self, *_: Any, **__: Any) -> float:
        wait = self._clock.tick(self.max_interval)
        self._presence.set(ready=not self._clock.down, detail="the broker is away" if self._clock.down else "")
        return wait


class Beat:
    """The process: one Celery beat service at a time, and beside it the upkeep, the callbacks and the sampler."""

    def __init__(self, client: redis.Redis, deployment: Deployment, presence: Presence) -> None:
        self._client, self._presence = client, presence
        self._upkeep = Upkeep(client, deployment)
        self._callbacks = Callbacks(client, deployment)
        self._sampler = Sampler(client, deployment)
        self._ended = threading.Event()
        self._service = self._build(deployment)
        self.failed = False

    def run(self) -> bool:
        """Tick until `stop` or `renew`. True: this service was asked to end, and another may follow."""
        if not self._ended.is_set():  # asked to end while the configuration was read
            self._service.start()
        return not self._ended.is_set()

    def keep_up(self) -> list[threading.Thread]:
        """Start what works beside the ticks. Should one part end unasked, the process ends too: a supervisor starts it
        again."""

        def work(part: Upkeep | Callbacks | Sampler) -> None:
            try:
                part.run(self._ended)
            except Exception:
                log.exception("%s ended by an unforeseen error", type(part).__name__.lower())
                self.failed = True
                self.stop()

        parts = (self._upkeep, self._callbacks, self._sampler)
        threads = [threading.Thread(target=work, args=(part,), daemon=True) for part in parts]
        for thread in threads:
            thread.start()
        return threads

    def replace(self, deployment: Deployment) -> None:
        """Go on with another configuration."""
        self._upkeep.replace(deployment)
        self._callbacks.replace(deployment)
        self._sampler.replace(deployment)
        self._service = self._build(deployment)

    def interrupt(self) -> None:
        """Let `run` return after the tick it is in."""
        self._service.stop()

    def stop(self) -> None:
        self._ended.set()
        self._service.stop()

    def _build(self, deployment: Deployment) -> Service:
        clock = Clock(self._client, deployment)
        return Service(
            create_app(deployment.settings),
            max_interval=LONGEST_SLEEP,
            scheduler_cls=partial(YamlScheduler, clock=clock, presence=self._presence),
            remote_control=False,
        )


def main(environ: Mapping[str, str]) -> int:
    """Serve until a signal. Returns the exit code: 0 asked to end, 1 something broke, 2 the configuration is wrong."""
    leash.hold(environ)
    try:
        settings = load_settings(environ)
        deployment = load_deployment(settings, environ)
    except TundishError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    logs.setup_for(settings, "tundish.beat", environ, process="beat")
    client = broker.connect(settings.broker_url, settings.project.broker)
    name = own_name(client, "beat", f"beat@{socket.gethostname()}")  # another may just be leaving
    presence = Presence(client, "beat", name).start()
    beat = Beat(client, deployment, presence)

    def on_signal(number: int, _: FrameType | None) -> None:
        (beat.interrupt if number == signal.SIGHUP else beat.stop)()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    threads = beat.keep_up()
    while beat.run():
        try:
            deployment = load_deployment(load_settings(environ), environ)
            log.info("read the configuration anew")
        except TundishError as error:
            log.error("the new configuration is not used, the old one goes on: %s", error)
        beat.replace(deployment)
    for thread in threads:
        thread.join(2.0)
    presence.stop()
    return 1 if beat.failed else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
