"""The entry module for Celery's own commands: `celery -A runtime.celery_app inspect registered`, Flower, `call`.

Configured by the environment, or by the state folder of a running `tundish up`.
"""

from __future__ import annotations

import os
from typing import Any

from celery import Celery, signals

from runtime.broker import presence
from runtime.broker.connection import connect
from runtime.config.load import load_settings
from runtime.config.settings import Settings
from runtime.context import Store
from runtime.deployment.deployment import load_deployment
from runtime.invocations.blobs import StoreBlobs
from runtime.worker.app import create_app


def _store(settings: Settings) -> Store:
    from runtime.store.port import MinioStore  # only for results that are too large for a record

    return MinioStore(settings.store)


def _create() -> Celery:
    settings = load_settings(os.environ)
    made = create_app(settings, blobs=StoreBlobs(lambda: _store(settings)))

    def as_worker(sender: str, instance: Any, **_: Any) -> None:
        """`celery -A runtime.celery_app worker`: only a worker needs the functions themselves."""
        from runtime.worker.celery_worker import equip

        instance.hostname = presence.own_name(connect(settings.broker_url), "worker", sender)
        equip(made, load_deployment(settings, os.environ), instance.hostname)

    signals.celeryd_init.connect(as_worker, weak=False)
    made.set_default()  # Flower asks Celery's default app for results
    return made


app = _create()
