"""What tenants cost: counting, lists of their own and limits, each against a broker that does not count.

Run it with `make bench B=tenants`. One client accepts, claims and ends calls in turn, a call of each kind after the
other; the peer is the same scripts without the counting. Memory is that of the broker, for each recorded call.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis

from bench.common import report
from bench.keyspace import used_memory
from runtime.attempts.attempt import claim, finish
from runtime.broker import scripts
from runtime.broker.connection import connect
from runtime.config.settings import Function, Project, Queue, Settings
from runtime.config.tenants import TenantSpec
from runtime.deployment.deployment import Deployed, Deployment
from runtime.host.free_ports import Ports
from runtime.invocations.submit import Call, accept
from runtime.system import services

ROUNDS = 4000
RECORDED = 5000
_COUNTING = "local function use(tenant, what, amount, now)\n"
_MUCH = TenantSpec.model_validate(
    {"rate": "1000000/s", "key_rate": "1000000/s", "quota": {"calls": 10**9, "seconds": 10**9}}
)
KINDS: Mapping[str, Mapping[str, str]] = {
    "counted": {},
    "of_a_tenant": {"tenant": "acme"},
    "within_limits": {"tenant": "limited", "caller": "key"},
}


@contextlib.contextmanager
def broker(home: Path) -> Iterator[tuple[redis.Redis, str]]:
    """A Valkey of its own."""
    service, url = services.valkey(home, Ports(home), services.load_credentials(home), durability="fast")
    process = subprocess.Popen(service.argv, env=dict(service.environ), cwd=service.folder, stdout=subprocess.DEVNULL)
    try:
        while not service.ready():
            time.sleep(0.05)
        with contextlib.closing(connect(url)) as client:
            yield client, url
    finally:
        process.terminate()
        process.wait()


def deployment(home: Path, url: str) -> Deployment:
    spec = Function(name="noop", handler="noop.py:noop")
    project = Project(queues={"default": Queue()}, functions={"noop": spec}, tenants={"limited": _MUCH})
    made = Settings(project=project, file=home / "functions.yaml", home=home, broker_url=url)
    return Deployment(made, {"noop": Deployed(spec)})


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, broker(Path(folder)) as (client, url):
        deployed = deployment(Path(folder), url)
        counting: Any = scripts.source
        texts = {name: counting(name) for name in ("submit", "claim", "finish")}
        quiet = {
            name: text.replace(_COUNTING, f"{_COUNTING}  if true then return end\n") for name, text in texts.items()
        }
        times: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for kind, more in {"uncounted": {}, **KINDS}.items():
                scripts.source = (quiet if kind == "uncounted" else texts).__getitem__  # type: ignore[assignment]
                began = time.perf_counter()
                call(client, deployed, more)
                times.setdefault(kind, []).append(time.perf_counter() - began)
                client.rpop("default")
        scripts.source = counting
        for kind in KINDS:
            report(f"call_{kind}", times[kind], peer=times["uncounted"], peer_name="the same without counting")
        sizes = {}
        for kind in ("counted", "of_a_tenant"):
            client.execute_command("FLUSHALL", "SYNC")  # type: ignore[no-untyped-call]
            before = used_memory(client)
            for _ in range(RECORDED):
                accept(client, deployed, Call("noop", **KINDS[kind]))  # type: ignore[arg-type]
            sizes[kind] = (used_memory(client) - before) / RECORDED
        report("bytes_of_a_call_of_a_tenant", [sizes["of_a_tenant"]], "bytes", [sizes["counted"]], "of the default one")


def call(client: redis.Redis, deployed: Deployment, more: Mapping[str, str]) -> None:
    """Accept, claim and end one call."""
    task_id = accept(client, deployed, Call("noop", **more)).id  # type: ignore[arg-type]
    attempt = claim(client, task_id, "bench")
    if isinstance(attempt, str):
        raise SystemExit(f"the call was not run: {attempt}")
    finish(client, deployed.find("noop").spec, attempt, "succeeded", {"result": "null"})


if __name__ == "__main__":
    main()
