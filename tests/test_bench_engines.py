"""The benchmark of the engines runs: every step at a tiny size, over the real store, local mode, the engine itself."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from bench import engines, engines_edge
from bench.engines_found import Found
from bench.index_data import Corpus, key
from bench.index_house import House, house_of
from runtime.config.settings import StoreSettings
from tests.indexing import fresh_store
from tests.qdrant_server import serve

SIZE, QUERIES = 60, 4
METRICS = {"build", "build_cpu", "build_memory", "search_p50", "search_p99", "recall_at_10", "memory"}


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    raw = np.random.default_rng(1).standard_normal((100, 32)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", raw / np.linalg.norm(raw, axis=1, keepdims=True))
    (tmp_path / "texts.json").write_text(json.dumps([f"text {number}" for number in range(100)]))
    return Corpus(str(tmp_path / "vectors.npy"), str(tmp_path / "texts.json"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Beside the corpus, which is mapped: its files are not to be written over."""
    made = tmp_path / "edge"
    made.mkdir()
    return made


@pytest.fixture
def places(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> list[House]:
    own = fresh_store(store_settings)
    servers = House(broker_url, store_settings.model_dump(), str(tmp_path))
    return [house_of(servers, f"{own.bucket}-{name}") for name in ("faiss", "qdrant")]


def test_both_engines_are_built_and_asked(places: list[House], corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def here(step: str, **given: Any) -> dict[str, Any]:
        module, _, function = step.partition(":")
        told: dict[str, Any] = getattr(importlib.import_module(f"bench.{module}"), function)(**given)
        assert json.loads(json.dumps(told)) == told, "it must survive the way out of a process"
        return told

    monkeypatch.setattr(engines, "alone", here)
    with serve() as server:
        one = engines.Qdrant(server.url, pid=1)
        monkeypatch.setattr(engines.Qdrant, "memory", lambda self: len(server.seen))
        told = engines.measured(places, corpus, SIZE, one, QUERIES)
    lines = {line["metric"]: line for line in engines.lines(told, one.what)}
    assert set(lines) == METRICS
    for line in lines.values():
        assert line["peer_name"] == "FAISS" and line["unit"]
        assert line["what"] == "qdrant-client's local mode, no measure of the server"
        assert (line["vectors"], line["real_vectors"]) == (SIZE, SIZE)
    assert (lines["recall_at_10"]["ours"], lines["recall_at_10"]["peer"]) == (1, 1)
    assert lines["search_p50"]["ratio"] > 0 and lines["search_p50"]["queries"] == QUERIES
    assert set(engines.flat(told)) == {"build", "build_cpu", "search_p50", "search_p99", "recall_at_10", "disk"}


def test_a_server_of_ones_own_is_called_what_it_is() -> None:
    with engines.qdrant({"TUNDISH_TEST_QDRANT": "http://qdrant:6333/", "TUNDISH_TEST_QDRANT_KEY": "k"}) as one:
        assert (one.what, one.url, one.key) == ("Qdrant", "http://qdrant:6333", "k")
        assert one.engine() == {"engine": "qdrant", "url": one.url, "api_key": "k", "timeout": "120s"}


def test_without_a_server_local_mode_runs_beside() -> None:
    with engines.qdrant({}) as one:
        assert one.url.startswith("http://127.0.0.1:")
        assert one.memory() > 0 and "no measure of the server" in one.what


def test_recall_goes_by_exact_scores(corpus: Corpus) -> None:
    found = Found(corpus, corpus.queries[:1], SIZE)
    best = np.argsort(-(corpus.vectors(0, SIZE) @ corpus.queries[0]))[:10]
    found.note("right", 0, [key(int(number)) for number in best])
    found.note("half", 0, [key(int(number)) for number in best[:5]])
    assert (found.shares("right", 1), found.shares("half", 1)) == ([1.0], [0.5])


def test_what_the_engine_itself_is_given(corpus: Corpus, folder: Path) -> None:
    given = engines_edge.laid_down(folder, corpus, SIZE, QUERIES)
    points = json.loads(Path(given["points"]).read_text())
    assert len(points) == 2 * SIZE, "chunks, then documents"
    assert [points[place][1]["kind"] for place in (0, SIZE - 1, SIZE)] == ["chunk", "chunk", "document"]
    assert np.load(given["vectors"]).shape == (SIZE, 32) and np.load(given["queries"]).shape == (QUERIES, 32)


def test_the_engine_itself_finds_the_same(corpus: Corpus, folder: Path) -> None:
    settings = engines_edge.SETTINGS[:1]
    told = engines_edge.measured(folder, corpus, SIZE, QUERIES, settings)
    lines = list(engines_edge.lines(told, SIZE, {"search_p50": 0.001}))
    assert {line["metric"] for line in lines} >= {"edge_float_build", "edge_float_recall_at_10", "edge_float_memory"}
    assert told["float"]["recall"] == 1
    assert all(line["what"] == "Qdrant Edge, one shard as a library" for line in lines)
