"""Broker, store, gateway and workers as a cost curve needs them: just so many as it asks for, and no supervisor."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import redis

from bench.channel import wait
from bench.common import ROOT, cpu_seconds
from runtime.broker import presence
from runtime.broker.connection import connect
from runtime.config import snapshot
from runtime.config.load import load_settings
from runtime.config.settings import Settings
from runtime.deployment.deployment import Deployment, build_deployment, describe_project
from runtime.host import leash
from runtime.host.free_ports import Ports
from runtime.system import parts, services
from tests.workers import kill

_QUIET = {"PROMETHEUS_PORT": "0", "HF_HUB_OFFLINE": "1"}


class House:
    """Everything that runs. It ends with the block that made it, and with this process, however that ends."""

    def __init__(self, folder: Path, *, store: bool) -> None:
        self.folder, self._processes = folder, list[subprocess.Popen[bytes]]()
        self._leash, self._leash_end = os.pipe()
        ports, credentials = Ports(folder), services.load_credentials(folder)
        self.port = ports.take("gateway")
        broker, self.url = services.valkey(folder, ports, credentials)
        self.environ: dict[str, str] = {
            **os.environ,
            **_QUIET,
            "PYTHONPATH": str(ROOT),
            "CELERY_BROKER_URL": self.url,
            "TUNDISH_FILE": str(folder / "functions.yaml"),
            "TUNDISH_HOME": str(folder),
            "TUNDISH_PORT": str(self.port),
            leash.VARIABLE: str(self._leash),
        }
        self._serve(broker)
        if store:
            weed, place = services.seaweedfs(folder, ports, credentials)
            self.environ |= {
                "MINIO_ENDPOINT": place.endpoint,
                "MINIO_ACCESS_KEY": place.access_key,
                "MINIO_SECRET_KEY": place.secret_key,
            }
            self._serve(weed)
        self.client: redis.Redis = connect(self.url)

    def deploy(self, functions: str, code: Mapping[str, str]) -> Deployment:
        """Have this functions.yaml, and files by name, run by whatever is started from now on."""
        for name, text in code.items():
            (self.folder / name).write_text(text)
        (self.folder / "functions.yaml").write_text(functions)
        self.environ.pop("TUNDISH_DESCRIPTION", None)  # else the settings are those that were deployed before
        settings, told = self.settings(), self.folder / "functions.json"
        described = describe_project(settings, self.environ)
        snapshot.prepare(told, settings.project, described)
        snapshot.commit(told)
        self.environ["TUNDISH_DESCRIPTION"] = str(told)
        return build_deployment(settings, described)

    def settings(self) -> Settings:
        return load_settings(self.environ)

    def gateway(self) -> subprocess.Popen[bytes]:
        """A gateway that answers."""
        process = self.start("-m", "gateway")
        settings = self.settings()
        wait(lambda: parts.gateway_answers(settings))
        return process

    def worker(self, name: str) -> subprocess.Popen[bytes]:
        """A worker of the queue `q`; `ready` waits for it."""
        return self.start("-m", "runtime.worker", "-Q", "q", "-n", f"{name}@bench")

    def ready(self, *workers: subprocess.Popen[bytes]) -> None:
        wanted = {process.pid for process in workers}
        wait(lambda: wanted <= {one.pid for one in presence.read(self.client) if one.ready})

    def start(self, *words: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """A process of Python's; `environ` is all that it gets, instead of what everything else here gets."""
        with (self.folder / "processes.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-P", *words],
                env=self.environ if environ is None else {**environ, leash.VARIABLE: str(self._leash)},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(self._leash,),
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def stop(self, *processes: subprocess.Popen[bytes]) -> None:
        """Have processes end in order; what they hold goes back to where it was."""
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=60)
            kill(process)
            self._processes.remove(process)

    def spent(self) -> float:
        """Seconds of processor time of all that runs here, so far."""
        return cpu_seconds(os.getpid())

    def close(self) -> None:
        self.client.close()
        for process in reversed(self._processes):
            kill(process)
        for end in (self._leash, self._leash_end):
            os.close(end)

    def _serve(self, service: services.Service) -> None:
        process = self.start("-m", "runtime.host.leash", "--", *service.argv, environ=service.environ)
        wait(lambda: service.ready() or process.poll() is not None)
        if process.poll() is not None:
            raise SystemExit(f"{service.name} did not start: {(self.folder / 'processes.log').read_text()[-2000:]}")


@contextlib.contextmanager
def house(*, store: bool = False, folder: Path | None = None) -> Iterator[House]:
    """A broker that writes to disk before it answers, and a store where one is asked for. Nothing is deployed yet."""
    with tempfile.TemporaryDirectory(prefix="tundish-curves-", dir=folder) as made:
        here = House(Path(made), store=store)
        try:
            yield here
        finally:
            here.close()


def seconds(step: Callable[[], object]) -> float:
    """How long a step takes."""
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
