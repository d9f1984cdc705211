"""Servers that are wired by hand: the lines for them are proven to work."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import redis
import yaml

from runtime import keys
from runtime.config.settings import BucketTrigger, StoreSettings
from runtime.host.free_ports import Ports
from runtime.store.port import MinioStore
from runtime.system.services import load_credentials, seaweedfs
from runtime.wiring.plan import server
from tests.conftest import running
from tests.fronts import Front
from tests.minio_server import FakeMinio
from tests.wiring import House, bucket, notified
from tests.workers import environment, until


@pytest.mark.parametrize(
    ("name", "kind"),
    [("MinIO", "minio"), ("Silo", "minio"), ("RustFS", "rustfs"), ("SeaweedFS 4", "seaweedfs"), ("AmazonS3", "s3")],
)
def test_servers_are_known_by_what_they_call_themselves(name: str, kind: str) -> None:
    with FakeMinio(name=name).running() as found:
        assert server(found.settings) == kind


def test_rustfs_gets_its_lines_and_its_rules(tmp_path: Path) -> None:
    with FakeMinio(name="RustFS").running() as rustfs:
        house = House(tmp_path, rustfs.settings, bucket(prefix="a b/"))
        done = house.wire("--yes")
        assert done.exit_code == 1, "the target is not there yet"
        assert 'RUSTFS_NOTIFY_WEBHOOK_ENDPOINT_TUNDISH="http://127.0.0.1:8000/events/minio"' in done.stdout
        assert 'RUSTFS_OUTBOUND_ALLOW_ORIGINS="http://127.0.0.1:8000"' in done.stdout
        rustfs.used["notify_webhook:tundish"] = {}
        assert house.wire("--yes").exit_code == 0
        assert rustfs.rules("documents")[0]["filters"] == {"prefix": "a b/"}
        assert not [request for request in rustfs.requests if "/admin/" in request]


def test_rustfs_is_not_told_to_write_to_redis(tmp_path: Path) -> None:
    with FakeMinio(name="RustFS").running() as rustfs:
        done = House(tmp_path, rustfs.settings, bucket()).wire("--target", "redis")
        assert done.exit_code == 1
        assert "minio_listen" in done.stderr


def test_without_any_bucket_trigger_nobody_is_asked(tmp_path: Path) -> None:
    done = House(tmp_path, StoreSettings(endpoint="127.0.0.1:9", access_key="a", secret_key="b")).wire()
    assert (done.exit_code, done.stdout) == (0, "No function has a bucket trigger.\n")


def test_a_store_that_is_away_is_one_sentence(tmp_path: Path) -> None:
    store = StoreSettings(endpoint="127.0.0.1:9", access_key="a", secret_key="b")
    done = House(tmp_path, store, bucket()).wire()
    assert done.exit_code == 3
    assert done.stderr.count("\n") == 1
    assert "127.0.0.1:9" in done.stderr


def test_a_plain_s3_gets_the_lines_of_functions_yaml(tmp_path: Path) -> None:
    with FakeMinio(name="AmazonS3").running() as s3:
        done = House(tmp_path, s3.settings, bucket()).wire()
        assert done.exit_code == 0
        lines = [line for line in done.stdout.splitlines() if not line.startswith("#")]
        trigger = BucketTrigger(bucket="documents", **yaml.safe_load("\n".join(lines)))
        assert (trigger.source.kind, trigger.rescan) == ("poll", 5.0)


def test_the_lines_for_seaweedfs_wake_the_gateway(tmp_path: Path, broker_url: str, redis_client: redis.Redis) -> None:
    """A real SeaweedFS is started with the lines as they were printed; only the watched bucket is told of."""
    home = tmp_path / "weed"
    home.mkdir()
    ports = Ports(home)
    service, store = seaweedfs(home, ports, load_credentials(home))
    port = ports.take("gateway")
    with running(service):
        house = House(tmp_path, store, bucket(prefix="in box/ü/"), broker=broker_url)
        done = house.wire("--gateway", f"http://127.0.0.1:{port}")
    assert done.exit_code == 0, done.output
    assert tomllib.loads(done.stdout)["notification"]["webhook"]["enabled"] is True
    (home / "seaweedfs" / "settings" / "notification.toml").write_text(done.stdout)
    front = Front(environment(broker_url, {**house.environ, "TUNDISH_PORT": str(port)}))
    front.start()
    try:
        with running(service):
            client = MinioStore(store)
            for name in ("documents", "elsewhere"):
                client.ensure_bucket(name)
            client.put("elsewhere", "a.txt", b"text")
            client.put("documents", "in box/ü/a.txt", b"text")
            until(lambda: redis_client.xlen(keys.EVENTS) > 0)
            until(lambda: any(told["key"] == "/buckets/documents/in box/ü/a.txt" for told in notified(redis_client)))
            assert not [told for told in notified(redis_client) if "elsewhere" in told["key"]]
    finally:
        front.kill()


def test_help_costs_no_library() -> None:
    code = "import sys, runtime.cli.buckets; print({'minio', 'redis', 'urllib3', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
