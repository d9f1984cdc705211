"""A process that is started, and asked until it answers."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import urllib3

from bench import memory
from bench.common import cpu_seconds

_LOOK_SECONDS = 0.005
_GIVE_UP_SECONDS = 120.0
_OURS = ("TUNDISH_", "CELERY_", "MINIO_", "REDIS_", "AWS_")


@dataclass(frozen=True, slots=True)
class Started:
    """Seconds until there was an answer, and processor time of all processes until then."""

    seconds: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Process:
    """One that was started at `began`."""

    made: subprocess.Popen[bytes]
    began: float
    log: Path

    def so_far(self) -> Started:
        seconds = time.perf_counter() - self.began
        return Started(seconds, cpu_seconds(self.made.pid) + memory.processor(self.made.pid))


def environment() -> dict[str, str]:
    """That of this process, without what configures Tundish or a peer."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**kept, "PROMETHEUS_PORT": "0"}


@contextlib.contextmanager
def started(command: Sequence[str], environ: Mapping[str, str], folder: str | None = None) -> Iterator[Process]:
    """Run a command in a group of its own, and in a folder, until the block ends."""
    with tempfile.TemporaryDirectory() as room:
        log = Path(room, "log")
        with log.open("wb") as output:
            began = time.perf_counter()
            made = subprocess.Popen(
                command, env=environ, cwd=folder, stdout=output, stderr=output, start_new_session=True
            )
        try:
            yield Process(made, began, log)
        finally:
            made.terminate()
            try:
                made.wait(30)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(made.pid, signal.SIGKILL)
                made.wait()


def until_answer(process: Process, method: str, url: str, status: int) -> Started:
    """Ask until the answer has this status. Raises SystemExit with what the process has said where it has none."""
    headers = {"Content-Type": "application/json"}
    body = b"{}" if method == "POST" else None
    with urllib3.PoolManager(retries=False, timeout=_GIVE_UP_SECONDS) as http:
        while True:
            with contextlib.suppress(urllib3.exceptions.HTTPError):
                if http.request(method, url, body=body, headers=headers).status == status:
                    return process.so_far()
            if time.perf_counter() - process.began > _GIVE_UP_SECONDS or process.made.poll() is not None:
                raise SystemExit(f"{url} was not answered:\n{process.log.read_text(errors='replace')[-3000:]}")
            time.sleep(_LOOK_SECONDS)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
