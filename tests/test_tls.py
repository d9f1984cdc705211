"""TLS to broker and store: with an authority of one's own, and never without a check of who answers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from runtime.broker import connection as broker
from runtime.config.settings import StoreSettings
from runtime.errors import BrokerDown, StoreDown
from runtime.invocations.submit import Call, submit
from runtime.store.port import MinioStore
from tests import certificates
from tests.certificates import Certificates
from tests.tls_front import front
from tests.workers import deployment, ended, upkeep, worker


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(made: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(made.authority))


@pytest.fixture
def secure_url(made: Certificates, broker_url: str, redis_client: redis.Redis) -> Iterator[str]:
    """A real Valkey behind a program that speaks TLS for it: that of the wheel is built without."""
    parts = urlsplit(broker_url)
    with front(made, (parts.hostname or "", parts.port or 0)) as port:
        yield f"rediss://:{parts.password}@127.0.0.1:{port}/0"


def test_a_broker_is_trusted_by_the_authority_that_is_named(secure_url: str, made: Certificates) -> None:
    named = f"{secure_url}?ssl_ca_certs={made.authority}"
    assert broker.connect(named).ping()

    async def ping() -> bool:
        client = broker.connect_async(named)
        try:
            return bool(await client.ping())
        finally:
            await client.aclose()

    assert asyncio.run(ping())


def test_a_broker_whose_certificate_nobody_vouches_for_gets_no_password(secure_url: str) -> None:
    with pytest.raises(BrokerDown) as error, broker.translated():
        broker.connect(secure_url).ping()
    assert "certificate is not trusted" in str(error.value)
    assert str(urlsplit(secure_url).password) not in str(error.value)


@pytest.mark.parametrize("channel", ["lean", "stock"])
def test_a_worker_over_tls(secure_url: str, made: Certificates, trusted: None, tmp_path: Path, channel: str) -> None:
    file = tmp_path / "functions.yaml"
    (tmp_path / "mine.py").write_text("def double(n: int) -> int:\n    return 2 * n\n")
    queues = f"{{q: {{channel: {channel}}}}}"
    file.write_text(f"version: 1\nqueues: {queues}\nfunctions: {{double: {{handler: mine.py:double, queue: q}}}}\n")
    deployed = deployment(file, secure_url)
    client = broker.connect(secure_url)
    trust = {"SSL_CERT_FILE": str(made.authority)}
    with upkeep(client, deployed), worker(file, secure_url, "q", environ=trust):
        record = ended(client, submit(client, deployed, Call("double", {"n": 21})))
    assert (record.state, record.result_json) == ("succeeded", b"42")
    client.close()


def test_a_store_over_tls(store_settings: StoreSettings, made: Certificates, trusted: None) -> None:
    host, _, port = store_settings.endpoint.partition(":")
    with front(made, (host, int(port))) as secured:
        endpoint = {"endpoint": f"127.0.0.1:{secured}", "secure": True}
        store = MinioStore(store_settings.model_copy(update=endpoint))
        store.ensure_bucket("secured")
        store.put("secured", "key", b"data")
        assert store.get("secured", "key").data == b"data"


def test_a_store_whose_certificate_nobody_vouches_for(store_settings: StoreSettings, made: Certificates) -> None:
    host, _, port = store_settings.endpoint.partition(":")
    with front(made, (host, int(port))) as secured:
        endpoint = {"endpoint": f"127.0.0.1:{secured}", "secure": True}
        with pytest.raises(StoreDown) as error:
            MinioStore(store_settings.model_copy(update=endpoint)).ping()
    assert store_settings.secret_key not in str(error.value)
    assert "certificate" in str(error.value)
