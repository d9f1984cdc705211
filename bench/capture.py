"""What capturing the output of functions costs.

Run it with `make bench B=capture`. One invocation is claimed, run and ended in this process, on a real Valkey, with
capture and without it in turn; the rest of the way (HTTP, queue, pool) is left out, so that the difference shows.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench.common import report
from runtime import keys
from runtime.attempts.capture import Capture, life_seconds
from runtime.attempts.output import Output
from runtime.attempts.ports import PortsMaker
from runtime.attempts.task import Runner
from runtime.broker.connection import connect
from runtime.config.load import load_settings
from runtime.deployment.deployment import Deployment, load_deployment
from runtime.host.free_ports import Ports
from runtime.invocations.message import HEADER
from runtime.invocations.submit import Call, submit
from runtime.system import services
from tests.conftest import running

CALLS = 2000
_YAML = """\
version: 1
queues: {q: {concurrency: 1}}
defaults: {queue: q}
functions: {noop: {handler: code.py:noop}, say: {handler: code.py:say}}
"""
_CODE = "def noop():\n    return None\n\ndef say():\n    print('one line')\n"


class _Deaf:
    """Stands in for Capture: nothing is heard."""

    @contextlib.contextmanager
    def attempt(self, task_id: str, function: str, number: int, tenant: str) -> Iterator[Output]:
        yield Output(task_id, function, number, lambda: None)


def seconds(runner: Runner, deployed: Deployment, client: Any, function: str) -> float:
    """How long a worker's side of one invocation takes."""
    task_id = submit(client, deployed, Call(function))
    request = SimpleNamespace(id=task_id, headers={HEADER: 1})
    started = time.perf_counter()
    runner.run(function, request, (), {})
    return time.perf_counter() - started


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "functions.yaml").write_text(_YAML)
        (home / "code.py").write_text(_CODE)
        service, url = services.valkey(home, Ports(home), services.load_credentials(home), durability="fast")
        with running(service):
            environ = {**os.environ, "CELERY_BROKER_URL": url}
            deployed = load_deployment(load_settings(environ, file=home / "functions.yaml"), environ)
            client = connect(url)
            hearing, deaf = (Runner(client, deployed, "bench", PortsMaker(client, deployed)) for _ in range(2))
            deaf._invoker._capture = _Deaf()  # type: ignore[assignment]
            measured = {}
            with Path(os.devnull).open("w") as away, contextlib.redirect_stdout(away):
                for function in ("noop", "say"):
                    pairs = [
                        [seconds(one, deployed, client, function) for one in (hearing, deaf)] for _ in range(CALLS)
                    ]
                    measured[function] = list(zip(*pairs[50:], strict=True))
                capture = Capture(client, life_seconds(deployed.settings))
                with capture.attempt("id", "f", 1):
                    kept, _, dropped = (microseconds(20) for _ in range(3))  # 2,000 lines are kept
                capture.close()
            assert client.xlen(keys.LOGS) >= CALLS, "nothing was heard"
    for function, (ours, theirs) in measured.items():
        report(f"attempt_of_{function}", ours, peer=theirs, peer_name="the same, not captured")
    report("print_kept", kept, unit="µs")
    report("print_dropped", dropped, unit="µs")


def microseconds(times: int) -> list[float]:
    """One print to nowhere, over `times` looks at a hundred of them."""
    found = []
    for _ in range(times):
        started = time.perf_counter()
        for _ in range(100):
            print("a line of forty characters, more or less")
        found.append((time.perf_counter() - started) * 1e4)
    return found


if __name__ == "__main__":
    main()
