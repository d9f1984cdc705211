"""Starting a system for integration tests: over a project as it is, with a state folder that is thrown away."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from runtime.harness.system import NoSystem, System, until

START_SECONDS = 120.0
_STOP_SECONDS = 40.0
_OURS = ("TUNDISH_", "CELERY_", "MINIO_", "REDIS_", "AWS_")
_LOG_SHOWN = 4000


@contextlib.contextmanager
def running_system(
    file: Path | str, home: Path, environ: Mapping[str, str], *, model: bool = False
) -> Iterator[System]:
    """Run the project of a functions.yaml until the block ends, with broker and store of its own below `home`.

    What `environ` says of other brokers and stores is left out: a test must not reach them. `model`: wait for the
    embedding model as well, which searches need. Raises NoSystem with the end of the log.
    """
    from runtime.host import leash

    home.mkdir(parents=True, exist_ok=True)
    clean = {name: value for name, value in environ.items() if not name.startswith(_OURS)}
    words = ("up", "-f", str(Path(file).absolute()), "--home", str(home), "--port", "0", "--no-reload")
    python = (sys.executable, "-P", "-m")
    command = [*python, "runtime.host.leash", "--", *python, "runtime.cli.main", *words]
    watched, held = os.pipe()  # it ends with this process, however that one ends
    with (home / "up.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env={**clean, leash.VARIABLE: str(watched)},
            pass_fds=[watched],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    os.close(watched)
    try:
        system = System(home)
        until(lambda: process.poll() is not None or ready(home, model), "the start", START_SECONDS)
        if process.poll() is not None:
            raise NoSystem(f"`tundish up` ended with {process.returncode}:\n{system.log[-_LOG_SHOWN:]}")
        yield system
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(held)


def ready(home: Path, model: bool) -> bool:
    """Whether every part says that it does its work; the embedder only where the model is wanted."""
    from runtime.cli.client import Refused, Unreachable

    try:
        told = System(home).client.call("GET", "/readyz", timeout=5.0).json()
    except Refused as error:
        told = error.problem
    except (NoSystem, Unreachable):
        return False
    checks = told.get("checks", {})
    return bool(checks) and all(one["ready"] for part, one in checks.items() if model or part != "embedder")
