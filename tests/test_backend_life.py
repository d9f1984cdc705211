"""A model's back end in a process: when another one takes over, and what happens where it cannot. None is loaded."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runtime.config.load import load_settings
from runtime.embedding import behind, choice
from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.choice import Choice
from runtime.embedding.given import Given
from runtime.embedding.library import Library, library
from runtime.embedding.measuring import FAILED, Measured
from runtime.errors import ServiceFailed
from runtime.models import backends
from tests.test_backends import EXACT, FAST, Engine
from tests.test_models import saved

NAMES = ["torch-fp32", "torch-bf16"]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two back ends, and nothing in its cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(backends, "usable", lambda: NAMES)
    monkeypatch.setattr(backends, "trouble", lambda name: "")


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Which back ends were measured, measurement by measurement."""
    known: list[list[str]] = []

    def _measure(given: Given, names: Sequence[str]) -> list[Measured]:
        known.append(list(names))
        return [EXACT, *(FAST for name in names if name == FAST.backend)]

    monkeypatch.setattr(choice, "_measure", _measure)
    return known


@pytest.fixture(autouse=True)
def broken(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The back ends that cannot be loaded."""
    names = set[str]()

    def load(backend: str, given: Given, threads: int) -> Engine:
        if backend in names:
            raise RuntimeError(f"{backend} is broken\nand more")
        return Engine()

    monkeypatch.setattr("runtime.embedding.engine.load", load)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return saved(tmp_path / "m", dimensions=32)


def given_of(folder: Path) -> Given:
    return SentenceTransformerModels(folder=folder).given


def test_nowhere_to_keep_what_is_measured(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only home without a temporary folder: fp32 works, and a back end that is set by hand says what to do."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    assert choice.choose(given_of(folder)) == Choice("torch-fp32")
    assert choice.foreseen(given_of(folder)) == ""
    with pytest.raises(ServiceFailed, match="XDG_CACHE_HOME names another folder"):
        choice.choose(given_of(folder), "torch-bf16")


def test_a_full_disk_leaves_nothing_half(folder: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, text: str) -> int:
        with self.open("w") as file:
            file.write(text[:5])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", full)
        assert choice.measured(given_of(folder), ["torch-bf16"]) == [EXACT, FAST]
    assert [path.name for path in given_of(folder).cache.iterdir()] == ["lock"]
    assert choice.measured(given_of(folder), ["torch-bf16"]) == [EXACT, FAST]
    assert len(asked) == 2


def test_a_model_that_gives_no_numbers_is_run_by_fp32(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Measured("torch-fp32", cosine=float("nan"), refused="mean cosine nan")
    monkeypatch.setattr(choice, "_measure", lambda *_: [nothing, FAST])
    choice.measured(given_of(folder), ["torch-bf16"])
    assert choice.choose(given_of(folder)).backend == "torch-fp32"


def test_what_failed_is_tried_again(folder: Path, asked: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk was full; by the next day, or when somebody who has pinned it starts again, it is not."""
    given, at = given_of(folder), time.time() - 100
    failed = Measured("torch-bf16", refused=f"{FAILED}No space left on device", at=at)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "_measure", lambda *_: [EXACT, failed])
        choice.measured(given, NAMES)
    assert choice.choose(given) == Choice("torch-fp32", (EXACT, failed))
    assert not choice.missing(given, NAMES) and not asked
    assert choice.choose(given, "torch-bf16").backend == "torch-bf16", "it is measured at once where it is pinned"
    assert asked == [["torch-bf16"]]
    with monkeypatch.context() as patch:
        patch.setattr(choice, "_measure", lambda *_: [EXACT, replace(failed, at=at - choice.TRY_AGAIN)])
        choice.measured(given, NAMES, again=True)
    assert choice.missing(given, NAMES) == ["torch-bf16"]
    assert choice.measured(given, NAMES) == [EXACT, FAST]


