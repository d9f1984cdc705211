"""Keys of every kind through a real store and a real trigger."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as some

from runtime.errors import BadInput
from runtime.store.port import MinioStore
from tests.agreeing import Build, agree
from tests.triggering import House


def test_a_thousand_and_twenty_four_bytes_of_key(woken: Build) -> None:
    house = woken()
    names = ["/".join([letter * (200 // len(letter.encode()))] * 4) for letter in ("x", "é", "漢", "😀", "\u0301")]
    names = [f"{name}/{'z' * (1024 - len(name.encode()) - 1)}" for name in names]
    assert {len(name.encode()) for name in names} == {1024}
    with house.running():
        for name in names:
            house.put(name)
        assert set(agree(house)) == set(names)
        for name in names:
            house.remove(name)
        assert not agree(house)
    assert sorted(house.changes()) == sorted((event, name) for event in ("created", "removed") for name in names)


# Every character that UTF-8 can write, but for those a store would take for something else.
_SEGMENT = some.text(
    some.characters(blacklist_categories=["Cs"], blacklist_characters="/\\\0"), min_size=1, max_size=20
)
_KEY = some.lists(_SEGMENT.filter(lambda text: text not in (".", "..")), min_size=1, max_size=3).map("/".join)


_ONCE = (Phase.explicit, Phase.reuse, Phase.generate)  # a bucket and a trigger for each: shrinking takes too long


@settings(max_examples=6, deadline=None, phases=_ONCE, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=some.lists(_KEY, min_size=1, max_size=30, unique=True))
def test_every_legal_name(woken: Build, names: list[str]) -> None:
    house = woken()
    house.client.flushall()
    with house.running():
        stored = [name for name in names if _put(house, name)]
        assert set(agree(house)) == set(stored)
        gone = stored[:9]  # more would be a sudden loss
        for name in gone:
            MinioStore(house.store_settings).delete(house.bucket, name)
        agree(house)
        expected = [("created", name) for name in stored] + [("removed", name) for name in gone]
        assert sorted(house.changes()) == sorted(expected)


def _put(house: House, name: str) -> bool:
    """False where the store refuses it (a file cannot be where a folder is). minio-py takes no key of spaces only."""
    try:
        MinioStore(house.store_settings).put(house.bucket, name, b"text")
    except BadInput:
        return False
    return True
