"""Clients that ask again as soon as they are answered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

_WARM_UP_SHARE = 0.1


class Ask:
    """One kept connection that posts to a path. A client of so few words takes little of what is measured."""

    def __init__(self, port: int, bodies: Sequence[bytes], path: str = "/search") -> None:
        self._port, self._bodies, self._path = port, bodies, path
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self) -> None:
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)

    async def one(self, number: int) -> None:
        assert self._streams, "not opened"
        reader, writer = self._streams
        body = self._bodies[number % len(self._bodies)]
        head = f"POST {self._path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        told = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(told.partition(b"content-length:")[2].partition(b"\r\n")[0])
        answer = await reader.readexactly(length)
        assert told.startswith(b"http/1.1 200"), answer

    def close(self) -> None:
        if self._streams:
            self._streams[1].close()


async def clients(asks: Sequence[Callable[[int], Awaitable[None]]], seconds: float) -> dict[str, Any]:
    """Every client asks one thing after the other for so long; answers a second and their p50 and p99."""
    started = time.perf_counter()
    counted_from, until = started + seconds * _WARM_UP_SHARE, started + seconds * (1 + _WARM_UP_SHARE)
    times: list[float] = []

    async def run(place: int, ask: Callable[[int], Awaitable[None]]) -> None:
        number = place
        while (began := time.perf_counter()) < until:
            await ask(number)
            if began >= counted_from:
                times.append(time.perf_counter() - began)
            number += len(asks)

    await asyncio.gather(*(run(place, ask) for place, ask in enumerate(asks)))
    taken = time.perf_counter() - counted_from
    ordered = sorted(times)
    return {
        "per_second": len(times) / taken,
        "p50": ordered[len(ordered) // 2],
        "p99": ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))],
    }
