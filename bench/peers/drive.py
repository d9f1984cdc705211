"""How the client of a peer is told what to do: an order a line on standard input, an answer a line, both in JSON.

A client is a process of its own with the interpreter of its peer, so these files need nothing but Python and that peer.
All loads are closed loops (a client makes its next call when the one before was answered) but `paced`, where calls
are due at even intervals, whether the ones before have been answered or not.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any

Given = Mapping[str, Any]
PATIENCE_SECONDS = 60.0


def broker_url() -> str:
    """The database of this peer; the tools that start workers import a module and hand nothing on to it."""
    return os.environ["BENCH_BROKER_URL"]


def results_url() -> str:
    """A database where nothing but its results is, so that they can be counted without looking at them."""
    return os.environ["BENCH_RESULTS_URL"]


class Peer:
    """A client that blocks; `client` is the number of the one that calls."""

    sent = 0
    """How many calls have been sent by orders that are carried out."""

    def ready(self, clients: int) -> None:
        """What is done before the clock runs."""

    def call(self, client: int, function: str, given: Given) -> None:
        """From a call to its answer. Raises what goes wrong."""
        raise NotImplementedError

    def send(self, client: int, function: str, given: Given) -> None:
        """Until it is accepted."""
        raise NotImplementedError

    def ended(self) -> int:
        """How many calls have ended, since whenever: only differences count."""
        raise NotImplementedError

    def together(self, function: str, given: Given, clients: int, seconds: float) -> Told:
        """Several clients at once: a thread each."""
        told, until = Told(clients), time.perf_counter() + seconds

        def loop(client: int) -> None:
            while time.perf_counter() < until:
                told.timed(client, lambda: self.call(client, function, given))

        in_threads(loop, clients)
        return told


class AsyncPeer:
    """The same for asyncio."""

    sent = 0

    async def ready(self, clients: int) -> None: ...

    async def call(self, client: int, function: str, given: Given) -> None:
        raise NotImplementedError

    async def send(self, client: int, function: str, given: Given) -> None:
        raise NotImplementedError

    def ended(self) -> int:
        raise NotImplementedError


class Told:
    """What is known of a load when it is over."""

    def __init__(self, clients: int) -> None:
        self.seconds: list[float] = []
        self.each = [0] * clients
        self.errors: list[str] = []
        self._began, self._cpu = time.perf_counter(), time.process_time()

    def timed(self, client: int, call: Callable[[], None]) -> None:
        began = time.perf_counter()
        try:
            call()
        except Exception as error:  # noqa: BLE001 - counted, and told
            self.wrong(error)
        else:
            self.done(client, time.perf_counter() - began)

    def done(self, client: int, seconds: float) -> None:
        self.seconds.append(seconds)
        self.each[client] += 1

    def wrong(self, error: BaseException) -> None:
        self.errors.append(f"{type(error).__name__}: {error}")

    def plain(self) -> dict[str, Any]:
        return {
            "seconds": self.seconds,
            "each": [min(self.each), max(self.each)],
            "errors": len(self.errors),
            "error": self.errors[0] if self.errors else "",
            "took": time.perf_counter() - self._began,
            "cpu": time.process_time() - self._cpu,
        }


class Blocking:
    """Carries orders out with a Peer."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer

    def calls(self, function: str, given: Given, clients: int, seconds: float) -> dict[str, Any]:
        """At least one call, for so many seconds."""
        self._peer.ready(clients)
        if clients > 1:
            return self._over(self._peer.together(function, given, clients, seconds))
        told, until = Told(1), time.perf_counter() + seconds
        while not (told.seconds or told.errors) or time.perf_counter() < until:
            told.timed(0, lambda: self._peer.call(0, function, given))
        return self._over(told)

    def sends(self, function: str, given: Given, clients: int, count: int) -> dict[str, Any]:
        """So many calls, until all are accepted."""
        self._peer.ready(clients)
        told = Told(clients)

        def loop(client: int) -> None:
            for _ in range(_share(count, clients, client)):
                told.timed(client, lambda: self._peer.send(client, function, given))

        in_threads(loop, clients)
        return self._over(told)

    def ended(self) -> dict[str, Any]:
        return {"ended": self._peer.ended()}

    def _over(self, told: Told) -> dict[str, Any]:
        self._peer.sent += len(told.seconds)
        return told.plain()