def test_several_models_are_measured_by_one_child(tmp_path: Path) -> None:
    one, two = (SentenceTransformerModels(folder=saved(tmp_path / name, name), backend="") for name in "ab")
    choice.measured(one.given, NAMES)
    pinned = SentenceTransformerModels(folder=saved(tmp_path / "c", "c"), backend="torch-bf16")
    assert behind.begin([one]) is behind.begin([one, pinned]) is behind.begin([]) is None, "all is known"
    child = behind.begin([one, two])
    assert child is not None and child.args[-2:] == [str(tmp_path / "a"), str(tmp_path / "b")]  # type: ignore[index]
    child.kill()
    child.wait()


def test_one_that_cannot_be_loaded(folder: Path, broken: set[str], caplog: pytest.LogCaptureFixture) -> None:
    models = SentenceTransformerModels(folder=folder, backend="")
    choice.measured(models.given, NAMES)
    broken.add("torch-bf16")
    assert models.embed(["a text"]).shape == (1, 32)
    assert models.backend == "torch-fp32", "it says what really runs it"
    assert "is run by torch-fp32: " in caplog.text and "by torch-bf16: torch-bf16 is broken" in caplog.text
    with pytest.raises(ServiceFailed, match=r"cannot be loaded by torch-bf16: torch-bf16 is broken$"):
        SentenceTransformerModels(folder=folder, backend="torch-bf16").embed(["a text"])


def test_workers_go_over_between_two_calls(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.embedding.backend.LOOK_SECONDS", 0)
    models = Library({"m": "m"}, folder.parent, default="m")
    under_way = models.get(models.name)
    under_way.embed(["a text"])
    assert models.get(models.name) is under_way
    choice.measured(under_way.given, NAMES)
    under_way.embed(["another"])
    assert under_way.backend == "torch-fp32", "a batch names what has made its vectors"
    newer = models.get(models.name)
    newer.embed(["a text"])
    assert (newer.backend, models.backend) == ("torch-bf16", "torch-bf16")
    assert models.get(models.name) is newer


def test_fp32_that_is_best_is_not_looked_for_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.embedding.backend.LOOK_SECONDS", 0)
    monkeypatch.setattr(choice, "_measure", lambda *_: [EXACT, Measured("torch-bf16", refused="its vectors differ")])
    models = SentenceTransformerModels(folder=folder, backend="")
    models.load()
    choice.measured(models.given, NAMES)
    assert not models.outdated() and models.choice.measured
    monkeypatch.setattr(choice, "choose", lambda *_, **__: pytest.fail("it is known"))
    assert not models.outdated()


def test_the_embedder_goes_over_at_once(folder: Path, broken: set[str], caplog: pytest.LogCaptureFixture) -> None:
    first, second = (Library({"m": "m"}, folder.parent, default="m", queries=True) for _ in range(2))
    for models in (first, second):
        models.load()
        models.choose_again()
        assert models.backend == "torch-fp32"
    choice.measured(given_of(folder), NAMES)
    first.choose_again()
    assert first.backend == "torch-bf16" and first.embed(["a text"]).shape == (1, 32)
    broken.add("torch-bf16")
    second.choose_again()
    assert second.backend == "torch-fp32" and second.embed(["a text"]).shape == (1, 32)
    assert "goes on with torch-fp32" in caplog.text


def test_weights_that_are_replaced_under_a_process(folder: Path) -> None:
    models = SentenceTransformerModels(folder=folder)
    assert models.name
    (folder / "model.safetensors").write_text("others")
    with pytest.raises(ServiceFailed, match="have changed since this process read them"):
        models.embed(["a text"])


def test_prompts_stand_before_texts(folder: Path) -> None:
    file = folder.parent / "functions.yaml"
    prompts = '{query: "ask ", document: "told "}'
    file.write_text(f"version: 1\nfunctions: {{}}\nmodels: {{m: {{path: m, prompts: {prompts}}}, n: m}}")
    settings = load_settings({"TUNDISH_HOME": str(folder.parent)}, file=file)
    documents, queries = library(settings), library(settings, queries=True)
    plain = documents.get("n").embed(["told bread", "ask bread"])
    assert np.array_equal(documents.get("m").embed(["bread"])[0], plain[0])
    assert np.array_equal(queries.get("m").embed(["bread"])[0], plain[1])
    assert documents.get("m").name == queries.get("m").name != documents.get("n").name
