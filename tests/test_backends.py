"""Back ends of a model: which one is taken, which one is refused, and what is remembered of it. No model is loaded."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given as examples
from hypothesis import strategies as st

from runtime.cli.main import cli
from runtime.config.load import load_settings
from runtime.embedding import behind, choice, measuring, probes
from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.choice import Choice
from runtime.embedding.given import Given, cache_folder
from runtime.embedding.library import library
from runtime.embedding.measuring import Measured, measure, verdict
from runtime.embedding.tokens import Ids, padded, passes
from runtime.errors import ConfigError, ServiceFailed
from runtime.models import backends
from runtime.telemetry import logs
from tests.indexing import Vectors
from tests.test_models import saved

EXACT = Measured("torch-fp32", 100.0, 30.0, 1.0, 0.98)
FAST = Measured("torch-bf16", 200.0, 50.0, 0.9999, 0.98)


@examples(st.lists(st.integers(0, 300), max_size=200), st.integers(1, 2000), st.integers(1, 50))
def test_passes_hold_every_text_once_and_no_more_than_they_may(lengths: list[int], tokens: int, texts: int) -> None:
    found = list(passes(lengths, tokens, texts))
    assert sorted(place for places in found for place in places) == list(range(len(lengths)))
    assert [lengths[place] for places in found for place in places] == sorted(lengths, reverse=True)
    for places in found:
        assert len(places) == 1 or len(places) * lengths[places[0]] <= tokens
        assert len(places) <= texts


@examples(st.lists(st.lists(st.integers(1, 9), min_size=1, max_size=12), min_size=1, max_size=8))
def test_padding_is_masked(ids: list[Ids]) -> None:
    numbers, mask = padded(ids, 77)
    assert numbers.shape == mask.shape == (len(ids), max(map(len, ids)))
    for row, on, text in zip(numbers.tolist(), mask.tolist(), ids, strict=True):
        assert row == text + [77] * (len(row) - len(text))
        assert on == [1] * len(text) + [0] * (len(row) - len(text))


class Engine:
    """A word is a direction; `turned` adds something that only this back end has."""

    def __init__(self, turned: float = 0.0) -> None:
        self._turned = turned

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        return [[sum(word.encode()) % 997 for word in text.split()] or [0] for text in texts]

    def vectors(self, ids: Sequence[Ids]) -> Vectors:
        found = np.zeros((len(ids), 32), np.float32)
        for place, text in enumerate(ids):
            for number in text:
                found[place] += np.random.default_rng(number).standard_normal(32)
            found[place] += self._turned * np.random.default_rng(place + 10**6).standard_normal(32)
        unit: Vectors = found / np.linalg.norm(found, axis=1, keepdims=True)
        return unit


GIVEN = Given(Path(), "0" * 64, 256)


def test_what_is_not_faithful_is_refused_with_the_numbers() -> None:
    def load(name: str, given: Given, threads: int) -> Engine:
        if name == "onnx":
            raise RuntimeError("no such operator\nand a long story")
        return Engine({"openvino": 2.0, "torch-bf16": 0.001}.get(name, 0.0))

    exact, bf16, openvino, onnx = measure(GIVEN, ("torch-fp32", "torch-bf16", "openvino", "onnx"), load)
    assert (exact.backend, exact.cosine, exact.refused) == ("torch-fp32", 1.0, "")
    assert (bf16.refused, bf16.rank) == ("", exact.rank)
    assert bf16.cosine >= measuring.COSINE and min(bf16.short, bf16.long) > 0
    assert "mean cosine 0." in openvino.refused and "at least 0.999" in openvino.refused
    assert onnx.refused == "it failed: no such operator"


def test_the_gate() -> None:
    assert verdict(0.99901, 0.9, 0.9) == ""
    assert "0.99899" in verdict(0.99899, 0.9, 0.9)
    assert "mean cosine nan" in verdict(float("nan"), 0.9, 0.9)
    assert "was 0.9030" in verdict(1.0, 0.9, 0.903)
    assert verdict(1.0, 0.9, 0.901) == "", "a rank that is a little worse is chance"


def test_the_probes_are_questions_with_answers() -> None:
    assert len(probes.PASSAGES) == len(probes.QUESTIONS) == len(set(probes.PASSAGES)) == len(set(probes.QUESTIONS))
    texts = probes.texts()
    assert texts[: len(probes.PASSAGES)] == list(probes.PASSAGES)
    assert texts[len(probes.PASSAGES) :][: len(probes.QUESTIONS)] == list(probes.QUESTIONS)


@pytest.mark.parametrize(
    ("others", "wanted"),
    [
        ([FAST], "torch-bf16"),
        ([FAST, Measured("openvino", 220.0, 55.0, 0.9999, 0.98)], "openvino"),
        ([FAST, Measured("openvino", 900.0, 900.0, 0.9, 0.98, "it differs")], "torch-bf16"),
        ([Measured("onnx", 109.0, 30.0, 1.0, 0.98)], "torch-fp32"),
        ([Measured("cuda", refused="it failed: no driver")], "torch-fp32"),
        ([], "torch-fp32"),
    ],
)
def test_the_fastest_faithful_one_is_taken(others: list[Measured], wanted: str) -> None:
    assert choice.best([EXACT, *others]) == wanted


@pytest.fixture
def given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Given:
    """A model with a cache of its own, on a machine that has two back ends."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(backends, "usable", lambda: ["torch-fp32", "torch-bf16"])
    monkeypatch.setattr(backends, "trouble", lambda name: "" if name.startswith("torch") else "It is not here.")
    return Given(tmp_path, "1" * 64, 256)


