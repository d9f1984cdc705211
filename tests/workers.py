"""Real workers for tests: started as processes, ended by pid."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import redis

from runtime import keys
from runtime.broker import presence
from runtime.broker.connection import connect
from runtime.config import snapshot
from runtime.config.load import load_settings
from runtime.deployment.deployment import Deployment, build_deployment, describe_project, described, load_deployment
from runtime.deployment.describe import describe
from runtime.invocations.invocation import Invocation, read
from runtime.worker.reaper import Upkeep

SAMPLES = Path(__file__).parent / "samples"
T = TypeVar("T")


def until(check: Callable[[], T | None], within: float = 30.0) -> T:
    """What `check` answers as soon as it is true; fails after `within` seconds."""
    give_up = time.monotonic() + within
    while True:
        found = check()
        if found:
            return found
        if time.monotonic() > give_up:
            raise AssertionError(f"nothing after {within} s: {check}")
        time.sleep(0.02)


def ended(client: redis.Redis, task_id: str, within: float = 30.0) -> Invocation:
    """The record of an invocation once it has ended."""

    def look() -> Invocation | None:
        found = read(client, task_id)
        return found if found and found.terminal else None

    return until(look, within)


def known(client: redis.Redis, task_id: str) -> Invocation:
    """The record of an invocation, which must be there."""
    found = read(client, task_id)
    assert found is not None, f"{task_id} is not recorded"
    return found


def descendants(client: redis.Redis, root: str) -> list[str]:
    """The ids of all that came of an invocation."""
    found: Any = client.zrange(keys.tree(root), 0, -1)
    return [task_id.decode() for task_id in found]


def queued(client: redis.Redis) -> set[str]:
    """The invocations that wait in any queue."""
    names: Any = client.smembers(keys.QUEUED)
    members: list[Any] = [client.zrange(name, 0, -1) for name in names]
    return {task_id.decode() for ids in members for task_id in ids}


def environment(broker_url: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a process of a test gets to know of its surroundings."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    own = {"CELERY_BROKER_URL": broker_url, "HF_HUB_OFFLINE": "1", "TUNDISH_BACKEND": "torch-fp32"}
    own["PROMETHEUS_PORT"] = "0"  # tests beside each other would have the same ones
    return {**kept, **own, **(extra or {})}


def deployment(file: Path, broker_url: str, extra: Mapping[str, str] | None = None) -> Deployment:
    environ = environment(broker_url, extra)
    settings = load_settings(environ, file=file)
    if settings.description is None and settings.root.is_relative_to(SAMPLES):
        return build_deployment(settings, describe_project(settings, environ, ask=_described_once))
    return load_deployment(settings, environ)


def _described_once(
    root: Path, functions: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str], python: str
) -> dict[str, dict[str, Any]]:
    """Samples do not change, and many tests are about the same one."""
    return copy.deepcopy(_describe(root, json.dumps(functions), tuple(sorted(environ.items())), python))


@cache
def _describe(
    root: Path, functions: str, environ: tuple[tuple[str, str], ...], python: str
) -> dict[str, dict[str, Any]]:
    return describe(root, json.loads(functions), dict(environ), python)


def told(folder: Path, file: Path, broker_url: str, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a process over a sample: like those of `tundish up` it learns from a file (in `folder`) what
    the functions take. A child that imports them all, for each of some hundred workers, is a minute of a processor.
    Nothing is told of other projects: who runs those looks at them."""
    if (extra and "TUNDISH_DESCRIPTION" in extra) or not file.is_relative_to(SAMPLES):
        return environment(broker_url, extra)
    made, path = deployment(file, broker_url, extra), folder / "functions.json"
    snapshot.prepare(path, made.settings.project, described(made))
    snapshot.commit(path)
    return environment(broker_url, {**(extra or {}), "TUNDISH_DESCRIPTION": str(path)})


@contextlib.contextmanager
def worker(
    file: Path,
    broker_url: str,
    queue: str,
    *options: str,
    name: str = "",
    environ: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of one queue that is ready; killed at the end, with all its children."""
    node = name or f"{queue}@test"
    command = [python, "-P", "-m", "runtime.worker", "-Q", queue, "-n", node, "-f", str(file), *options]
    with tempfile.TemporaryDirectory() as folder:
        # Options are for a worker that somebody starts by hand: there functions.yaml is read.
        own = environment(broker_url, environ) if options else told(Path(folder), file, broker_url, environ)
        process = subprocess.Popen(command, env=own, start_new_session=True)
        client = connect(broker_url)
        try:
            until(lambda: any(p.pid == process.pid and p.ready for p in presence.read(client)), 60)
            yield process
        finally:
            kill(process)
            client.close()


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL a process and its whole group; it returns when none of them is left.

    A child that dies a moment later still has its parent's sockets, and a blocking pop on one of them takes messages.
    """
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not _members(process.pid))


def _members(group: int) -> list[int]:
    """The processes of a group that have not ended. One counts as dead (Z) when its first thread is: the others may
    take some time, and until then its sockets are open."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of = path.read_text().rpartition(")")[2].split()[:3]
            if int(of) == group and (state != "Z" or len(list((path.parent / "task").iterdir())) > 1):
                found.append(int(path.parent.name))
    return found


@contextlib.contextmanager
def upkeep(client: redis.Redis, deployed: Deployment) -> Iterator[Upkeep]:
    """The mover and the reaper, as the beat process runs them."""
    stop = threading.Event()
    work = Upkeep(client, deployed)
    thread = threading.Thread(target=work.run, args=(stop,))
    thread.start()
    try:
        yield work
    finally:
        stop.set()
        thread.join()