class Looped:
    """The same with an AsyncPeer, whose loop lives as long as the process."""

    def __init__(self, peer: AsyncPeer, runner: asyncio.Runner) -> None:
        self._peer, self._runner = peer, runner

    def calls(self, function: str, given: Given, clients: int, seconds: float) -> dict[str, Any]:
        return self._over(self._calls(function, given, clients, seconds))

    async def _calls(self, function: str, given: Given, clients: int, seconds: float) -> Told:
        await self._peer.ready(clients)
        told, until = Told(clients), time.perf_counter() + seconds

        async def loop(client: int) -> None:
            first = True
            while first or time.perf_counter() < until:
                first, began = False, time.perf_counter()
                try:
                    await self._peer.call(client, function, given)
                except Exception as error:  # noqa: BLE001 - counted, and told
                    told.wrong(error)
                else:
                    told.done(client, time.perf_counter() - began)

        await asyncio.gather(*(loop(client) for client in range(clients)))
        return told

    def sends(self, function: str, given: Given, clients: int, count: int) -> dict[str, Any]:
        return self._over(self._sends(function, given, clients, count))

    async def _sends(self, function: str, given: Given, clients: int, count: int) -> Told:
        await self._peer.ready(clients)
        told = Told(clients)

        async def loop(client: int) -> None:
            for _ in range(_share(count, clients, client)):
                began = time.perf_counter()
                try:
                    await self._peer.send(client, function, given)
                except Exception as error:  # noqa: BLE001
                    told.wrong(error)
                else:
                    told.done(client, time.perf_counter() - began)

        await asyncio.gather(*(loop(client) for client in range(clients)))
        return told

    def paced(self, function: str, given: Given, clients: int, seconds: float, rate: float) -> dict[str, Any]:
        """An open loop over so many connections: a call's time runs from when it was due, waiting for one included."""
        return self._over(self._paced(function, given, clients, seconds, rate))

    async def _paced(self, function: str, given: Given, clients: int, seconds: float, rate: float) -> Told:
        await self._peer.ready(clients)
        told, free = Told(clients), asyncio.Queue[int]()
        for client in range(clients):
            free.put_nowait(client)

        async def one(due: float) -> None:
            client = await free.get()
            try:
                await self._peer.call(client, function, given)
            except Exception as error:  # noqa: BLE001
                told.wrong(error)
            else:
                told.done(client, time.perf_counter() - due)
            free.put_nowait(client)

        began, out = time.perf_counter(), set[asyncio.Task[None]]()
        for number in range(int(seconds * rate)):
            due = began + number / rate
            if (left := due - time.perf_counter()) > 0:
                await asyncio.sleep(left)
                due = time.perf_counter()  # a timer that rings late is not the answer's fault
            task = asyncio.create_task(one(due))
            out.add(task)
            task.add_done_callback(out.discard)
        await asyncio.gather(*out)
        return told

    def ended(self) -> dict[str, Any]:
        return {"ended": self._peer.ended()}

    def _over(self, work: Coroutine[Any, Any, Told]) -> dict[str, Any]:
        told = self._runner.run(work)
        self._peer.sent += len(told.seconds)
        return told.plain()


def serve(peer: Peer | AsyncPeer) -> None:
    """Carry out the orders of standard input until it ends."""
    if isinstance(peer, Peer):
        _orders(Blocking(peer), sys.stdin)
        return
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        _orders(Looped(peer, runner), sys.stdin)


def _orders(made: Blocking | Looped, lines: Iterable[str]) -> None:
    for line in lines:
        order = json.loads(line)
        told = getattr(made, order.pop("do"))(**order)
        print(json.dumps(told), flush=True)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def in_threads(loop: Callable[[int], None], clients: int) -> None:
    if clients == 1:
        loop(0)
        return
    threads = [threading.Thread(target=loop, args=(client,)) for client in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _share(count: int, clients: int, client: int) -> int:
    return count // clients + (client < count % clients)
