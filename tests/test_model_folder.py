"""What a model's folder says, where it is found, and which ones are refused. No model is loaded."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.given import Given, cache_folder, locked
from runtime.errors import ServiceFailed
from runtime.models import folder as folders
from runtime.models.folder import Prompts
from runtime.models.place import resolve
from tests.test_models import saved


def write(folder: Path, **files: Any) -> Path:
    """JSON files, by their names without the end; `__` stands for a slash."""
    for name, content in files.items():
        path = folder / f"{name.replace('__', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return folder


def modules(*kinds: str) -> list[dict[str, Any]]:
    library = "sentence_transformers.sentence_transformer.modules"
    return [
        {"path": f"{place}_{kind}" if place else "", "type": kind if "." in kind else f"{library}.{kind}"}
        for place, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"sentence_bert_config": {"max_seq_length": 128}, "config": {"max_position_embeddings": 512}}, 128),
        ({"sentence_bert_config": {}, "config": {"max_position_embeddings": 512}}, 512),
        (  # as sentence-transformers 6 saves the built-in model
            {
                "sentence_bert_config": {"transformer_task": "feature-extraction"},
                "tokenizer_config": {"model_max_length": 256},
                "config": {"max_position_embeddings": 512},
            },
            256,
        ),
        (  # RoBERTa: two positions are no token's
            {
                "sentence_bert_config": {"max_seq_length": None},
                "tokenizer_config": {"model_max_length": 512},
                "config": {"max_position_embeddings": 514},
            },
            512,
        ),
        ({"sentence_bert_config": {}, "tokenizer_config": {"model_max_length": 10**30}}, 512),
        ({"modules": modules("StaticEmbedding")}, 8192),
    ],
    ids=("said", "positions", "with-the-tokenizer", "roberta", "no-limit", "static"),
)
def test_how_much_a_model_reads(files: dict[str, Any], wanted: int, tmp_path: Path) -> None:
    assert folders.longest(write(saved(tmp_path), **files)) == wanted


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({"word_embedding_dimension": 8, "pooling_mode_cls_token": True, "include_prompt": True}, ("cls", 8)),
        ({"embedding_dimension": 8, "pooling_mode": "lasttoken", "include_prompt": True}, ("lasttoken", 8)),
        ({"embedding_dimension": 8, "pooling_mode": ["mean", "max"]}, ("mean+max", 16)),
        (
            {"word_embedding_dimension": 8, "pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
            ("mean+max", 16),
        ),
    ],
    ids=("old", "new", "several", "several-old"),
)
def test_pooling_and_dimensions(config: dict[str, Any], wanted: tuple[str, int], tmp_path: Path) -> None:
    folder = write(saved(tmp_path), **{"1_Pooling__config": config})
    assert (folders.pooling(folder), folders.dimensions(folder)) == wanted


def test_a_static_model(tmp_path: Path) -> None:
    folder = write(saved(tmp_path), modules=modules("StaticEmbedding", "Normalize"))
    header = json.dumps({"embedding.weight": {"dtype": "F32", "shape": [30522, 64], "data_offsets": [0, 1]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    assert resolve(str(folder), tmp_path) == folder
    assert (folders.pooling(folder), folders.dimensions(folder)) == ("static", 64)


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({}, Prompts()),
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, Prompts("query: ", "passage: ")),
        ({"prompts": {"query": "Ask: ", "document": "", "passage": "p: "}}, Prompts("Ask: ", "p: ")),
        ({"prompts": {"all": "x: ", "query": None}, "default_prompt_name": "all"}, Prompts("x: ", "x: ")),
        ({"prompts": {"query": "", "document": ""}, "default_prompt_name": None}, Prompts()),
    ],
    ids=("none", "two", "names-in-order", "for-all", "empty"),
)
def test_prompts(said: dict[str, Any], wanted: Prompts, tmp_path: Path) -> None:
    assert folders.prompts(write(saved(tmp_path), config_sentence_transformers=said)) == wanted


def test_a_prompt_before_documents_is_part_of_the_identity(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    plain = SentenceTransformerModels(folder=folder).identity
    assert SentenceTransformerModels(folder=folder, prompts=Prompts("query: ")).identity == plain
    other = SentenceTransformerModels(folder=folder, prompts=Prompts("query: ", "passage: ")).identity
    assert other.startswith(f"{plain}/prompt-")


def test_prompts_that_the_pooling_leaves_out(tmp_path: Path) -> None:
    config = {"embedding_dimension": 8, "pooling_mode": "mean", "include_prompt": False}
    folder = write(saved(tmp_path), **{"1_Pooling__config": config})
    SentenceTransformerModels(folder=folder).check()
    with pytest.raises(ServiceFailed, match=r"include_prompt: false.*models.e5.prompts"):
        SentenceTransformerModels(folder=folder, label="e5", prompts=Prompts("query: ")).check()


def _code(folder: Path) -> None:
    write(folder, modules=modules("custom_st.Transformer", "Pooling"))


def _unknown(folder: Path) -> None:
    write(folder, modules=modules("Transformer", "Pooling", "LSTM"))


def _asymmetric(folder: Path) -> None:
    write(folder, modules=modules("Router"))


def _pickled(folder: Path) -> None:
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"?")


def _pointer(folder: Path) -> None:
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n")


def _broken(folder: Path) -> None:
    (folder / "modules.json").write_text('[{"path": ')


def _no_list(folder: Path) -> None:
    (folder / "modules.json").write_text('{"path": ""}')


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_code, "code of its own .custom_st.Transformer., which is not run"),
        (_unknown, "a module LSTM as its number 3, which is not supported"),
        (_asymmetric, "a module Router as its number 1"),
        (_pickled, "2_Dense/pytorch_model.bin are in a format that may hold code"),
        (_pointer, "a pointer of git lfs, not the weights. Fetch them: git lfs pull"),
        (_broken, "modules.json cannot be read: .* Copy the model anew"),
        (_no_list, "not a list of modules"),
    ],
    ids=("code", "module", "router", "pickle", "lfs", "json", "no-list"),
)
def test_what_cannot_be_used_is_told(damage: Callable[[Path], None], words: str, tmp_path: Path) -> None:
    damage(saved(tmp_path / "m"))
    with pytest.raises(ServiceFailed, match=words):
        resolve("m", tmp_path)


def test_weights_of_a_training_are_left_out(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m")
    before = folders.weights_hash(folder)
    saved(folder / "checkpoint-500", "others")
    saved(folder / ".cache" / "x", "others")
    assert folders.weights_hash(folder) == before


def test_a_package_by_the_name_that_pip_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "house_embeddings" / "model")
    (tmp_path / "house_embeddings" / "__init__.py").write_text("raise SystemExit('code is not run')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert resolve("house-embeddings", tmp_path / "nowhere").name == "model"
    assert "house_embeddings" not in sys.modules


def test_a_name_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ServiceFailed, match="nothing is fetched by itself: hf download some-org"):
        resolve("some-org/some.model", tmp_path)
    kept = tmp_path / "models--some-org--some.model"
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("a1b2c3")
    saved(kept / "snapshots" / "a1b2c3")
    assert resolve("some-org/some.model", tmp_path) == kept / "snapshots" / "a1b2c3"


def test_models_of_the_same_weights_share_no_converted_one(tmp_path: Path) -> None:
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    write(two, **{"1_Pooling__config": {"word_embedding_dimension": 8, "pooling_mode_cls_token": True}})
    assert folders.weights_hash(one) == folders.weights_hash(two)
    caches = [
        Given(folder, folders.weights_hash(folder), 128).cache for folder in (one, two, saved(tmp_path / "three"))
    ]
    assert caches[0] != caches[1]
    assert caches[0] == caches[2]


def test_a_cache_that_others_could_write_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    nowhere = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    found = cache_folder(nowhere)
    assert found.parent == tmp_path and found.stat().st_mode & 0o777 == 0o700
    found.chmod(0o777)
    with pytest.raises(ServiceFailed, match="not a folder that only this user can write"):
        cache_folder(nowhere)
    found.rmdir()
    found.symlink_to(tmp_path)
    with pytest.raises(ServiceFailed, match="not a folder that only this user can write"):
        cache_folder(nowhere)
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    with pytest.raises(ServiceFailed, match="no folder to keep models in"):
        cache_folder(nowhere)


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ServiceFailed, match="cannot be written"), locked(tmp_path / "file" / "m"):
        pass
