"""The benchmark of the index runs: every step at a tiny size, over the real store and a real gateway."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import redis

from bench import index, index_corpus, index_gateway, index_plot, index_point, index_table
from bench.alone import alone
from bench.index_data import Corpus, key, number_of
from bench.index_house import House, house_of, plain
from bench.index_point import Plan
from bench.sizes import sizes
from runtime.config.settings import StoreSettings
from tests.indexing import fresh_store

SIZE = 300
PLAN = Plan(
    builds=1, publishes=1, searches=64, starts=1, visible=1, seconds=0.2, batch_rows=100, publish_rows=20, step=200
)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    raw = np.random.default_rng(1).standard_normal((200, 32)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", raw / np.linalg.norm(raw, axis=1, keepdims=True))
    (tmp_path / "texts.json").write_text(json.dumps([f"text {number}" for number in range(200)]))
    return Corpus(str(tmp_path / "vectors.npy"), str(tmp_path / "texts.json"))


@pytest.fixture
def place(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    own = fresh_store(store_settings)
    servers = House(broker_url, store_settings.model_dump(), str(tmp_path))
    return house_of(servers, own.bucket)


def test_every_number_is_measured(
    place: House, corpus: Corpus, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def here(step: str, *, one_core: bool = True, **given: Any) -> dict[str, Any]:
        module, _, function = step.partition(":")
        told: dict[str, Any] = getattr(importlib.import_module(f"bench.{module}"), function)(**given)
        assert json.loads(json.dumps(told)) == told, "it must survive the way out of a process"
        return told

    monkeypatch.setattr(index_point, "alone", here)
    monkeypatch.setattr(index_gateway, "keep_apart", lambda pid: None)
    point = index_point.of(place, corpus, SIZE, PLAN, served=True)
    index.lines(point, PLAN)
    lines = {line["metric"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert lines["recall_at_10_300"]["ours"] == 1
    assert lines["build_300"]["ratio"] > 0 and lines["search_p50_300"]["peer"] > 0
    assert lines["build_store_alone_300"]["ratio"] > 0
    assert lines["publish_20_on_300_bytes"]["ours"] > 20 * 32 * 4
    wanted = {"build_peak_memory", "concurrent_qps", "http_qps", "visible_ms", "search_many_qps", "open"}
    assert {f"{name}_300" for name in wanted} <= set(lines)
    assert lines["first_answer_300"]["ours"] > 0
    assert all(line["real_vectors"] == 180 for line in lines.values()), "20 of 200 are the queries"
    grown = {"search_anonymous_memory": 1_000_000, "build_growth_bytes": 1_000_000}
    points = [{**point, "vectors": size, **grown} for size in (SIZE, 10 * SIZE)]
    every = sum(len(panel.lines) for panel in index_plot.PANELS)
    assert lines_drawn(points) == every
    # So little may even be given back meanwhile, which has no place on an axis of powers.
    assert lines_drawn([one | {"build_growth_bytes": -4096} for one in points]) == every - 1
    rows = index_table.table([point, {"vectors": 1_000_000}]).splitlines()
    assert rows[0] == "| vectors | 300 | 1,000,000 |" and all(row.count("|") == 4 for row in rows)


def lines_drawn(points: list[dict[str, Any]]) -> int:
    drawn = ElementTree.fromstring(index_plot.svg({"points": points}))  # noqa: S314 - our own
    return len(drawn.findall(".//{*}polyline"))


def test_a_step_in_a_process_of_its_own(place: House, corpus: Corpus) -> None:
    told = alone("index_house:fill", house=plain(place), corpus=plain(corpus), start=0, end=100, batch_rows=40)
    assert told == {"batches": 3}
    with pytest.raises(SystemExit, match="index_house:nothing ended with 1"):
        alone("index_house:nothing")


def test_any_number_of_rows_comes_from_a_corpus(corpus: Corpus) -> None:
    assert (corpus.real, len(corpus.queries)) == (180, 20)
    assert (corpus.vectors(150, 400) == np.concatenate([corpus.vectors(150, 201), corpus.vectors(201, 400)])).all()
    again = corpus.vectors(180, 360)
    assert np.allclose(np.linalg.norm(again, axis=1), 1, atol=1e-5)
    near = np.einsum("ij,ij->i", again, corpus.vectors(0, 180))
    assert near.min() > 0.7 and near.max() < 0.999
    (row,) = corpus.rows(1234, 1235, 7)
    assert (row.key, row.seq, row.text, number_of(row.key)) == (key(1234), 7, "text 154", 1234)


def test_pieces_are_text(tmp_path: Path) -> None:
    words = "a harbour keeps its records in ink and its promises in rope "
    (tmp_path / "a.py").write_text(
        f'"""{words * 9}\n\nToo short."""\n\n\ndef f():\n    """{words * 2}\n\n{"=" * 99}"""\n'
    )
    (tmp_path / "b.md").write_text(f"{words * 2}\n\n{'x' * 500}\n")
    (tmp_path / "c.py").write_text("def broken(:\n")
    code, text, broken = (list(index_corpus._pieces(tmp_path / name)) for name in ("a.py", "b.md", "c.py"))
    assert [len(piece) <= index_corpus.LONGEST for piece in code] == [True] * 3, code
    assert " ".join(code) == (words * 9).strip() + " " + (words * 2).strip()
    assert (text, broken) == ([(words * 2).strip()], [])


def test_sizes_as_people_write_them() -> None:
    assert sizes("10k,1m,2.5k,300") == [10_000, 1_000_000, 2500, 300]
    assert [index.label(size) for size in (10_000, 1_000_000, 2500, 300)] == ["10k", "1m", "2500", "300"]
