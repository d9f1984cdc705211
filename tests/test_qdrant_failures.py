"""What goes wrong between a builder and Qdrant: connections cut, builders killed, batches twice and in any order."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from qdrant_client import models

from runtime.errors import EngineDown, IndexUnavailable, Retry
from runtime.harness.store import MemoryStore
from runtime.index import manifest
from runtime.index.qdrant import collection, connection
from runtime.index.qdrant.conditions import seen
from runtime.index.search import Search
from tests.engines import EDGE, Place
from tests.indexing import gone, put, vector, write
from tests.qdrant_edge import edge_client
from tests.qdrant_server import Cut, Served, Status, Trouble, serve

KEY = "a key that nobody sees"


class Killed(BaseException):
    """Ends a builder where it is, as a kill does: nothing below may tidy up after it."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(connection, "LONGEST_PAUSE", 0.002)


@pytest.fixture
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """Over local mode; over Qdrant's own engine where a test says so."""
    with ExitStack() as stack:
        engine = getattr(request, "param", "qdrant")
        client = stack.enter_context(edge_client()) if engine == EDGE else None
        yield stack.enter_context(serve(key=KEY, client=client))


@pytest.fixture
def place(served: Served, redis_client: redis.Redis, tmp_path: Path) -> Place:
    return Place("qdrant", MemoryStore(), redis_client, tmp_path, served, extra={"api_key": KEY})


def every(served: Served, number: int, trouble: Exception, *, after: bool = False) -> None:
    """Every so many requests end like this."""
    counter = itertools.count(1)

    def hook(method: str, path: str) -> None:
        if next(counter) % number == 0:
            raise trouble

    if after:
        served.trouble.after = hook
    else:
        served.trouble.hook = hook


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("trouble", [Cut(), Status(503), Status(429, "0")], ids=["cut", "503", "429"])
def test_requests_that_break_off_are_made_again(place: Place, served: Served, trouble: Exception, after: bool) -> None:
    every(served, 3, trouble, after=after)
    index = place.index()
    write(index, "one", put("a", 1, "first", "second"), put("b", 2, "b"))
    index.build("default")
    write(index, "two", put("a", 3, "third"), gone("b", 4), put("c", 5, "c"))
    index.build("default")
    served.trouble.hook = served.trouble.after = lambda method, path: None
    assert place.contents() == {"a": ["third"], "c": ["c"]}
    assert place.contents(1) == {"a": ["first", "second"], "b": ["b"]}


@pytest.mark.parametrize("served", ["qdrant", EDGE], indirect=True)
def test_cut_in_the_middle_of_an_upsert(place: Place, served: Served) -> None:
    """Half of a request has come, then half of its points are written: it is sent again, and nothing is there twice."""
    read, written = set[int](), set[str]()

    def reading(method: str, path: str, length: int) -> None:
        if method == "PUT" and path.endswith("/points") and length not in read:
            read.add(length)  # of those of the same length the first is cut
            raise Cut

    def part(points: Sequence[models.PointStruct]) -> int | None:
        again = str(points[0].id) in written
        written.add(str(points[0].id))
        return None if again else len(points) // 2

    served.trouble.reading, served.trouble.part = reading, part
    index = place.index()
    write(index, "one", *(put(f"{number:03}", number + 1, f"first {number}", "more") for number in range(300)))
    assert index.build("default").vectors == 600
    write(index, "two", put("000", 301, "changed"), gone("001", 302), put("300", 303))
    index.build("default")
    served.trouble.reading, served.trouble.part = Trouble().reading, Trouble().part
    assert len(read) > 5 and len(written) > 5
    expected = {f"{number:03}": [f"first {number}", "more"] for number in range(300)}
    assert every_chunk(place, served, 1) == expected
    del expected["001"]
    assert every_chunk(place, served, 2) == {**expected, "000": ["changed"], "300": ["300 at 303"]}
    current = manifest.newest(place.store, "default")
    assert current and (current.vectors, current.documents) == (598, 300)


def every_chunk(place: Place, served: Served, generation: int) -> dict[str, list[str]]:
    """What a version holds, not by a search: a graph finds nearly all of so many."""
    remote = manifest.read(place.store, "default", generation).remote
    assert remote
    records, _ = served.client.scroll(remote.collection, scroll_filter=seen(remote), limit=10_000)
    found: dict[str, list[str]] = {}
    for payload in sorted((one.payload or {} for one in records), key=lambda one: (one["key"], one["chunk"])):
        found.setdefault(payload["key"], []).append(payload["text"])
    return found


def test_cut_for_good_in_the_middle_of_an_upsert(place: Place, served: Served) -> None:
    """The build gives up; what is half there is seen by nobody, and the next build completes it."""
    index = place.index()
    write(index, "one", put("a", 1, "a", "a too"))
    index.build("default")
    write(index, "two", put("a", 2, "a2", "a2 too"), put("b", 3, "b", "b too"))
    served.trouble.part = lambda points: len(points) // 2
    with pytest.raises(EngineDown):
        index.build("default")
    assert place.contents() == {"a": ["a", "a too"]}
    served.trouble.part = Trouble().part
    assert place.index().build("default").vectors == 4
    assert place.contents() == {"a": ["a2", "a2 too"], "b": ["b", "b too"]}
    assert place.contents(1) == {"a": ["a", "a too"]}