Asked = list[list[str]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """Which back ends were measured, measurement by measurement."""
    known: Asked = []

    def _measure(given: Given, names: Sequence[str]) -> list[Measured]:
        known.append(list(names))
        return [EXACT, *(FAST for name in names if name == FAST.backend)]

    monkeypatch.setattr(choice, "_measure", _measure)
    return known


def test_a_machine_is_measured_once(given: Given, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    names = backends.usable()
    assert choice.foreseen(given) == ""
    assert (choice.choose(given), asked) == (Choice("torch-fp32"), []), "nobody waits for a measurement"
    assert choice.measured(given, names) == choice.measured(given, names) == [EXACT, FAST]
    assert choice.choose(given) == Choice("torch-bf16", (EXACT, FAST))
    assert asked == [["torch-fp32", "torch-bf16"]]
    assert choice.foreseen(given) == "torch-bf16"
    choice.measured(given, ["torch-bf16"], again=True)
    assert len(asked) == 2
    [file] = given.cache.glob("measured-*.json")
    file.write_text(file.read_text()[:-20])
    assert choice.missing(given, names) == names
    choice.measured(given, names)
    assert len(asked) == 3, "what cannot be read is measured anew"
    monkeypatch.setattr(backends, "machine", lambda: {"cpu": "another one"})
    choice.measured(given, names)
    assert len(asked) == 4, "another machine is measured for itself"


def test_nothing_to_choose_from_is_not_measured(given: Given, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backends, "usable", lambda: ["torch-fp32"])
    assert (choice.choose(given), choice.foreseen(given)) == (Choice("torch-fp32"), "torch-fp32")
    assert choice.choose(given, "torch-fp32") == Choice("torch-fp32")
    assert asked == []


def test_one_that_is_set_by_hand(given: Given, asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.choose(given, "torch-bf16").backend == "torch-bf16"
    assert asked == [["torch-bf16"]]
    with pytest.raises(ServiceFailed, match=r"has mine run by openvino\. It is not here"):
        choice.choose(given, "openvino", label="mine")
    refused = Measured("torch-bf16", cosine=0.9, refused="its vectors differ")
    monkeypatch.setattr(choice, "_measure", lambda *_: [EXACT, refused])
    choice.measured(given, ["torch-bf16"], again=True)
    with pytest.raises(ServiceFailed, match="which is refused: its vectors differ"):
        choice.choose(given, "torch-bf16")
    assert choice.choose(given).backend == "torch-fp32", "who has set nothing goes on with fp32"


def test_a_measurement_that_fails_stops_nobody(
    given: Given, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Weights that are none: the child that measures ends with an error.
    folder = saved(tmp_path / "m")
    monkeypatch.setattr(os, "nice", lambda by: by)
    monkeypatch.setattr(logs, "setup", lambda *_, **__: None)
    with caplog.at_level(logging.WARNING, "tundish.models"):
        assert behind.main([str(folder)]) == 1
    assert f"torch-fp32 goes on for the model in {folder}: The back ends could not be measured" in caplog.text
    assert SentenceTransformerModels(folder=folder, backend="").choice == Choice("torch-fp32")
    assert not list(tmp_path.rglob("measured-*"))


def test_the_cache_of_a_user_without_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path / "file")}).parent == tmp_path
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path / "x")}) == tmp_path / "x" / "tundish" / "models"


