"""The entry module for Celery's own commands: `celery -A runtime.celery_app inspect registered`, Flower, `call`.

Configured by the environment, or by the state folder of a running `tundish up`.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals

from runtime import presence
from runtime.app import create_app
from runtime.blobs import StoreBlobs
from runtime.broker import connect
from runtime.config import Settings
from runtime.config_load import load_settings
from runtime.context import Store
from runtime.deployment import load_deployment


def _store(settings: Settings) -> Store:
    from runtime.store import MinioStore  # only for results that are too large for a record

    return MinioStore(settings.store)


def _create() -> Celery:
    settings = load_settings(os.environ)
    made = create_app(settings, blobs=StoreBlobs(lambda: _store(settings)))

    def as_worker(sender: str, instance: Any, **_: Any) -> None:
        """`celery -A runtime.celery_app worker`: only a worker needs the functions themselves."""
        from runtime.celery_worker import equip

        instance.hostname = presence.own_name(connect(settings.broker_url), "worker", sender)
        equip(made, load_deployment(settings, os.environ), instance.hostname)

    signals.celeryd_init.connect(as_worker, weak=False)
    made.set_default()  # Flower asks Celery's default app for results
    return made


app = _create()
