"""Searching by words over HTTP and from the command line, and what functions.yaml says of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from click.testing import CliRunner
from starlette.testclient import TestClient

from runtime.attempts.ports import PortsMaker
from runtime.cli import client
from runtime.cli.documents import search
from runtime.cli.index import index as index_command
from runtime.config import models as config_models
from runtime.config.limits import IndexSpec
from runtime.config.load import load_settings
from runtime.config.settings import Settings, StoreSettings
from runtime.context import Row
from runtime.embedding.client import EmbedderClient
from runtime.errors import ConfigError
from runtime.index.port import FaissIndex
from runtime.store.port import MinioStore
from tests.gatewaying import deployment, problem, serving, settings
from tests.workers import until

TEXTS = ["one", "two", "the pump QX-7781"]


@pytest.fixture(scope="module")
def made(broker_url: str, store_settings: StoreSettings, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An index with words, one without them, and one that is to have them and was written before."""
    own = store_settings.model_copy(update={"bucket": f"tundish-{uuid.uuid4().hex[:12]}"})
    store = MinioStore(own)
    store.ensure_bucket(own.bucket)
    client = redis.Redis.from_url(broker_url)
    for name in ("default", "plain", "before"):
        rows = [Row("documents", text, "e", at, text=text, end=len(text)) for at, text in enumerate(TEXTS)]
        index = FaissIndex(store, client, hybrid=lambda index: index == "default")
        index.write_batch(name, uuid.uuid4().hex * 2, rows, np.eye(len(TEXTS), dtype=np.float32), "test")
        index.build(name)
    client.close()
    found = settings(broker_url, own, tmp_path_factory.mktemp("home"))
    named = {
        "default": IndexSpec(hybrid=True),
        "plain": IndexSpec(),
        "before": IndexSpec(hybrid=True),
        "built": IndexSpec(hybrid=True),
    }
    return found.model_copy(update={"project": found.project.model_copy(update={"indexes": named})})


@pytest.fixture(scope="module")
def web(made: Settings) -> Iterator[TestClient]:
    async def embed(_: EmbedderClient, texts: list[str], model: str = "") -> Any:
        return np.array([[1, 0.5, 0]], np.float32)

    with pytest.MonkeyPatch.context() as patch, serving(made) as asking:
        patch.setattr(EmbedderClient, "embed", embed)
        for path in (f"/search?vector=1,0,0&index={name}" for name in ("default", "plain", "before")):
            until(lambda path=path: bool(asking.get(path).json()["results"]))  # type: ignore[misc]
        yield asking


def found(web: TestClient, **asked: Any) -> tuple[str, list[str]]:
    told = web.get("/search", params=asked).json()
    assert web.post("/search", json=asked).json()["results"] == told["results"]
    return told["mode"], [hit["key"] for hit in told["results"]]


def test_a_text_is_looked_for_by_both(web: TestClient) -> None:
    assert found(web, q="qx-7781", k=1) == ("hybrid", [TEXTS[2]])
    assert found(web, q="qx-7781") == ("hybrid", [TEXTS[2], TEXTS[0], TEXTS[1]])
    assert found(web, q="qx-7781", mode="hybrid", k=1) == ("hybrid", [TEXTS[2]])
    assert found(web, q="qx-7781", mode="text") == ("text", [TEXTS[2]])
    assert found(web, q="qx-7781", mode="vector", k=1) == ("vector", [TEXTS[0]])
    assert found(web, q="qx-7781", mode="text", min_score=0.1) == ("text", [])
    assert web.get("/search", params={"q": "qx-7781"}).json()["results"][0]["score"] == pytest.approx(0)
    assert "7781" in web.get("/plain?q=qx-7781").text
    told = web.get("/search?vector=1,0.5,0&k=1").json()
    assert (told["mode"], [hit["key"] for hit in told["results"]]) == ("vector", [TEXTS[0]])
    assert web.get("/search?vector=1,0.5,0&mode=vector").status_code == 200


def test_an_index_without_words(web: TestClient) -> None:
    assert found(web, q="qx-7781", index="plain", k=1) == ("vector", [TEXTS[0]])
    assert found(web, q="qx-7781", index="before", k=1) == ("vector", [TEXTS[0]])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("q=a&mode=words", "'vector', 'text' or 'hybrid'"),
        ("vector=1,0,0&mode=text", "text needs words: give q"),
        ("q=a&mode=text&index=plain", "write `indexes: {plain: {hybrid: true}}` into functions.yaml"),
        ("q=a&mode=hybrid&index=before", "tundish index build"),
    ],
)
def test_what_cannot_be_searched_by_words(web: TestClient, asked: str, said: str) -> None:
    (error,) = problem(web.get(f"/search?{asked}"), 422)["errors"]
    assert error["field"] == "mode"
    assert said in error["message"]


def test_how_many_segments_have_words(web: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "find", lambda environ: Asking(web))
    for name, words, said in (
        ("default", {"segments": 1, "with_words": 1}, "by meaning and by words"),
        ("before", {"segments": 1, "with_words": 0}, "0 of 1 segments have words"),
        ("plain", None, ""),
    ):
        assert web.get(f"/admin/index-version?index={name}").json()["words"] == words
        shown = CliRunner().invoke(index_command, ["--index", name], obj={})
        assert ("hybrid:" in shown.output, said in shown.output) == (words is not None, True), shown.output


def test_functions_build_words(web: TestClient, made: Settings, broker_url: str) -> None:
    with redis.Redis.from_url(broker_url) as own:
        index = PortsMaker(own, deployment(made))._shared.index
        index.write_batch(
            "built", uuid.uuid4().hex * 2, [Row("documents", "k", "e", 1)], np.eye(1, 3, dtype=np.float32), "m"
        )
        version = index.build("built").version
    until(lambda: web.get("/admin/index-version?index=built").json()["version"] == version)
    assert web.get("/admin/index-version?index=built").json()["words"] == {"segments": 1, "with_words": 1}


class Asking:
    """The client of the command line, over the gateway of the test."""

    def __init__(self, web: TestClient) -> None:
        self._web = web

    def get(self, path: str, **asked: str) -> Any:
        return self._web.get(path, params=asked).json()


@pytest.mark.parametrize(("options", "best"), [([], 2), (["--mode", "text"], 2), (["--mode", "vector"], 0)])
def test_the_command(web: TestClient, monkeypatch: pytest.MonkeyPatch, options: list[str], best: int) -> None:
    monkeypatch.setattr(client, "find", lambda environ: Asking(web))
    done = CliRunner().invoke(search, ["qx-7781", "-k", "1", *options], obj={})
    assert f"documents/{TEXTS[best]}" in done.output, done.output


def test_functions_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text("version: 1\nindexes: {default: {hybrid: true}, plain: {}}\nfunctions: {}\n")
    project = load_settings({}, file=file).project
    assert [project.is_hybrid(name) for name in ("default", "plain", "unknown")] == [True, False, False]
    monkeypatch.setattr(config_models, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"functions.yaml:2: indexes.default.hybrid: .*tundish\[hybrid\]"):
        load_settings({}, file=file)
