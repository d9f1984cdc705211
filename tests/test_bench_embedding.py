"""The benchmarks of the model run: every step at a tiny size, over the real store and the real model."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import redis

from bench import embedding, embedding_alone, embedding_texts, quality
from bench.embedding_texts import texts
from bench.index_house import House, house_of
from runtime.config.settings import StoreSettings
from runtime.embedding.backend import SentenceTransformerModels
from tests.indexing import fresh_store


@pytest.fixture(scope="module")
def models() -> SentenceTransformerModels:
    return SentenceTransformerModels()


@pytest.fixture
def place(broker_url: str, store_settings: StoreSettings, redis_client: redis.Redis, tmp_path: Path) -> House:
    own = fresh_store(store_settings)
    return house_of(House(broker_url, store_settings.model_dump(), str(tmp_path)), own.bucket)


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps run in this process, with the back end that needs no measurement."""

    def alone(step: str, *, one_core: bool = True, **given: Any) -> dict[str, Any]:
        module, _, function = step.partition(":")
        told: dict[str, Any] = getattr(importlib.import_module(f"bench.{module}"), function)(**given)
        assert json.loads(json.dumps(told)) == told, "it must survive the way out of a process"
        return told

    part = embedding_texts.standard_library() / "asyncio"  # all of it takes a minute to read
    monkeypatch.setattr(embedding_texts, "standard_library", lambda: part)
    monkeypatch.setattr(quality, "standard_library", lambda: part)
    monkeypatch.setattr(embedding, "alone", alone)
    monkeypatch.setenv("TUNDISH_BACKEND", "torch-fp32")


def test_texts_have_the_length_that_was_asked_for(models: SentenceTransformerModels) -> None:
    for tokens in (36, 130):
        found = texts(models, 200, tokens)
        lengths = [len(models.tokenize(text)) for text in found]
        assert len(set(found)) == 200
        assert abs(sum(lengths) / 200 - tokens) < tokens / 8
        assert min(lengths) >= tokens / 2 - 3 and max(lengths) <= tokens * 1.5 + 3
    with pytest.raises(ValueError, match="Python's documentation has"):
        texts(models, 10**7, 130)


def test_every_number_is_measured(
    place: House, models: SentenceTransformerModels, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.json"
    found = [f"Text number {number} is about rivers and the sea." for number in range(12)]
    file.write_text(json.dumps(found))
    embedding.of_model(36, embedding_alone.model(str(file), 2))
    embedding.uploaded(place, place.home.rpartition("/")[2], file)
    prefix = place.home.rpartition("/")[2]
    embedding.of_pipeline(36, "one", embedding.through(place, prefix, file, 6, one_core=True))
    lines = {line["metric"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert lines["docs_per_second_36"]["peer"] > 0 and lines["docs_per_second_36"]["backend"] == "torch-fp32"
    assert lines["mean_cosine_36"]["ours"] > 0.9999
    assert lines["pipeline_share_36"]["ours"] > 0
    assert lines["worker_memory_36"]["ours"] > 100
    assert {"met", "workers_for_60_s"} <= set(lines["seconds_for_100000_36"])


def test_items_are_found_by_both(place: House, tmp_path: Path) -> None:
    file = tmp_path / "items.json"
    found = [["All about apples.", "Apples grow on trees."], ["Of the sea.", "Tides come and go twice a day."]]
    file.write_text(json.dumps(found))
    told = quality.both({"broker_url": place.broker_url, "store": dict(place.store), "home": place.home}, str(file))
    assert told["ours_mrr_at_10"] == told["reference_mrr_at_10"] == 1
    assert told["of"]["items"] == 2


def test_items_come_from_python_itself(models: SentenceTransformerModels) -> None:
    found = quality.items(20)
    assert len(found) == len({item.text for item in found}) == 20
    assert all(item.summary and item.text for item in found)


def test_what_is_not_among_the_first_ten_counts_nothing() -> None:
    assert quality.scores("x", [[0, 1], [2, 1], [5]]) == {"x_mrr_at_10": 0.5, "x_recall_at_10": 0.66667}
