"""The entry module for Celery's own commands: `celery -A runtime.celery_app inspect registered`, Flower, `call`.

Configured by the environment, or by the state folder of a running `tundish up`.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from celery import Celery, signals

from runtime.app import create_app
from runtime.config_load import load_settings
from runtime.deployment import load_deployment


def _create() -> Celery:
    settings = load_settings(os.environ)
    made = create_app(settings)

    def as_worker(sender: str | None = None, **_: Any) -> None:
        """`celery -A runtime.celery_app worker`: only a worker needs the functions themselves."""
        from runtime.celery_worker import equip

        name = sender or f"celery@{socket.gethostname()}"
        equip(made, load_deployment(settings, os.environ), name).presence.start()

    signals.celeryd_init.connect(as_worker, weak=False)
    return made


app = _create()
