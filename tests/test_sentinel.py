"""A broker behind Redis Sentinel: how its address is read, and what a failover costs. Real servers, real Sentinels."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime.broker import connection as broker
from runtime.config.broker import BrokerSpec
from runtime.deployment.deployment import Deployment
from runtime.errors import BrokerDown, ConfigError
from runtime.invocations.invocation import read
from runtime.invocations.submit import Call, accept
from runtime.sentinel import BadAddress, Sentinels, parse
from runtime.worker.app import create_app
from tests.sentinels import MASTER, Trio, trio
from tests.workers import SAMPLES, deployment, ended, until, upkeep, worker

ENOUGH = 25
"""Calls that must be accepted before and after the failover."""


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("sentinel://a", Sentinels((("a", 26379),))),
        (
            "sentinel://:p%40ss@a:1,b:2,[::1]/3?master=m",
            Sentinels((("a", 1), ("b", 2), ("::1", 26379)), "m", 3, None, "p@ss"),
        ),
        (
            "sentinel://u:p@a:1;sentinel://b:2;sentinel://c:3/4?master_name=m&sentinel_password=s",
            Sentinels((("a", 1), ("b", 2), ("c", 3)), "m", 4, "u", "p", {"password": "s"}),
        ),
    ],
    ids=["one", "commas", "semicolons"],
)
def test_an_address(url: str, found: Sentinels) -> None:
    assert parse(url) == found
    assert parse(f"{found.celery_url()}?master={found.master}").hosts == found.hosts, "Celery's way to write it"
    assert found.celery_options()["master_name"] == found.master


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sentinel:///0", "no Sentinel is named"),
        ("sentinel://a:x/0", "cannot be read"),
        ("sentinel://a/zero", "cannot be read"),
        ("sentinel://a/0?masterr=x", "masterr is not known"),
        ("sentinel://a;redis://b", "redis:// stands where"),
        ("sentinel://a/0?ssl_ca_certs=x", "TLS is not supported behind Sentinel"),
        ("rediss+sentinel://a/0", "TLS is not supported behind Sentinel"),
        ("sentinels://a/0", "TLS is not supported behind Sentinel"),
        ("redis+sentinel://a/0", "write sentinel://"),
    ],
    ids=["nobody", "port", "database", "option", "scheme", "option of TLS", "scheme of TLS", "another one", "no TLS"],
)
def test_a_bad_address_says_how_to_write_it(url: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match=said):
        parse(url)
    with pytest.raises(ConfigError, match=rf"CELERY_BROKER_URL.*{said}"):
        deployment(SAMPLES / "life" / "functions.yaml", url)


def test_people_read_neither_user_nor_password() -> None:
    assert broker.place("sentinel://u:secret@a:1,b/0?master=m") == "m behind a:1, b:26379"
    assert "secret" not in repr(parse("sentinel://u:secret@a/0?sentinel_password=secret"))


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trio]:
    with trio(tmp_path_factory.mktemp("sentinel") / "servers") as made:
        yield made


@pytest.fixture
def project(servers: Trio, tmp_path: Path) -> Deployment:
    file = tmp_path / "functions.yaml"
    file.write_text(
        "version: 1\nbroker: {replicas: 1, pool: 20}\nqueues: {lean: {}, stock: {channel: stock}}\nfunctions:\n"
        "  note: {handler: life.py:note, queue: lean}\n  other: {handler: life.py:note, queue: stock}\n"
    )
    (tmp_path / "life.py").write_text((SAMPLES / "life" / "life.py").read_text())
    return deployment(file, servers.url)


class Caller:
    """Calls functions, over and over, until told to stop; `accepted` are those that it was told are accepted."""

    def __init__(self, deployed: Deployment, path: Path) -> None:
        self._deployed, self._path = deployed, path
        self._client = broker.connect(deployed.settings.broker_url, deployed.settings.project.broker)
        self.accepted: list[str] = []
        self.refused = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        number = 0
        while not self._over.wait(0.01):
            number += 1
            task_id = f"call-{number}"
            call = Call(("note", "other")[number % 2], {"path": str(self._path), "text": task_id}, id=task_id)
            try:
                accept(self._client, self._deployed, call)
            except BrokerDown:
                self.refused += 1
            else:
                self.accepted.append(task_id)


def test_what_was_accepted_survives_the_death_of_the_master(servers: Trio, project: Deployment, tmp_path: Path) -> None:
    file, notes, first = tmp_path / "functions.yaml", tmp_path / "notes", servers.master
    client = broker.connect(servers.url, BrokerSpec())
    with (
        worker(file, servers.url, "lean"),
        worker(file, servers.url, "stock"),
        upkeep(client, project),
        Caller(project, notes) as caller,
    ):
        until(lambda: len(caller.accepted) >= ENOUGH)
        servers.kill(first)
        until(lambda: servers.master not in (0, first), 60)
        before = len(caller.accepted)
        until(lambda: len(caller.accepted) >= before + ENOUGH, 60)
        ids = list(caller.accepted)
        found = [ended(client, task_id, 90) for task_id in ids]
    assert {one.state for one in found} == {"succeeded"}
    assert set(ids) <= set(notes.read_text().split()), "each has been run"
    assert all(read(client, task_id) for task_id in ids), "and nothing is forgotten"
    assert client.role()[0] == b"master"
    client.close()


def test_every_kind_of_client_finds_the_master(servers: Trio, project: Deployment) -> None:
    """After the failover above."""

    async def ask(spec: BrokerSpec) -> Any:
        client = broker.connect_async(servers.url, spec)
        try:
            return (await client.info("replication"))["role"]
        finally:
            await client.aclose()

    assert asyncio.run(ask(BrokerSpec())) == asyncio.run(ask(BrokerSpec(pool=2))) == "master"
    app = create_app(project.settings)
    with app.connection_for_write() as connection:
        assert connection.default_channel.client.info("replication")["role"] == "master"
    assert app.AsyncResult("call-1").status == "SUCCESS"
    assert app.AsyncResult("nobody").status == "PENDING", "Celery's own entries are looked for behind Sentinel, too"


def test_without_a_sentinel_the_broker_is_down(servers: Trio) -> None:
    client = broker.connect(f"sentinel://127.0.0.1:1/0?master={MASTER}")
    with pytest.raises(BrokerDown), broker.translated():
        client.ping()
    wrong = broker.connect(servers.url.replace(MASTER, "nobody"))
    with pytest.raises(redis.ConnectionError, match="nobody"):
        wrong.ping()
