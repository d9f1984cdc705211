"""Server-sent events of the gateway, read across restarts of it: whoever follows notices nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import urllib3

from runtime.cli.client import Client, Refused, Unreachable

_SILENCE_SECONDS = 45.0
"""The gateway shows every 15 seconds that it is there."""
_AGAIN_SECONDS = 0.5
_GIVE_UP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Event:
    """One event; its id is what to come back with. Without data it only names a place."""

    name: str
    id: str
    data: dict[str, Any] | None


def events(client: Client, path: str, place: str = "") -> Iterator[Event]:
    """The events of a stream, after a place. It ends where the gateway says that there are no more (204).

    A stream that ends otherwise is opened again where it was. Raises Refused, and Unreachable where the gateway is
    not there, or has not come back for a minute.
    """
    lost: float | None = None
    first = True
    while True:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": place} if place else {})
        try:
            with client.stream(path, headers, _SILENCE_SECONDS) as answer:
                if answer.status == 204:
                    return
                first, lost = False, None
                for event in parse(answer.stream()):
                    place = event.id or place
                    if event.data is not None:
                        yield event
        except (urllib3.exceptions.HTTPError, OSError):
            pass  # it broke while it was read
        except (Unreachable, Refused) as error:
            lost = lost or time.monotonic()
            passing = isinstance(error, Unreachable) or error.status == 503
            if first or not passing or time.monotonic() - lost > _GIVE_UP_SECONDS:
                raise
        time.sleep(_AGAIN_SECONDS)


def parse(chunks: Iterable[bytes]) -> Iterator[Event]:
    """The events in pieces of a stream, however it was cut."""
    rest = b""
    for chunk in chunks:
        *blocks, rest = (rest + chunk).split(b"\n\n")
        for block in blocks:
            fields: dict[str, str] = {}
            for line in block.decode().split("\n"):
                name, _, value = line.partition(": ")
                fields[name] = f"{fields[name]}\n{value}" if name in fields else value
            data = json.loads(fields["data"]) if "data" in fields else None
            yield Event(fields.get("event", ""), fields.get("id", ""), data)
