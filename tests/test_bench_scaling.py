"""docs/scaling.md holds what its script computes, and what the script measures can be measured."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import redis

from bench import scaling, scaling_batch, scaling_fleet
from bench.index_house import House, house_of
from bench.pages import put
from bench.scaling_inputs import INPUTS
from bench.scaling_proxy import counting
from bench.scaling_qdrant import LAYOUTS
from bench.scaling_sums import CASES, CHUNKS, Sums
from bench.scaling_text import amount, dollars, duration, size
from bench.scaling_walls import walls
from runtime.config.settings import StoreSettings
from tests.brokers import own_broker
from tests.indexing import fresh_store

PAGE = Path(__file__).parent.parent / "docs" / "scaling.md"


@pytest.fixture
def place(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    own = fresh_store(store_settings)
    return house_of(House(broker_url, store_settings.model_dump(), str(tmp_path)), own.bucket)


@pytest.mark.parametrize("name", sorted(scaling.tables()))
def test_the_page_has_what_the_script_computes(name: str) -> None:
    page = PAGE.read_text()
    assert put(page, name, scaling.tables()[name]) == page, "run: python -m bench.scaling docs/scaling.md"


def test_every_number_has_a_source_and_is_used() -> None:
    sums = "".join(
        (PAGE.parent.parent / "bench" / f"scaling{name}.py").read_text() for name in ("", "_sums", "_qdrant", "_walls")
    )
    assert all(one.source and one.unit and one.meaning for one in INPUTS.values())
    used = set(re.findall(r"""value\(["'](\w+)["']\)""", sums)) | {case.rate for case in CASES}
    assert used == set(INPUTS), "every number is in a sum"


def test_the_sums_hang_together() -> None:
    for sums in map(Sums, CASES):
        assert sums.batches * sums.in_batch >= sums.documents
        assert sums.documents * sums.case.chunks == CHUNKS
        assert sums.seconds * sums.chunks_per_second == pytest.approx(CHUNKS)
        assert sums.in_batch * sums.case.chunks * sums.case.tokens * INPUTS["token_letters"].value <= 4 * 2**20
    assert LAYOUTS[0].memory > 3 * LAYOUTS[1].memory
    found = walls([Sums(case) for case in CASES])
    assert [wall.share for wall in found] == sorted(wall.share for wall in found)
    assert found[0].share < 0.01
    assert found[-1].share > 1


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (amount(270_000), "270,000"),
        (amount(1_350), "1,350"),
        (amount(1e9), "1 thousand million"),
        (amount(2.5e6), "2.5 million"),
        (amount(0.0046), "0.0046"),
        (size(1.53e12), "1.5 TB"),
        (size(43_210_000), "43 MB"),
        (size(12), "12 B"),
        (duration(3703), "62 min"),
        (duration(12_500), "3.5 h"),
        (duration(373_000), "4.3 days"),
        (dollars(42_912.3), "$42,900"),
    ],
)
def test_amounts_for_people(made: str, wanted: str) -> None:
    assert made == wanted


def test_what_a_batch_asks_of_store_and_broker(place: House) -> None:
    texts = [f"Text {number} of a harbour and its boats." for number in range(60)]
    for way, gets in (("part", 1), ("objects", 20)):
        first, second, third = scaling_batch.batches(place, texts, 20, way, f"measured-{way}")
        for one in (second, third):
            assert (one["documents"], one["chunks"]) == (20, 20)
            assert one["store"]["requests"]["PUT"] == 2, "vectors, then rows"
            assert one["store"]["requests"]["GET"] >= gets
            assert one["store"]["sent"] > 20 * 384 * 4
            assert one["broker"]["received"] > 20 * 32
        assert sum(first["store"]["requests"].values()) >= sum(second["store"]["requests"].values())
    told = scaling_batch.versions(place, 2000, "noted")
    assert told["bytes_of_memory"] > 50 and told["cpu_seconds"] >= 0
    assert scaling.point_bytes(texts[:3]) > 384 * 4


def test_the_proxy_counts(place: House) -> None:
    with counting(place.store) as (settings, counted):
        store = House(place.broker_url, settings, place.home).objects()
        store.put(store.bucket, "a/b.txt", b"x" * 1000)
        assert store.get(store.bucket, "a/b.txt").data == b"x" * 1000
        assert [item.key for item in store.list(store.bucket, "a/")] == ["a/b.txt"]
        told = counted.plain()
        assert {"PUT": 1, "GET": 1, "LIST": 1}.items() <= told["requests"].items()
        assert told["sent"] > 1000 and told["received"] > 1000
        counted.clear()
        assert counted.plain() == {"requests": {}, "sent": 0, "received": 0}


def test_many_workers_work_off_all_batches(tmp_path: Path) -> None:
    with own_broker(tmp_path / "broker") as broker:
        told = scaling_fleet.simulated(broker.url, workers=20, count=60, seconds=2.0)
    assert told["work_commands"][0] >= 1.5, "half a take, an end"
    assert all(value > 0 for name, (value, _) in told.items() if not name.endswith("_cpu"))
    assert told["submit_bytes"][0] < 28_000, "a script's text does not go with every child"
    json.dumps(told)
