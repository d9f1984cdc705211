"""Going back to an older version of an index, holding it, and letting builds go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.config.settings import StoreSettings
from runtime.context import Store
from runtime.errors import BadInput, PreconditionFailed
from runtime.index import layout, manifest, retention
from runtime.index import rollback as rollbacks
from runtime.index.lease import RemovalLease
from tests.indexing import House, fresh_store, gone, house, put, write


@pytest.fixture
def home(store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    return house(fresh_store(store_settings), redis_client, tmp_path)


def published(home: House, batch: str, *docs: object) -> int:
    write(home.index, batch, *docs)  # type: ignore[arg-type]
    return home.index.build("default").generation


def keys_of(home: House) -> set[str]:
    """What a reader that looks now answers from."""
    home.reader.refresh("default")
    return set(home.contents())


def test_back_hold_release_forward(home: House) -> None:
    first = published(home, "a", put("a", 1), put("both", 2))
    second = published(home, "b", put("b", 3), gone("both", 4))
    assert keys_of(home) == {"a", "b"}

    back = home.index.rollback("default", first)
    assert (back.generation, back.held, back.restores) == (second + 1, True, first)
    assert keys_of(home) == {"a", "both"}, "readers only ever look for a higher generation"

    write(home.index, "c", put("c", 5))
    report = home.index.build("default", ["c"])
    assert not report.published
    assert "held" in report.warnings[0]
    assert keys_of(home) == {"a", "both"}

    current, was_held = home.index.release("default")
    assert (was_held, current.held, current.generation) == (True, False, second + 2)
    assert keys_of(home) == {"a", "both"}, "releasing alone changes no answer"
    assert home.index.build("default").published
    assert keys_of(home) == {"a", "b", "c"}, "all that was committed since is back, and what was deleted is gone"
    assert home.index.current("default").restores is None  # type: ignore[union-attr]


def test_any_stored_version_can_be_restored_and_numbers_are_never_given_out_again(home: House) -> None:
    first = published(home, "a", put("a", 1))
    second = published(home, "b", put("b", 2), put("a", 900))
    home.index.rollback("default", first)
    newest = manifest.newest(home.store, "default")
    assert newest and newest.max_seq == 900
    again = home.index.rollback("default", second)
    assert (again.restores, again.held) == (second, True)
    assert keys_of(home) == {"a", "b"}
    told = [(one.generation, one.held, one.restores) for one in home.index.versions("default")]
    assert told == [(4, True, 2), (3, True, 1), (2, False, None), (1, False, None)]


def test_asking_again_changes_nothing(home: House) -> None:
    first = published(home, "a", put("a", 1))
    published(home, "b", put("b", 2))
    back = home.index.rollback("default", first)
    assert home.index.rollback("default", first) == back
    released, held = home.index.release("default")
    assert held
    assert home.index.release("default") == (released, False)


def test_what_cannot_be_restored_is_refused(home: House) -> None:
    with pytest.raises(BadInput, match="no version yet"):
        home.index.rollback("default", 1)
    with pytest.raises(BadInput, match="no version yet"):
        home.index.release("default")
    first = published(home, "a", put("a", 1))
    second = published(home, "b", put("b", 2))
    with pytest.raises(BadInput, match="is the current one"):
        home.index.rollback("default", second)
    with pytest.raises(BadInput, match=r"no complete generation 9\. Kept are 2, 1"):
        home.index.rollback("default", 9)
    segment = manifest.read(home.store, "default", first).segments[0].segment
    home.store.delete(home.store.bucket, layout.beginning("default", segment))
    with pytest.raises(BadInput, match="no complete generation 1"):
        home.index.rollback("default", first)
    with pytest.raises(BadInput, match="cannot be the name"):
        home.index.rollback("../x", 1)


def test_a_build_that_is_faster_is_rolled_back_too(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first = published(home, "a", put("a", 1))
    published(home, "b", put("b", 2))
    commit, raced = manifest.commit, list[int]()

    def slow(store: object, made: manifest.Manifest) -> manifest.Manifest:
        """Another builder publishes just before the first try, without waiting for the lease."""
        if not raced:
            raced.append(made.generation)
            current = manifest.newest(home.store, "default")
            assert current
            commit(home.store, manifest.successor(current, replace(current, builder="other")))
        return commit(home.store, made)

    monkeypatch.setattr(manifest, "commit", slow)
    back = home.index.rollback("default", first)
    assert raced == [3]
    assert (back.generation, back.restores) == (4, 1)
    assert keys_of(home) == {"a"}


def test_a_rollback_that_always_comes_too_late_says_so(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    first = published(home, "a", put("a", 1))
    published(home, "b", put("b", 2))

    def never(*_: object) -> manifest.Manifest:
        raise PreconditionFailed

    monkeypatch.setattr(manifest, "commit", never)
    with pytest.raises(PreconditionFailed, match="were faster 5 times"):
        home.index.rollback("default", first)


def test_without_the_lease_nothing_is_rolled_back(
    home: House, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cleanup might be removing the segments of that very version."""
    monkeypatch.setattr(rollbacks, "PATIENCE_SECONDS", 0.0)
    first = published(home, "a", put("a", 1))
    second = published(home, "b", put("b", 2))
    refused = pytest.raises(PreconditionFailed, match="A cleanup of index 'default' is under way")
    with RemovalLease(redis_client, "default", 0.0), refused:
        home.index.rollback("default", first)
    assert [one.generation for one in home.index.versions("default")] == [second, first]


