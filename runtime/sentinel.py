"""A broker behind Redis Sentinel: `sentinel://…` names the Sentinels, and these say which server is the master now."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from runtime.errors import TundishError

SCHEME = "sentinel"
PORT = 26379
MASTER = "mymaster"
"""The name in every example of a sentinel.conf."""

ASK_SECONDS = 1.0
"""A Sentinel that does not answer within this time is passed over: another one is asked."""

_FORM = "write sentinel://:PASSWORD@host1:26379,host2:26379,host3:26379/0?master=mymaster"

_NO_TLS = (
    "TLS is not supported behind Sentinel: keep these servers in a network that nobody else can read, or have a tunnel "
    "between their hosts, and write sentinel://; a single broker can be rediss://"
)


class BadAddress(TundishError):
    """This is not the address of a broker behind Sentinel."""


@dataclass(frozen=True, slots=True)
class Sentinels:
    """`username` and `password` are those of master and replicas, `own` those of the Sentinels themselves."""

    hosts: tuple[tuple[str, int], ...]
    master: str = MASTER
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    own: dict[str, str] = field(default_factory=dict, repr=False)

    def celery_url(self) -> str:
        """The same as Celery and kombu write it: an address for each Sentinel. The master's name goes by an option."""
        user = ""
        if self.username or self.password:
            user = f"{quote(self.username or '', safe='')}:{quote(self.password or '', safe='')}@"
        hosts = [f"[{host}]" if ":" in host else host for host, _ in self.hosts]
        return ";".join(
            f"{SCHEME}://{user}{host}:{port}/{self.database}" for host, (_, port) in zip(hosts, self.hosts, strict=True)
        )

    def celery_options(self) -> dict[str, Any]:
        """Transport options of kombu, and of Celery's result backend."""
        return {"master_name": self.master, "sentinel_kwargs": {**self.own, "socket_timeout": ASK_SECONDS}}


def is_sentinel(url: str) -> bool:
    return url.startswith(f"{SCHEME}://")


def mend(scheme: str) -> str:
    """What to write for an address behind Sentinel with another scheme, such as `rediss+sentinel`."""
    return _NO_TLS if "rediss" in scheme or "ssl" in scheme or scheme == f"{SCHEME}s" else _FORM


def secrets(url: str) -> set[str]:
    """The passwords in the address of a broker behind Sentinel; none in any other."""
    if not is_sentinel(url):
        return set()
    found = parse(url)
    return {one for one in (found.password, found.own.get("password")) if one}


def parse(url: str) -> Sentinels:
    """The address as it is written here (hosts with commas) or by Celery (addresses with semicolons).

    After `?`: `master` (or `master_name`), and `sentinel_username` and `sentinel_password` where the Sentinels ask for
    them. Raises BadAddress.
    """
    hosts: list[tuple[str, int]] = []
    user: tuple[str | None, str | None] = (None, None)
    database, query = "", dict[str, str]()
    try:
        for one in url.split(";"):
            parts = urlsplit(one)
            if parts.scheme != SCHEME:
                raise BadAddress(
                    f"{parts.scheme or 'nothing'}:// stands where sentinel:// is expected; {mend(parts.scheme)}"
                )
            login, _, places = parts.netloc.rpartition("@")
            hosts += [_host(place) for place in places.split(",") if place]
            if login:
                name, _, secret = login.partition(":")
                user = (unquote(name) or None, unquote(secret) or None)
            database = parts.path.strip("/") or database
            query |= dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        number = int(database or 0)
    except ValueError as error:
        raise BadAddress(f"the address of the Sentinels cannot be read ({error}); {_FORM}") from error
    master = query.pop("master", None) or query.pop("master_name", None) or MASTER
    own = {key: query.pop(f"{SCHEME}_{key}") for key in ("username", "password") if f"{SCHEME}_{key}" in query}
    if any(name.startswith("ssl") for name in query):
        raise BadAddress(_NO_TLS)
    if query:
        raise BadAddress(f"?{'&'.join(query)} is not known here; {_FORM}")
    if not hosts:
        raise BadAddress(f"no Sentinel is named; {_FORM}")
    return Sentinels(tuple(hosts), master, number, *user, own)


def _host(place: str) -> tuple[str, int]:
    parts = urlsplit(f"//{place}")
    if not parts.hostname:
        raise ValueError(f"{place!r} is no host")
    return parts.hostname, parts.port or PORT
