"""A broker of one test's own, that can be killed and comes back with its data at the same address."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.host.free_ports import Ports
from runtime.system import services


class Broker:
    """Valkey that writes to disk before it answers."""

    def __init__(self, home: Path, data: Path | None = None) -> None:
        """`data`: a copy of another one's files, to begin with."""
        home.mkdir()
        if data is not None:
            shutil.copytree(data, home / "valkey")
        self._service, self.url = services.valkey(home, Ports(home), services.load_credentials(home))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None

    def start(self, **settings: object) -> None:
        more = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        self._process = subprocess.Popen(
            [*self._service.argv, *more],
            env=dict(self._service.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 30
        while not self._service.ready():
            assert self._process.poll() is None, "the broker ended"
            assert time.monotonic() < deadline, "the broker did not start"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def own_broker(home: Path, data: Path | None = None) -> Iterator[Broker]:
    broker = Broker(home, data)
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