def test_a_rollback_waits_for_no_build_and_that_build_publishes_nothing(
    home: House, redis_client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build has its segment in the store already when an older version becomes the current one."""
    monkeypatch.setattr(rollbacks, "PATIENCE_SECONDS", 0.0)
    first = published(home, "a", put("a", 1))
    second = published(home, "b", put("b", 2))
    operator, back = house(home.store, redis_client, tmp_path / "operator").index, list[int]()
    commit = manifest.commit

    def overtaken(store: Store, made: manifest.Manifest) -> manifest.Manifest:
        if not back:
            back.append(0)
            back[0] = operator.rollback("default", first).generation
        return commit(store, made)

    monkeypatch.setattr(manifest, "commit", overtaken)
    write(home.index, "c", put("c", 3))
    report = home.index.build("default", ["c"])
    assert (report.published, report.generation, back) == (False, second + 1, [second + 1])
    assert "held" in report.warnings[0]
    assert keys_of(home) == {"a"}
    assert home.index.release("default")[1]
    assert home.index.build("default").published
    assert keys_of(home) == {"a", "b", "c"}, "nothing of it is lost"


def test_who_is_slow_and_loses_the_lease_publishes_nothing(
    home: House, redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = published(home, "a", put("a", 1))
    published(home, "b", put("b", 2))
    stored = rollbacks._stored

    def slow(*given: Any) -> manifest.Manifest:
        redis_client.set(keys.index_removal("default"), "somebody else")
        return stored(*given)

    monkeypatch.setattr(rollbacks, "_stored", slow)
    with pytest.raises(PreconditionFailed, match="under way"):
        home.index.rollback("default", first)


@pytest.mark.parametrize("key", [keys.index_build, keys.index_removal])
@pytest.mark.parametrize(("meanwhile", "removed"), [("taken", 1), ("published", 2), ("nothing", 2)])
def test_a_cleanup_that_loses_the_lease(
    store_settings: StoreSettings,
    redis_client: redis.Redis,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: str,
    removed: int,
    key: Callable[[str], str],
) -> None:
    """Somebody has it now: the rest stays. Somebody published: it is decided anew what is needed. Else it goes on."""
    monkeypatch.setattr(retention, "PATIENCE_SECONDS", 0.0)
    home = house(fresh_store(store_settings), redis_client, tmp_path, later=100 * 86_400.0)
    first = published(home, "a", put("a", 1))
    published(home, "b", put("b", 2))
    for name in ("one", "two"):
        home.store.put(home.store.bucket, f"{layout.segments('default')}{name}/meta.json", b"{}")
    other, lease = house(home.store, redis_client, tmp_path / "other").index, key("default")
    whole, seen = home.store.delete, list[str]()

    def slow(bucket: str, key: str) -> None:
        whole(bucket, key)
        if not seen and redis_client.delete(lease):  # it ran out
            seen.append(key)
            if meanwhile == "taken":
                redis_client.set(lease, "somebody else")
            if meanwhile == "published":
                redis_client.delete(keys.index_removal("default"))
                other.rollback("default", first)

    monkeypatch.setattr(home.store, "delete", slow)
    assert home.index.cleanup("default", 200 * 86_400.0)["segments"] == removed
    assert seen and keys_of(home) == ({"a"} if meanwhile == "published" else {"a", "b"})


def test_cleanup_keeps_what_a_rollback_needs(
    store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    """A hundred days later only the current manifest is left, and it has all its parts and its batches."""
    home = house(fresh_store(store_settings), redis_client, tmp_path, later=100 * 86_400.0)
    first = published(home, "a", put("a", 1))
    published(home, "b", put("b", 2))
    home.index.rollback("default", first)
    home.index.cleanup("default", 86_400.0)
    assert [one.restores for one in home.index.versions("default")] == [first]
    assert keys_of(home) == {"a"}
    home.index.release("default")
    home.index.build("default")
    assert keys_of(home) == {"a", "b"}, "the batch that came after was not taken away"
