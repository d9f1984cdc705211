"""The indexes of a gateway: loaded at its start, followed from then on, and what is told of those that cannot be."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.search.follower import Follower
from gateway.state import Gateway
from runtime import keys
from runtime.config.settings import BucketTrigger, Function, Settings, StoreSettings
from runtime.index import layout
from runtime.index.announcement import Announcement
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.gatewaying import deployment, problem, serving, settings
from tests.indexing import put, vector, write
from tests.workers import until


@pytest.fixture
def made(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    MinioStore(own).ensure_bucket(own.bucket)
    return settings(broker_url, own, tmp_path)


@pytest.fixture
def index(made: Settings, redis_client: redis.Redis) -> FaissIndex:
    return FaissIndex(MinioStore(made.store), redis_client)


def asking(content: str, name: str = "default") -> dict[str, Any]:
    return {"vector": vector(content).tolist(), "k": 1, "index": name}


def test_the_first_search_after_a_start_waits_for_the_index(made: Settings, index: FaissIndex) -> None:
    write(index, "b1", put("a", 1, "x"))
    index.build("default")
    with serving(made) as web:
        answer = web.post("/search", json=asking("x"))
        assert [hit["key"] for hit in answer.json()["results"]] == ["a"], "an empty answer would be a lie"


def test_an_index_that_cannot_be_loaded(made: Settings, index: FaissIndex) -> None:
    write(index, "b1", put("a", 1, "x"))
    index.build("default")
    store = MinioStore(made.store)
    (rows,) = [info.key for info in store.list(store.bucket, layout.segments("default"))]
    good = store.get(store.bucket, rows).data
    store.put(store.bucket, rows, bytes(len(good)))
    with serving(made) as web:
        answer = web.post("/search", json=asking("x"))
        told = problem(answer, 503)["detail"]
        assert "Index default cannot be searched" in told and rows in told
        assert int(answer.headers["retry-after"]) > 0
        check = web.get("/readyz").json()["checks"]["index default"]
        assert (check["ready"], rows in check["detail"]) == (False, True)
        assert rows in web.get("/admin/index-version").json()["trouble"]

        store.put(store.bucket, rows, good)
        write(index, "b2", put("b", 2, "y"))
        index.build("default")
        until(lambda: web.post("/search", json=asking("x")).status_code == 200)
        # The reader has it a moment before the gateway hears that the look at it has ended.
        until(lambda: "index default" not in web.get("/readyz").json()["checks"])


def test_a_newest_version_that_cannot_be_loaded_leaves_the_one_before(
    made: Settings, index: FaissIndex, redis_client: redis.Redis
) -> None:
    write(index, "b1", put("a", 1, "x"))
    first = index.build("default")
    with serving(made) as web:
        assert web.post("/search", json=asking("x")).headers["x-index-version"] == first.version
        store = MinioStore(made.store)
        store.put(store.bucket, layout.manifest("default", 2), b"{")
        redis_client.publish(keys.SWAP_CHANNEL, b'{"index": "default", "generation": 2}')

        def told() -> dict[str, Any]:
            found: dict[str, Any] = web.get("/readyz").json()["checks"].get("index default", {})
            return found

        until(lambda: "not a manifest" in told().get("detail", ""))
        assert told()["ready"], "it answers"
        assert web.post("/search", json=asking("x")).headers["x-index-version"] == first.version


def test_each_index_is_followed(made: Settings, index: FaissIndex) -> None:
    """Those that a trigger names from the start, any other one from its first search on."""
    function = Function(name="embed", handler="f.py:embed", buckets=(BucketTrigger(bucket="mail", index="mail"),))
    project = made.project.model_copy(update={"functions": {**made.project.functions, "embed": function}})
    with serving(made.model_copy(update={"project": project})) as web:
        for name in ("default", "mail"):
            assert web.post("/search", json=asking("x", name)).json()["results"] == []
        assert "default, mail" in problem(web.post("/search", json=asking("x", "side")), 404)["detail"]
        for name in ("mail", "side"):
            for content in ("x", "y"):
                write(index, f"{name}-{content}", put(content, 1, content), name=name)
                version = index.build(name).version
                until(
                    lambda name=name, version=version: (  # type: ignore[misc]
                        web.post("/search", json=asking("x", name)).headers.get("x-index-version") == version
                    )
                )


def test_words_of_versions_that_do_not_exist_are_forgotten(
    made: Settings, index: FaissIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may publish on the broker could hide every word that comes after a false one."""
    monkeypatch.setattr("gateway.search.follower.POLL_SECONDS", 0.0)
    write(index, "b1", put("a", 1, "x"))
    index.build("default")

    async def run() -> None:
        gateway = Gateway(made, deployment(made))
        try:
            follower = Follower(gateway, "default")
            follower.hear(Announcement("default", 99, segments=("0" * 64,)))
            assert not await follower._look(), "it is not waited for any more"
            assert follower._announced is None
            one, two = (Announcement("default", number, segments=(f"{number:064x}",)) for number in (2, 3))
            follower.hear(one)
            follower.hear(two)
            follower.hear(one)
            assert follower._announced == two.joined(one), "neither is loaded yet"
            write(index, "b2", put("b", 2, "y"))
            index.build("default")
            assert not await follower._look()
            reader = await gateway.indexes.reader()
            version = reader.version("default")
            assert version and version.generation == 2
        finally:
            await gateway.close()

    asyncio.run(run())


def test_there_is_one_reader(made: Settings) -> None:
    """The first search and the follower ask for it at the same moment."""

    async def run() -> None:
        gateway = Gateway(made, deployment(made))
        try:
            first, second = await asyncio.gather(gateway.indexes.reader(), gateway.indexes.reader())
            assert first is second
        finally:
            await gateway.close()

    asyncio.run(run())