YAML = """
version: 1
functions: {}
"""

Load = Callable[..., dict[str, str]]


@pytest.fixture
def told(tmp_path: Path) -> Load:
    """What is wrong with a functions.yaml, by path."""

    def load(more: str, **environ: str) -> dict[str, str]:
        (tmp_path / "functions.yaml").write_text(YAML + more)
        try:
            load_settings({"TUNDISH_HOME": str(tmp_path), **environ}, file=tmp_path / "functions.yaml")
        except ConfigError as caught:
            return {problem.path: problem.message for problem in caught.problems}
        return {}

    return load


def test_functions_yaml_sets_back_ends(told: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "m")
    monkeypatch.setattr(backends, "has_bf16", lambda: False)
    monkeypatch.setattr(backends, "_has_gpu", lambda: False)
    more = "backend: torch-bf16\nmodels: {one: {path: m, backend: cuda}, two: {path: m, backend: fast}, three: {p: m}}"
    found = told(more)
    assert "'torch-fp32'" in found["models.two.backend"]
    assert {"backend", "models.one.backend", "models.two.backend", "models.three.p"} < set(found)
    assert "no instructions for bf16" in found["backend"]
    assert "no GPU" in found["models.one.backend"]
    assert told("backend: torch-fp32\nmodels: {one: m, two: {path: m, backend: auto}}") == {}
    assert "not one of auto, torch-fp32" in told("", TUNDISH_BACKEND="quick")["TUNDISH_BACKEND"]
    assert "no GPU" in told("", TUNDISH_BACKEND="cuda")["TUNDISH_BACKEND"]


def test_a_model_of_its_own_wins_and_then_the_environment(tmp_path: Path) -> None:
    saved(tmp_path / "m")
    file = tmp_path / "functions.yaml"
    file.write_text(YAML + "backend: auto\nmodels: {one: {path: m, backend: torch-fp32}, two: m}")
    for environ, wanted in (({}, ""), ({"TUNDISH_BACKEND": "torch-fp32"}, "torch-fp32")):
        found = library(load_settings({"TUNDISH_HOME": str(tmp_path), **environ}, file=file))
        pinned = {name: found.get(name).pinned for name in found.names}
        assert pinned == {"all-MiniLM-L6-v2": wanted, "one": "torch-fp32", "two": wanted}


def test_weights_are_those_that_functions_yaml_wants(tmp_path: Path) -> None:
    folder = saved(tmp_path / "m", "weights")
    with pytest.raises(ServiceFailed, match=r"not the wanted ones .* change models.mine.sha256"):
        SentenceTransformerModels(folder=folder, label="mine", sha256="0" * 64).embed(["x"])
    right = SentenceTransformerModels(folder=folder).given.weights
    SentenceTransformerModels(folder=folder, sha256=right).check()


def test_the_command(given: Given, asked: Asked, tmp_path: Path) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text(YAML + "models: {gone: {path: m, sha256: %s}}" % ("a" * 64))
    saved(tmp_path / "m")

    def run(*words: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["models", "-f", str(file), *words], obj={"TUNDISH_HOME": str(tmp_path)})
        return done.exit_code, done.output

    code, output = run()
    assert (code, asked) == (1, [])
    assert "not measured" in output and "not the wanted ones" in output
    assert "ready: it is used" in run("--measure")[1]
    code, output = run("--json")
    built_in, gone = json.loads(output)["models"]
    assert (code, len(asked), gone["backends"]) == (1, 1, [])
    by_name = {one["backend"]: one for one in built_in["backends"]}
    assert list(by_name) == list(backends.NAMES)
    assert [name for name, one in by_name.items() if one["chosen"]] == ["torch-bf16"]
    assert (by_name["torch-bf16"]["short"], by_name["onnx"]["short"]) == (200.0, None)
    assert by_name["onnx"]["why"] == "It is not here."
