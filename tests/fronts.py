"""A gateway's real process, which can be killed and started again at the same address."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3

from tests.workers import environment, kill, until


class Front:
    """A gateway's process at one address, started as often as wanted."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self.url = f"http://127.0.0.1:{environ['TUNDISH_PORT']}"
        self._process: subprocess.Popen[bytes] | None = None
        self._http = urllib3.PoolManager(retries=False, maxsize=32)

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gateway"], env=dict(self._environ), start_new_session=True
        )
        until(self._answers)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process:
            kill(self._process)

    def send(self, function: str, **arguments: Any) -> str:
        """The id of a call that was accepted."""
        answer = self._http.request("POST", f"{self.url}/async-function/{function}", json=arguments)
        assert answer.status == 202, answer.data
        return str(answer.json()["task_id"])

    def state(self, task_id: str) -> str:
        answer = self._http.request("GET", f"{self.url}/api/v1/tasks/task/{task_id}")
        assert answer.status == 200, answer.data
        return str(answer.json()["state"])

    def waiting(self) -> int:
        """Calls in its outbox."""
        text = self._http.request("GET", f"{self.url}/metrics").data.decode()
        (line,) = [line for line in text.splitlines() if line.startswith("tundish_outbox_calls ")]
        return int(float(line.split()[1]))

    def _answers(self) -> bool:
        with contextlib.suppress(urllib3.exceptions.HTTPError):
            return self._http.request("GET", f"{self.url}/healthz").status == 200
        return False


@contextlib.contextmanager
def front(file: Path, broker_url: str) -> Iterator[Front]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    made = Front(environment(broker_url, {"TUNDISH_FILE": str(file), "TUNDISH_PORT": str(port)}))
    made.start()
    try:
        yield made
    finally:
        made.kill()
