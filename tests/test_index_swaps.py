"""Versions swapped into a real gateway while it is searched: the measurement itself, small."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import redis

from bench.index_data import Corpus
from bench.index_house import House, house_of
from bench.index_swaps import run
from runtime.config.settings import StoreSettings


def test_no_query_fails_while_versions_are_swapped(
    broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path
) -> None:
    vectors = np.random.default_rng(3).standard_normal((400, 16)).astype(np.float32)
    np.save(tmp_path / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    (tmp_path / "texts.json").write_text(json.dumps([f"text {number}" for number in range(400)]))
    corpus = Corpus(str(tmp_path / "vectors.npy"), str(tmp_path / "texts.json"))
    home = House(broker_url, store_settings.model_dump(), str(tmp_path))
    answers = run(house_of(home, f"swaps-{uuid.uuid4().hex[:8]}"), corpus, 300, 8, rows=3, seconds=0.2, every=0.0)
    told: dict[str, dict[str, Any]] = {answer["metric"]: answer for answer in answers}
    assert told["swap_p99"]["failed"] == 0
    assert told["swap_p99"]["queries"] > 0
    assert told["swap_processor_p99"]["unit"] == "s"
    assert told["swaps_seen"]["ours"] > 1, "versions came while it was searched"
    assert {"swaps_rss", "swaps_maps", "swaps_open_files", "swaps_cache_bytes"} <= told.keys()
