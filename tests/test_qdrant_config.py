"""What functions.yaml may say of an index's engine, and what is told where it is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from functions.stats import stats
from runtime.cli.main import cli
from runtime.config.load import load_settings
from runtime.errors import ConfigError
from runtime.index import terms
from runtime.security.redact import known
from runtime.testing import MemoryIndex, MemoryStore, fake_context

FILE = """
version: 1
functions: {{f: {{handler: shop.py:sell}}}}
indexes: {{archive: {{{index}}}}}
"""


def write(folder: Path, index: str) -> Path:
    (folder / "shop.py").write_text("def sell(): ...\n")
    file = folder / "functions.yaml"
    file.write_text(FILE.format(index=index))
    return file


def test_everything(tmp_path: Path) -> None:
    text = "engine: qdrant, url: '${QDRANT_URL}', api_key: '${KEY}', shards: 6, replicas: 2"
    text += ", on_disk: true, quantization: int8"
    environ = {"QDRANT_URL": "https://qdrant.example/", "KEY": "secret-of-qdrant"}
    settings = load_settings(environ, file=write(tmp_path, text))
    spec = settings.project.engine_of("archive")
    assert (spec.engine, spec.url, spec.shards, spec.replicas) == ("qdrant", "https://qdrant.example", 6, 2)
    assert (spec.on_disk, spec.quantization, spec.timeout) == (True, "int8", 10.0)
    assert settings.project.engine_of("another").engine == "faiss"
    assert "secret-of-qdrant" not in repr(settings) and "secret-of-qdrant" in known(settings)
    shown = CliRunner().invoke(
        cli, ["check", "--effective"], obj={**environ, "TUNDISH_FILE": str(tmp_path / "functions.yaml")}
    )
    assert "archive.url" in shown.output and "secret-of-qdrant" not in shown.output


@pytest.mark.parametrize(
    ("index", "place", "told"),
    [
        ("engine: qdrant", "indexes.archive.url", "is needed with engine: qdrant"),
        ("engine: qdrant, url: 'qdrant:6333'", "indexes.archive.url", "must be the address"),
        ("engine: qdrant, url: 'http://me:word@host'", "indexes.archive.url", "must not hold a name or password"),
        ("engine: qdrant, url: 'http://h', hybrid: true", "indexes.archive.hybrid", "is for engine: faiss"),
        ("shards: 3", "indexes.archive.shards", "is Qdrant's"),
        ("engine: milvus", "indexes.archive.engine", "'faiss' or 'qdrant'"),
        ("engine: qdrant, url: 'http://h', shard: 3", "indexes.archive.shard", "did you mean shards"),
    ],
    ids=["no-url", "no-scheme", "password", "hybrid", "without-url", "another", "typo"],
)
def test_mistakes(tmp_path: Path, index: str, place: str, told: str) -> None:
    with pytest.raises(ConfigError) as found:
        load_settings({}, file=write(tmp_path, index))
    (problem,) = found.value.problems
    assert problem.path == place and told in problem.message and "word" not in str(problem).replace("password", "")


def test_a_library_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.config.engine.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'tundish\[qdrant\]'"):
        load_settings({}, file=write(tmp_path, "engine: qdrant, url: 'http://h'"))


@pytest.mark.parametrize(("vectors", "named"), [(349_000, False), (351_000, True)], ids=["fine", "plan"])
def test_stats_names_the_command(monkeypatch: pytest.MonkeyPatch, vectors: int, named: bool) -> None:
    from runtime.context import IndexVersion

    index = MemoryIndex()
    for kind, expected in (("compact", named), ("qdrant", False)):
        version = IndexVersion("archive", 3, "ab", vectors, 10, 384, 1000, 0.0, kind, "model")
        monkeypatch.setattr(index, "current", lambda name, version=version: version)
        told = stats("archive", context=fake_context(store=MemoryStore(), index=index))
        command = "tundish index migrate --engine qdrant --index archive"
        assert (command in told.next_step) == expected
        assert (told.capacity is None) == (kind == "qdrant")


@pytest.mark.parametrize("value", [0.0, -1.5, 12.0, 1e300, -1e-300])
def test_numbers_in_terms(value: float) -> None:
    assert terms.numbered(terms.meta_number("a name", value)) == ("a name", value)
    assert terms.numbered(terms.meta_text("a name", str(value))) is None
    assert terms.numbered(terms.text(terms.TYPE, "text/plain")) is None