def test_qdrant_is_away(place: Place, served: Served) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    index.build("default")
    served.trouble.hook = _raise(Cut())
    write(index, "two", put("b", 2, "b"))
    with pytest.raises(EngineDown) as found:
        index.build("default")
    assert place.url.removeprefix("http://") in str(found.value) and KEY not in str(found.value)
    with pytest.raises(EngineDown):
        place.search(Search(vector("x")))
    served.trouble.hook = lambda method, path: None
    assert place.index().build("default").published, "nothing is lost"
    assert set(place.contents()) == {"a", "b"}


def test_a_wrong_key_is_said_and_not_told(place: Place, served: Served) -> None:
    served.key = "another"
    index = place.index()
    write(index, "one", put("a", 1, "first"))
    with pytest.raises(IndexUnavailable) as found:
        index.build("default")
    assert "api_key" in str(found.value) and KEY not in str(found.value)
    assert not isinstance(found.value, EngineDown), "waiting mends nothing"
    assert KEY not in repr(place.project)


def prepare(place: Place) -> None:
    index = place.index()
    write(index, "one", put("a", 1, "a1", "a1 too"), put("b", 2, "b"))
    index.build("default")
    write(index, "two", put("a", 3, "a3"), put("c", 4, "c"))
    index.build("default")
    write(index, "three", put("a", 5, "a5", "a5 too"), gone("b", 6), put("d", 7, "d"))


OLD = {"a": ["a3"], "b": ["b"], "c": ["c"]}
NEW = {"a": ["a5", "a5 too"], "c": ["c"], "d": ["d"]}


@pytest.mark.parametrize("anew", [False, True], ids=["build", "rebuild"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_request(
    served: Served, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool, anew: bool
) -> None:
    """Readers see the old version or the new one, the alias names a whole one, and the next build loses nothing."""
    two = dict(itertools.islice(collection._INDEXED.items(), 2))
    monkeypatch.setattr(collection, "_INDEXED", two)  # making one is like making another
    for step in itertools.count(1):
        place = Place("qdrant", MemoryStore(), redis_client, tmp_path, served, extra={"api_key": KEY})
        redis_client.flushall()
        for old in served.client.get_collections().collections:
            served.client.delete_collection(old.name)
        prepare(place)
        ended = killed(place, served, step, after=after, anew=anew)
        redis_client.flushall() if step % 2 else redis_client.delete("tundish:index:default:build")
        assert place.contents() in (OLD, NEW), step
        assert place.contents(1) == {"a": ["a1", "a1 too"], "b": ["b"]}
        whole(place, served)
        place.index().build("default")
        assert place.contents() == NEW, step
        assert place.contents(2) == OLD, step
        whole(place, served)
        current = place.index().current("default")
        assert current and (current.vectors, current.documents) == (4, 3)
        if ended:
            return


def killed(place: Place, served: Served, step: int, *, after: bool, anew: bool) -> bool:
    """Build, and die at a request; whether there were fewer."""
    index, counter = place.index(), itertools.count(1)
    client = index.remote.connect("default")
    ask = client.ask

    def asked(call, *, tries: int = 5):  # type: ignore[no-untyped-def]
        number = next(counter)
        if number == step and not after:
            raise Killed
        answer = ask(call, tries=tries)
        if number == step:
            raise Killed
        return answer

    client.ask = asked  # type: ignore[method-assign]
    try:
        index.rebuild("default", "for a test") if anew else index.build("default")
    except Killed:
        return False
    return True


def whole(place: Place, served: Served) -> None:
    """The alias names a collection that some stored version is in."""
    (alias,) = served.client.get_aliases().aliases
    known = {
        version.remote.collection
        for number, _ in manifest.listed(place.store, "default")
        if (version := manifest.read(place.store, "default", number)).remote
    }
    assert alias.alias_name == "tundish_default" and alias.collection_name in known


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("served", ["qdrant", EDGE], indirect=True)
def test_duplicate_and_reordered_batches(place: Place, seed: int) -> None:
    """Whatever order batches come in, and how often, and however they are cut into builds: the newest are there."""
    random_ = random.Random(seed)
    docs = [put(key, seq, f"{key} at {seq}") for seq, key in enumerate("abcabcabca", 1)]
    docs += [gone("b", 11), gone("d", 12)]
    batches = [(f"b{doc.seq}", doc) for doc in docs] + [(f"again{doc.seq}", doc) for doc in docs]
    random_.shuffle(batches)
    index = place.index()
    for name, doc in batches:
        write(index, name, doc)
        if random_.random() < 0.3:
            index.build("default", [name] if random_.random() < 0.5 else [])
    place.index().build("default")
    assert place.contents() == {"a": ["a at 10"], "c": ["c at 9"]}
    current = place.index().current("default")
    assert current and (current.vectors, current.documents) == (2, 2)


@pytest.mark.parametrize("served", ["qdrant", EDGE], indirect=True)
def test_who_lost_its_lease_is_never_seen(place: Place, served: Served) -> None:
    """A builder that sleeps while another one publishes, and then goes on writing, changes nothing of what is seen."""
    prepare(place)
    index = place.index()
    late: list[bool] = []

    def hook(method: str, path: str) -> None:
        if method == "PUT" and path.endswith("/points") and not late:
            late.append(True)
            place.client.delete("tundish:index:default:build")
            other = place.index()
            write(other, "four", put("a", 8, "a8"))
            assert other.build("default").published

    served.trouble.hook = hook
    with pytest.raises(Retry):
        index.build("default")
    expected = {**NEW, "a": ["a8"]}
    assert late and place.contents() == expected
    place.index().build("default")
    assert place.contents() == expected and place.contents(2) == OLD


def _raise(error: Exception):  # type: ignore[no-untyped-def]
    def hook(method: str, path: str) -> None:
        raise error

    return hook
