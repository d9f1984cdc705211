"""What a schema cannot say about a bucket trigger: values with which it would never be called, or never rest."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

from runtime import sentinel
from runtime.config.settings import BucketTrigger, EventSource
from runtime.config.yaml_lines import Path_
from runtime.values.globs import Globs

LEAST_RESCAN_SECONDS = 0.1
_CONTENT_TYPE = re.compile(r"[\w.+*-]+/[\w.+*-]+")
# An escaped character, a set with its `]` (which may come first), or one of the brackets.
_TOKEN = re.compile(r"\\.|\[[!^]?\]?[^\]/]*\]|[\[{}]", re.DOTALL)


def check_bucket(path: Path_, trigger: BucketTrigger, own_bucket: str, report: Callable[[Path_, str], None]) -> None:
    """Report every problem of the bucket trigger at `path`; `own_bucket` is Tundish's."""
    for key, message in _problems(trigger, own_bucket):
        report((*path, *key), message)


def _problems(trigger: BucketTrigger, own_bucket: str) -> Iterator[tuple[Path_, str]]:
    if trigger.bucket == own_bucket:
        yield ("bucket",), f"{own_bucket} is where Tundish keeps its own objects; use another bucket"
    elif flaw := _bucket_flaw(trigger.bucket):
        yield ("bucket",), f"{trigger.bucket} {flaw}, which S3 refuses; use another bucket"
    if not trigger.events:
        yield ("events",), "is empty: nothing would ever call the function; name created, removed or both"
    yield from _filters(trigger)
    if trigger.batch.max_bytes < 1:
        yield ("batch", "max_bytes"), "is no room for any object; write a size like 32MiB"
    if trigger.rescan is not None and trigger.rescan < LEAST_RESCAN_SECONDS:
        yield ("rescan",), "is shorter than 100ms: the bucket would be listed all the time; write it like 5s"
    for key, message in _source(trigger.source):
        yield ("source", *key), message
    if "objects" in trigger.arguments:
        yield ("with", "objects"), "the trigger itself says which objects there are; remove it"
    if trigger.index and "index" in trigger.arguments:
        yield ("with", "index"), f"the trigger has index: {trigger.index}, which is handed to the function; remove one"


def _bucket_flaw(name: str) -> str:
    try:
        ipaddress.IPv4Address(name)
    except ValueError:
        found = next((pair for pair in ("..", ".-", "-.") if pair in name), "")
        return f"holds {found!r}" if found else ""
    return "is an IP address"


def _filters(trigger: BucketTrigger) -> Iterator[tuple[Path_, str]]:
    for key in ("suffix", "glob", "content_type"):
        if key in trigger.model_fields_set and not getattr(trigger, key):
            yield (key,), "is an empty list; name at least one, or leave the key out to take all"
    if trigger.min_size is not None and trigger.max_size is not None and trigger.min_size > trigger.max_size:
        yield ("min_size",), "is larger than max_size: no object has such a size"
    if flaw := _key_flaw(trigger.prefix):
        yield ("prefix",), f"{trigger.prefix!r} {flaw}"
    for ending in trigger.suffix:
        if not ending or ending.endswith("/"):
            why = "ends with a slash, as no object's key does" if ending else "is the end of every key"
            yield ("suffix",), f"{ending!r} {why}; write an ending like .txt, or leave the key out"
    for pattern in trigger.glob:
        if flaw := _glob_flaw(pattern):
            yield ("glob",), f"{pattern!r:.120} {flaw}"
    for kind in trigger.content_type:
        if not _CONTENT_TYPE.fullmatch(kind):
            yield ("content_type",), f"{kind!r} is no content type; write it like text/plain or image/*"


def _key_flaw(start: str) -> str:
    """Why no object's key begins so: a store refuses such names, or keeps them under others."""
    if start.startswith("/"):
        return "begins with a slash, which no key does; remove it"
    if "//" in start:
        return "holds '//', which no key does; write one slash"
    parts = start.split("/")
    if ".." in parts or "." in parts[:-1]:
        return "has a '.' or '..' segment, which no key has; write it without"
    return ""


def _glob_flaw(pattern: str) -> str:
    if not pattern:
        return "fits no key; write a pattern like **/*.txt, or leave the key out"
    if pattern.endswith("/"):
        return "ends with a slash, as no object's key does; write a pattern like photos/**"
    if flaw := _key_flaw(pattern) or _unbalanced(pattern):
        return flaw
    try:
        Globs([pattern])
    except ValueError as error:
        return str(error)
    return ""


def _unbalanced(pattern: str) -> str:
    """Which bracket lacks its partner. It would stand for itself, which hardly anybody means."""
    depth = 0
    for found in _TOKEN.findall(pattern):
        if found == "[":
            return r"has a '[' without its ']'; close it, or write \[ for the character"
        depth += (found == "{") - (found == "}")
        if depth < 0:
            return r"has a '}' without its '{'; open it, or write \} for the character"
    return r"has a '{' without its '}'; close it, or write \{ for the character" if depth else ""


def _source(source: EventSource) -> Iterator[tuple[Path_, str]]:
    """The URL may hold a password: it is not said."""
    if source.kind != "minio_redis" and ({"url", "key"} & source.model_fields_set):
        yield (), f"url and key belong to kind: minio_redis, not to {source.kind}"
    elif source.url and not _names_redis(source.url):
        yield ("url",), "is no URL of a Redis server; write it like redis://host:6379/0, or leave it out for the broker"
    if not source.key:
        yield ("key",), "is empty; name the list that MinIO writes to, or leave the key out for minio:events"


def _names_redis(url: str) -> bool:
    if sentinel.is_sentinel(url):
        return bool(sentinel.parse(url))
    from redis import connection  # slow to import, and hardly ever needed here

    try:
        connection.parse_url(url)  # type: ignore[no-untyped-call]
    except ValueError:
        return False
    return True
