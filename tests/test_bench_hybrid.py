"""The measurement of search by words runs: every step at a tiny size, with vectors that mean nothing."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from bench import hybrid, known_items
from runtime.index.docs import Vectors
from tests.indexing import vector


class Models:
    """Stands in for the real model, which takes seconds to load."""

    name = "none"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        return [word.span() for word in re.finditer(r"\S+", text)]

    def embed(self, texts: Sequence[str]) -> Vectors:
        return np.array([vector(text) for text in texts])


def test_it_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(hybrid, "SentenceTransformerModels", Models)
    monkeypatch.setattr(hybrid, "_RESAMPLES", 20)
    monkeypatch.setattr(hybrid, "installed", lambda: ["fts5", "tantivy"])
    monkeypatch.setattr(known_items, "_PACKAGES", "click hypothesis")
    monkeypatch.setattr(sys, "argv", ["bench.hybrid", "--items", "150", "--queries", "10", "--texts", "200"])
    hybrid.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    quality = {(line["kind"], line["ranking"]): line for line in lines if line["metric"] == "known_item"}
    assert len({kind for kind, _ in quality}) == 9
    best = quality["rare name", "tantivy"]
    assert best["recall@1"] > quality["rare name", "vector"]["recall@1"]
    assert set(best) >= {"recall@10", "mrr@10", "mrr@10_difference", "queries"}
    assert quality["rare name", "vector + 1 tantivy"]["recall@10"] >= best["recall@10"] / 2
    costs = [line for line in lines if line["metric"] == "lexical_cost"]
    assert [line["ranker"] for line in costs] == ["fts5", "tantivy"]
    assert all(line["size_mb"] > 0 and line["p50_ms"] > 0 for line in costs)
