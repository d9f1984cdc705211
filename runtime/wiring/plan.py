"""Which server this is, and which of its buckets are to be wired how."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from runtime.config.settings import BucketTrigger, EventSource, Settings, StoreSettings
from runtime.errors import StoreDown
from runtime.store.library import load
from runtime.values.nearest import nearest
from runtime.wiring import rules
from runtime.wiring.lines import Buckets
from runtime.wiring.target import NotWired, Target, redis_list, webhook

Server = Literal["minio", "rustfs", "seaweedfs", "s3"]
Kind = Literal["webhook", "redis"]
_NAMES: dict[str, Server] = {"minio": "minio", "silo": "minio", "rustfs": "rustfs", "seaweedfs": "seaweedfs"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What was asked for on the command line; empty where nothing was."""

    kind: Kind | None = None
    gateway: str = ""
    redis: str = ""
    name: str = "tundish"


def server(store: StoreSettings) -> Server:
    """What kind of server answers, by what it calls itself. Raises StoreDown."""
    load()
    import urllib3

    url = f"{'https' if store.secure else 'http'}://{store.endpoint}/"
    try:
        answer = urllib3.request("GET", url, retries=False, timeout=5.0, preload_content=False)
    except urllib3.exceptions.HTTPError as error:
        raise StoreDown(f"The store at {store.endpoint} did not answer ({error}). Check MINIO_ENDPOINT.") from error
    answer.close()
    word = answer.headers.get("Server", "").lower()
    return next((kind for name, kind in _NAMES.items() if name in word), "s3")


def watched(settings: Settings, names: Iterable[str]) -> dict[str, list[BucketTrigger]]:
    """The triggers of each bucket that is named, or of all. Raises NotWired."""
    found: dict[str, list[BucketTrigger]] = {}
    for _, trigger in settings.project.bucket_triggers():
        found.setdefault(trigger.bucket, []).append(trigger)
    wanted = list(dict.fromkeys(names)) or list(found)
    for name in wanted:
        if name not in found:
            raise NotWired(f"No trigger watches the bucket {name}{nearest(name, found)}")
    return {name: found[name] for name in wanted}


def rest(triggers: Iterable[BucketTrigger], wish: Wish) -> str:
    """Why a bucket needs no wiring on a MinIO, as its triggers are woken otherwise; empty where it does."""
    kinds = {trigger.source.kind for trigger in triggers}
    if wish.kind or kinds & {"auto", "minio_webhook", "minio_redis"}:
        return ""
    if "minio_listen" in kinds:
        return "its source is minio_listen: Tundish asks the server, which needs nothing for it"
    return f"its source is {', '.join(sorted(kinds))}, which this server does not call"


def targets(
    settings: Settings, buckets: dict[str, list[BucketTrigger]], wish: Wish, gateway: str
) -> list[tuple[Target, Buckets]]:
    """What the server is to send to, and from which buckets. `gateway` is where it listens. Raises NotWired."""
    found: dict[EventSource | None, dict[str, list[str]]] = {}
    for bucket, triggers in buckets.items():
        sources = [trigger.source for trigger in triggers]
        lists = [source for source in sources if source.kind == "minio_redis"]
        if wish.kind == "redis" and not lists:
            lists = [EventSource(kind="minio_redis")]
        for place in dict.fromkeys(lists) if wish.kind != "webhook" and lists else [None]:
            found.setdefault(place, {})[bucket] = rules.prefixes(triggers)
    return [
        (_target(settings, place, wish, gateway, number), wired) for number, (place, wired) in enumerate(found.items())
    ]


def _target(settings: Settings, place: EventSource | None, wish: Wish, gateway: str, number: int) -> Target:
    if place is None:
        if not wish.gateway:
            _within_reach(settings, gateway)
        return webhook(wish.gateway or gateway, settings.event_token, wish.name)
    name = f"{wish.name}_{number + 1}" if number else wish.name
    return redis_list(wish.redis or place.url or settings.broker_url, place.key, name)


def _within_reach(settings: Settings, gateway: str) -> None:
    """Whether the server can reach the gateway's address, as far as that can be told from here."""
    store = urlsplit(f"//{settings.store.endpoint}").hostname or ""
    if _loopback(urlsplit(gateway).hostname or "") and not _loopback(store):
        raise NotWired(
            f"The gateway listens on this machine only ({gateway}), and the store at {store} is another one, by "
            "its name: it cannot post there. `source: minio_listen` needs no wiring, as Tundish asks the store; "
            "--target redis lets the store write to a Redis that both reach; --gateway URL names a proxy in front of "
            "the gateway, or this address once more where the store does run here."
        )


def _loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
