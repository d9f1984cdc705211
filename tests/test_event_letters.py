"""Notifications that nobody can use are kept, few and short, and can be read and thrown away."""

from __future__ import annotations

import asyncio
from functools import partial

import redis

from runtime import keys
from runtime.broker import connection as broker
from runtime.buckets import event_letters
from triggers.sources.registry import Sources


def test_what_cannot_be_parsed_is_kept_with_its_reason(redis_client: redis.Redis) -> None:
    sources = Sources(partial(event_letters.keep, redis_client))
    sources.parse("minio", b"{not json \xff")
    sources.parse("pigeon", b"coo")
    sources.parse("gateway", b'{"bucket": "b", "key": "\\ud800"}')
    sources.parse("gateway", b'{"bucket": "b", "key": "good"}')
    lone, pigeon, junk = event_letters.read(redis_client)
    assert (junk.source, junk.body) == ("minio", b"{not json \xff")
    assert junk.reason == "it is no text in UTF-8; JSON was expected"
    assert pigeon.reason.startswith("there is no such source") and pigeon.body == b"coo"
    assert lone.reason == "it names '\\ud800', which is not valid Unicode"
    assert junk.at <= pigeon.at <= lone.at


def test_they_are_cut_capped_paged_and_purged(redis_client: redis.Redis) -> None:
    for number in range(event_letters.KEPT + 20):
        event_letters.keep(redis_client, "minio", b"%d" % number, "why")
    event_letters.keep(redis_client, "minio", b"x" * 10**6, "why")
    assert redis_client.xlen(keys.EVENTS_DEAD) == event_letters.KEPT
    first = event_letters.read(redis_client, 3)
    assert [len(first[0].body), first[1].body, first[2].body] == [65536, b"519", b"518"]
    assert event_letters.read(redis_client, 1, before=first[-1].id)[0].body == b"517"
    assert event_letters.purge(redis_client) == event_letters.KEPT
    assert event_letters.read(redis_client) == []
    assert event_letters.purge(redis_client) == 0


def test_the_same_for_asyncio(broker_url: str, redis_client: redis.Redis) -> None:
    async def scenario() -> None:
        client = broker.connect_async(broker_url)
        await event_letters.keep_async(client, "seaweedfs", b"", "larger than 1 MiB")
        (letter,) = await event_letters.read_async(client)
        assert (letter.source, letter.body, letter.reason) == ("seaweedfs", b"", "larger than 1 MiB")
        assert await event_letters.purge_async(client) == 1
        await client.aclose()

    asyncio.run(scenario())
