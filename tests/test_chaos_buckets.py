"""A short bucket storm (`make chaos` has the long one), and a judge that can say no."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace

import pytest

from tests.chaos.buckets.evidence import Evidence
from tests.chaos.buckets.promises import EMPTY, broken
from tests.chaos.buckets.storm import storm
from tests.chaos.buckets.table import table
from tests.chaos.buckets.target import KINDS


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return storm(tmp_path_factory.mktemp("storm"), 120, seed=7, lasting=15.0, patience=1.0, rounds=1)


def test_bucket_and_index_are_equal_whatever_is_killed_and_lost(found: Evidence) -> None:
    failures = broken(found)
    assert not failures, "\n".join([*map(str, failures[:50]), table(found, len(failures))])
    assert {kill.kind for kill in found.kills} == set(KINDS)
    assert all(found.post[fate] for fate in ("lost", "doubled", "late"))
    assert len(found.index) > 20


def some(found: Evidence) -> str:
    """A document that is in the bucket and in the index."""
    return min(found.index)


def forget(found: Evidence) -> None:
    del found.index[some(found)]


def linger(found: Evidence) -> None:
    found.index["gone.txt"] = found.index[some(found)]


def age(found: Evidence) -> None:
    key = some(found)
    found.index[key] = [replace(row, etag="old") for row in found.index[key]]


def mix(found: Evidence) -> None:
    key = some(found)
    found.index[key] = [*found.index[key], replace(found.index[key][-1], etag="old")]


def tear(found: Evidence) -> None:
    key = some(found)
    found.index[key] = [replace(row, text=row.text[:-1], end=row.end - 1) for row in found.index[key]]


def twist(found: Evidence) -> None:
    key = some(found)
    found.index[key] = [replace(row, text=row.text[::-1]) for row in found.index[key]]


def drop(found: Evidence) -> None:
    key = max(found.index, key=lambda key: len(found.index[key]))
    assert len(found.index[key]) > 1
    found.index[key] = found.index[key][:-1]


def hide(found: Evidence) -> None:
    found.hidden = 1


def unread(found: Evidence) -> None:
    found.bucket[some(found)] = EMPTY


def lose(found: Evidence) -> None:
    del found.bucket[some(found)]


def refuse(found: Evidence) -> None:
    found.done = [replace(found.done[0], refused="503"), *found.done[1:]]


def disagree(found: Evidence) -> None:
    found.verdict = 1, found.verdict[1]


def miscount(found: Evidence) -> None:
    found.verdict = 0, {**found.verdict[1], "objects": 0}


def doubt(found: Evidence) -> None:
    found.ledger[some(found)] = "pending", found.bucket[some(found)]


def hold(found: Evidence) -> None:
    found.held = True


def fly(found: Evidence) -> None:
    found.out = 1


def fail(found: Evidence) -> None:
    record = next(iter(found.records.values()))
    found.records[record.id] = replace(record, state="dead")


def overlap(found: Evidence) -> None:
    record = next(each for each in found.records.values() if each.trigger == "bucket" and each.attempts == 1)
    found.records["twin"] = replace(record, id="twin", created=record.created + 0.001)


def stay(found: Evidence) -> None:
    found.kills = [replace(found.kills[0], recovery=None), *found.kills[1:]]


@pytest.mark.parametrize(
    ("tamper", "promise"),
    [
        (forget, "bucket = index"),
        (linger, "bucket = index"),
        (age, "bucket = index"),
        (mix, "bucket = index"),
        (tear, "bucket = index"),
        (twist, "bucket = index"),
        (drop, "bucket = index"),
        (hide, "bucket = index"),
        (unread, "bucket = index"),
        (lose, "the store keeps what it took"),
        (refuse, "every client is answered"),
        (disagree, "index verify finds them equal"),
        (miscount, "index verify finds them equal"),
        (doubt, "the ledger is true"),
        (hold, "nothing is left waiting"),
        (fly, "nothing is left waiting"),
        (fail, "accepted = succeeded"),
        (overlap, "one key, one invocation at a time"),
        (stay, "the system recovers"),
    ],
)
def test_a_broken_promise_is_seen(found: Evidence, tamper: Callable[[Evidence], None], promise: str) -> None:
    worse = copy(found)
    worse.index, worse.bucket, worse.told = dict(found.index), dict(found.bucket), dict(found.told)
    worse.ledger, worse.records = dict(found.ledger), dict(found.records)
    tamper(worse)
    assert promise in {each.promise for each in broken(worse)}
