"""What runs beside `tundish up` in the storm: the store, so that the way of its notifications can be disturbed, and
a second process of triggers, which shares the work of the first."""

from __future__ import annotations

import contextlib
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.host.free_ports import Ports
from runtime.system import services
from tests.chaos.buckets.kept import Kept
from tests.system import System, clean_environ

START_SECONDS = 60.0
STORE_AWAY = (0.2, 6.0)
TRIGGERS_AWAY = (0.2, 1.0)


class Store:
    """SeaweedFS that comes back with its data."""

    def __init__(self, home: Path, events_url: str, seed: int) -> None:
        credentials = services.load_credentials(home)
        self._service, self.settings = services.seaweedfs(home, Ports(home), credentials, events_url=events_url)
        self._token = credentials.event_token
        self._kept = Kept(
            self._service.argv,
            self._service.environ,
            self._service.folder,
            home / "store.log",
            STORE_AWAY,
            random.Random(seed),
            self._service.litter,
        )
        self.kill = self._kept.kill

    @property
    def environ(self) -> dict[str, str]:
        """What makes `tundish up` use this store."""
        return {
            "MINIO_ENDPOINT": self.settings.endpoint,
            "MINIO_ACCESS_KEY": self.settings.access_key,
            "MINIO_SECRET_KEY": self.settings.secret_key,
            "TUNDISH_EVENT_TOKEN": self._token,
        }

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        with self._kept.running():
            give_up = time.monotonic() + START_SECONDS
            while not self._service.ready():
                if time.monotonic() > give_up:
                    raise AssertionError(f"the store did not start:\n{self._kept.log.read_text()[-4000:]}")
                time.sleep(0.1)
            yield


def second_triggers(system: System, folder: Path, seed: int) -> Kept:
    environ = {**system.connections, "TUNDISH_FILE": str(system.folder / "functions.yaml"), "TUNDISH_HOME": str(folder)}
    return Kept(
        (sys.executable, "-P", "-m", "triggers"),
        clean_environ(**environ),
        system.folder,
        folder.with_suffix(".log"),
        TRIGGERS_AWAY,
        random.Random(seed),
    )
