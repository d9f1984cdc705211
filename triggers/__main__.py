"""`python -m triggers`: watches the buckets of functions.yaml. SIGHUP reads everything anew, SIGTERM ends it."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from types import FrameType

from runtime.broker import connection as broker
from runtime.broker.presence import Presence, own_name
from runtime.config.load import load_settings
from runtime.deployment.deployment import load_deployment
from runtime.errors import TundishError
from runtime.host import leash
from runtime.store.port import MinioStore
from runtime.telemetry import logs
from triggers.service import Triggers

CHECK_SECONDS = 0.5


def main(environ: Mapping[str, str]) -> int:
    """Serve until a signal. Returns the exit code: 0 asked to end, 1 something broke, 2 the configuration is wrong."""
    leash.hold(environ)
    stop, reload, wake = threading.Event(), threading.Event(), threading.Event()

    def on_signal(number: int, _: FrameType | None) -> None:
        (reload if number == signal.SIGHUP else stop).set()
        wake.set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        settings = load_settings(environ)
        deployment = load_deployment(settings, environ)
    except TundishError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    log = logs.setup_for(settings, "tundish.triggers", environ, process="triggers")
    client = broker.connect(settings.broker_url, settings.project.broker)
    name = own_name(client, "triggers", f"triggers@{socket.gethostname()}")  # another may just be leaving
    presence = Presence(client, "triggers", name).start()
    service = Triggers(client, MinioStore(settings.store), deployment)
    service.start()
    try:
        while not stop.is_set() and not service.failed.is_set():
            presence.set(ready=not service.trouble, detail=service.trouble)
            wake.wait(CHECK_SECONDS)
            wake.clear()
            if not reload.is_set():
                continue
            reload.clear()
            try:
                settings = load_settings(environ)
                deployment = load_deployment(settings, environ)
            except TundishError as error:
                log.error("the new configuration is not used, the old one goes on: %s", error)
                continue
            service.stop()
            service = Triggers(client, MinioStore(settings.store), deployment)
            service.start()
            log.info("read the configuration anew")
    finally:
        service.stop(within=1.0)
        presence.stop()
    return 1 if service.failed.is_set() else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
