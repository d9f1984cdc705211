"""A whole running system for end-to-end tests: `tundish up` over the project in tests/samples/system."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

SAMPLE = Path(__file__).parent / "samples" / "system"
_OURS = ("TUNDISH_", "CELERY_", "MINIO_", "REDIS_", "AWS_")


def clean_environ(**more: str) -> dict[str, str]:
    """The environment without anything that configures Tundish."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**kept, "PROMETHEUS_PORT": "0", **more}  # tests beside each other would have the same ports


@dataclass
class System:
    """A running system: its URL, its folder, its log, and the command `tundish` aimed at it."""

    url: str
    folder: Path
    home: Path
    process: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def connections(self) -> Mapping[str, str]:
        """CELERY_BROKER_URL, MINIO_ENDPOINT and so on."""
        found: dict[str, str] = json.loads((self.home / "run.json").read_text())["environ"]
        return found

    def tundish(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command against this system."""
        environ = clean_environ(TUNDISH_FILE=str(self.folder / "functions.yaml"), TUNDISH_HOME=str(self.home))
        command = [sys.executable, "-P", "-m", "runtime.cli.main", *words]
        return subprocess.run(
            command, env=environ, input=stdin, capture_output=True, text=True, check=False, timeout=120, cwd=self.folder
        )

    def request(self, method: str, path: str, **options: Any) -> urllib3.BaseHTTPResponse:
        return urllib3.request(method, self.url + path, retries=False, timeout=60.0, **options)

    def pid(self, name: str) -> int:
        """The PID of the child that became ready last under this name (`gateway`, `worker work`, …), 0 before."""
        lines = [line for line in self.log.splitlines() if f"| {name} is ready (pid " in line]
        return int(lines[-1].rpartition("(pid ")[2].rstrip(")")) if lines else 0


def until(condition: Callable[[], Any], what: str, within: float = 60.0) -> Any:
    """Wait for a condition and return what it found."""
    deadline = time.monotonic() + within
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not happen within {within:.0f} s")
        time.sleep(0.05)
    return found


def group_is_gone(group: int) -> bool:
    """Whether nobody lives in this group: a dead process that init has not collected yet (Linux tells) is dead."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    states = set()
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = place.read_text().rpartition(")")[2].split()[:3]
            states |= {state} if int(its_group) == group else set()
    return bool(states) and states <= {"Z", "X"}


@contextlib.contextmanager
def running_system(folder: Path, *flags: str, sample: Path = SAMPLE, **environ: str) -> Iterator[System]:
    """Copy the sample project to `folder` and run it until the block ends; the log is shown when it fails to start."""
    project, home, log_file = folder / "project", folder / "home", folder / "up.log"
    if not project.exists():
        shutil.copytree(sample, project, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-P", "-m", "runtime.cli.main", "up", "--port", "0", "--home", str(home), *flags]
    environ = {"TUNDISH_BACKEND": "torch-fp32", **environ}  # the same vectors everywhere, and nothing is measured
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            command, cwd=project, env=clean_environ(**environ), stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(lambda: "Ready after" in log_file.read_text() or process.poll() is not None, "the start", 120)
        if process.poll() is not None:
            pytest.fail(f"tundish up ended with {process.returncode}:\n{log_file.read_text()}")
        url = json.loads((home / "run.json").read_text())["url"]
        yield System(url, project, home, process, log_file)
    except AssertionError as error:
        lines = log_file.read_text(errors="replace").splitlines()
        told = "\n".join(line for line in lines if " tick" not in line)  # one a second says nothing
        error.add_note(f"The log of tundish up:\n{told[:6000]}\n…\n{told[6000:][-6000:]}")
        raise
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
