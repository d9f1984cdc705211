"""The embedded broker and store: closed to others, durable, and the same at the next start."""

from __future__ import annotations

import io
import json
import random
import socket
import stat
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import redis
import urllib3
from minio import Minio

from runtime.broker import connection as broker
from runtime.config.settings import StoreSettings
from runtime.errors import ServiceFailed
from runtime.host.free_ports import Ports, listening
from runtime.system import services
from tests.conftest import running


def client_of(store: StoreSettings) -> Minio:
    return Minio(store.endpoint, store.access_key, store.secret_key, secure=False, region=store.region)


def test_the_broker_never_evicts_and_wants_a_password(broker_url: str, redis_client: redis.Redis) -> None:
    assert redis_client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert redis_client.config_get("appendonly") == {"appendonly": "yes"}
    bare = "redis://" + broker_url.split("@")[1]
    assert not services.broker_answers(bare)


def test_the_store_signs_and_refuses_strangers(store_settings: StoreSettings) -> None:
    assert services.store_answers(store_settings)
    assert not services.store_answers(store_settings.model_copy(update={"secret_key": "wrong-secret"}))


def test_the_ports_behind_s3_are_closed_to_strangers(
    services_home: Path, store_settings: StoreSettings, service_ports: Ports
) -> None:
    service_ports.save()
    ports = json.loads((services_home / "ports.json").read_text())
    for name in ("filer.port", "volume.port"):
        answer = urllib3.request("GET", f"http://127.0.0.1:{ports[name]}/buckets/", retries=False)
        assert answer.status == 401


def test_data_survives_a_restart_and_lost_credentials(tmp_path: Path) -> None:
    """In a folder as people have them. The credentials are the same after a restart, and others when they were lost."""
    home = tmp_path / 'Bärbel\'s "Öfen" 鋼'
    home.mkdir()
    seen = []
    for turn in range(3):
        if turn == 2:
            (home / "credentials.json").unlink()
        credentials = services.load_credentials(home)
        ports = Ports(home)
        valkey, url = services.valkey(home, ports, credentials)
        weed, store = services.seaweedfs(home, ports, credentials)
        ports.save()
        seen.append((credentials, url, store.endpoint))
        with running(valkey), running(weed):
            client, s3 = broker.connect(url), client_of(store)
            if turn == 0:
                s3.make_bucket("kept")
                s3.put_object("kept", "a b+ü.txt", io.BytesIO(b"molten"), 6)
                client.set("kept", "steel")
                assert client.config_get("appendfsync") == {"appendfsync": "always"}
            assert client.get("kept") == b"steel"
            assert s3.get_object("kept", "a b+ü.txt").read() == b"molten"
    assert seen[0] == seen[1]
    assert not {*asdict(seen[0][0]).values()} & {*asdict(seen[2][0]).values()}


def test_secrets_are_private_and_never_arguments(tmp_path: Path) -> None:
    credentials = services.load_credentials(tmp_path)
    ports = Ports(tmp_path)
    commands = [
        services.valkey(tmp_path, ports, credentials)[0],
        services.seaweedfs(tmp_path, ports, credentials, events_url="http://127.0.0.1:1/x")[0],
    ]
    words = " ".join(word for command in commands for word in command.argv)
    for secret in (credentials.broker_password, credentials.store_secret_key, credentials.event_token):
        assert secret not in words
        assert secret not in repr(commands)
        assert secret not in repr(credentials)
    assert "-master.telemetry=false" in commands[1].argv
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    for path in tmp_path.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_ports_are_free_and_never_given_twice(tmp_path: Path) -> None:
    ports = Ports(tmp_path)
    first = ports.take("one")
    assert len({first} | {ports.take(f"other{i}") for i in range(50)}) == 51
    pair = ports.take("pair", and_above=10_000)
    assert ports.take("pair", and_above=10_000) != pair
    ports.save()
    del ports
    assert Ports(tmp_path).take("one") == first
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", first))
        squatter.listen()
        assert listening(first)
        assert Ports(tmp_path).take("one") != first


def is_free(port: int) -> bool:
    """Whether an ordinary program could bind to it."""
    with socket.socket() as program:
        try:
            program.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="only there a server can open a port that is held for it")
def test_a_port_is_held_for_its_server_until_nobody_needs_it(tmp_path: Path) -> None:
    """Found by a gateway that never came up: a service started before it had chosen the same port."""
    ports, others = Ports(tmp_path), Ports(tmp_path / "others")
    port = ports.take("gateway")
    others._known["gateway"] = port
    assert is_free(port) is False
    assert not listening(port)
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", port))
        server.listen()
        assert listening(port)
        assert others.take("gateway") != port
    ports.hold(fixed := others.take("pair", and_above=10_000))
    del others
    assert (is_free(fixed), is_free(fixed + 10_000)) == (False, True), "held by one of the two"
    del ports
    assert is_free(fixed)


def test_who_looks_for_a_port_finds_none_that_another_one_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Ports(tmp_path)
    two = [first.take("one"), first.take("two")]
    free = Ports(tmp_path / "look").take("free")
    monkeypatch.setattr(random.SystemRandom, "sample", lambda *_: [*two, free])
    assert Ports(tmp_path / "other").take("gateway") == free


def test_a_damaged_credentials_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "credentials.json").write_text("{")
    with pytest.raises(ServiceFailed, match=r"credentials\.json.*remove it alone"):
        services.load_credentials(tmp_path)
