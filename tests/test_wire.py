"""The connection that a whole gateway shares: order, loss, silence, and what it takes over from redis-py."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from unittest.mock import Mock

import pytest
import redis
import redis.asyncio

from runtime.broker import wire
from runtime.broker.connection import connect_async
from runtime.broker.wire import Line, Wire, open_line


def run(broker_url: str, work: Callable[[redis.asyncio.Redis, Wire], Awaitable[None]]) -> None:
    async def main() -> None:
        client = connect_async(broker_url)
        found = Wire(client)
        try:
            await asyncio.wait_for(work(client, found), 30)
        finally:
            await found.aclose()
            await client.aclose()

    asyncio.run(main())


def test_answers_come_to_whom_they_belong(broker_url: str, redis_client: redis.Redis) -> None:
    """Many ask at once, one leaves before its answer, one is refused."""

    async def work(_: redis.asyncio.Redis, found: Wire) -> None:
        asked = [asyncio.create_task(found.command("ECHO", f"{number}" * 9000)) for number in range(50)]
        await asyncio.sleep(0)
        asked[7].cancel()
        with pytest.raises(redis.ResponseError):
            await found.command("HGET", "a")
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(answers[7], asyncio.CancelledError)
        assert [answer for answer in answers if isinstance(answer, bytes)] == [
            (f"{number}" * 9000).encode() for number in range(50) if number != 7
        ]

    run(broker_url, work)


def test_what_many_ask_in_one_turn_goes_out_in_few_pieces(broker_url: str, redis_client: redis.Redis) -> None:
    """The first at once, for the broker is idle; the others together while it is at work, and none is forgotten."""

    async def work(_: redis.asyncio.Redis, found: Wire) -> None:
        assert await found.command("PING") == b"PONG"
        line, sent = found._line, list[int]()
        assert line is not None
        write = line._transport.write

        def watched(data: bytes) -> None:
            sent.append(data.count(b"ECHO"))
            write(data)

        line._transport = Mock(wraps=line._transport, write=watched)
        for count in (1, 2, 3, 11):
            sent.clear()
            answers = await asyncio.gather(*(found.command("ECHO", f"{number}") for number in range(count)))
            assert answers == [f"{number}".encode() for number in range(count)]
            full, rest = divmod(count - 1, wire.TOGETHER)
            assert sent == [1, *[wire.TOGETHER] * full, *([rest] if rest else [])]

    run(broker_url, work)


def test_a_script_that_the_broker_does_not_know_is_sent(broker_url: str, redis_client: redis.Redis) -> None:
    redis_client.script_flush()

    async def work(_: redis.asyncio.Redis, found: Wire) -> None:
        assert await found.run("forget", ["nobody", "succeeded"]) == 1
        assert await found.run("forget", ["nobody", "succeeded"]) == 1

    run(broker_url, work)


def test_a_lost_connection_costs_nobody_an_answer(broker_url: str, redis_client: redis.Redis) -> None:
    async def work(client: redis.asyncio.Redis, found: Wire) -> None:
        first = await found.command("CLIENT", "ID")
        await client.client_kill_filter(_id=first)
        assert await found.command("CLIENT", "ID") != first
        line = found._line
        assert line is not None
        await client.client_kill_filter(_id=await found.command("CLIENT", "ID"))
        await line.over  # noticed before anybody asks
        assert await found.command("PING") == b"PONG"

    run(broker_url, work)


@contextlib.asynccontextmanager
async def silent() -> AsyncIterator[str]:
    """The URL of a server that accepts connections and says OK to the first commands, then nothing."""
    told: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            told.append(data)
            if b"ASK" not in data:
                writer.write(b"+OK\r\n" * data.count(b"*"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0?protocol=2"


def test_a_broker_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """All who wait on its connection are told, and it is not asked twice."""
    monkeypatch.setattr(wire, "TIMEOUT_SECONDS", 0.2)

    async def main() -> None:
        async with silent() as url:
            client = connect_async(url)
            found = Wire(client)
            asked = await asyncio.gather(found.command("ASK"), found.command("ASK"), return_exceptions=True)
            assert all(isinstance(error, redis.TimeoutError | redis.ConnectionError) for error in asked)
            assert isinstance(asked[0], redis.TimeoutError)
            assert await found.command("PING") == b"OK"  # over another connection
            await found.aclose()
            await client.aclose()

    asyncio.run(asyncio.wait_for(main(), 30))


def test_it_hears(broker_url: str, redis_client: redis.Redis) -> None:
    async def work(client: redis.asyncio.Redis, found: Wire) -> None:
        heard: asyncio.Queue[Any] = asyncio.Queue()
        line: Line = await open_line(client, heard.put_nowait)
        line.say("SUBSCRIBE", "channel")
        assert (await heard.get())[0] == b"subscribe"
        await found.command("PUBLISH", "channel", b"\x00word")
        assert (await heard.get())[2] == b"\x00word"
        line.drop(redis.ConnectionError("enough"))
        await line.over
        assert str(line.lost) == "enough"

    run(broker_url, work)
