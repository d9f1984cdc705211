"""What a layer is given: few different counts of rows, and whole numbers of eight bits where they are faster."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.embedding.backend import SentenceTransformerModels
from runtime.embedding.eighths import GROUP
from runtime.embedding.eighths import rounded as in_eighths
from runtime.embedding.shapes import rounded
from runtime.embedding.tokens import PASS_TOKENS
from runtime.models import backends


@given(st.integers(1, 100_000))
def test_few_rows_are_added(rows: int) -> None:
    assert 0 <= rounded(rows) - rows < 32
    assert rows > 256 or rounded(rows) - rows < 8
    assert rounded(rounded(rows)) == rounded(rows)


def test_there_are_few_counts_of_rows() -> None:
    assert len(set(map(rounded, range(1, PASS_TOKENS + 1)))) <= 96
    full = {rounded(PASS_TOKENS // longest * longest) for longest in range(16, 257)}
    assert len(full) <= 8, "nearly every pass of a worker is a full one"


def test_every_layer_of_the_built_in_model_gets_such_a_count() -> None:
    import torch

    from runtime.embedding import bert
    from runtime.embedding.tokens import padded

    source = SentenceTransformerModels().source
    model = bert.load(source.folder)[0]
    seen: set[int] = set()
    for part in model.modules():
        if isinstance(part, torch.nn.Linear):
            part.register_forward_pre_hook(lambda _, given: seen.add(given[0].numel() // given[0].shape[-1]))
    ids = source.given.tokens.ids(["The river rises.", "A longer text than that one, " * 11, "x"])
    numbers, mask = (torch.from_numpy(one) for one in padded(ids, source.given.tokens.pad))
    with torch.inference_mode():
        found = model({"input_ids": numbers, "attention_mask": mask})["token_embeddings"]
        alone = model({"input_ids": numbers[2:, : len(ids[2])], "attention_mask": mask[2:, : len(ids[2])]})
    assert seen == {rounded(mask.numel()), rounded(len(ids[2]))} and rounded(mask.numel()) > mask.numel()
    assert found.shape == (*mask.shape, 384)
    assert torch.allclose(found[2, : len(ids[2])], alone["token_embeddings"][0], atol=1e-5), (
        "rows behind change nothing"
    )


SIZES = st.just(0.0) | st.floats(1e-30, 1e4)
"""Of weights: smaller ones than these have fewer digits in float32."""


@given(st.integers(1, 5), st.integers(1, 4), SIZES, st.integers(0, 2**32 - 1))
def test_weights_in_eight_bits_are_near_what_they_were(rows: int, groups: int, size: float, seed: int) -> None:
    weights = (np.random.default_rng(seed).standard_normal((rows, groups * GROUP)) * size).astype(np.float32)
    whole, scales = in_eighths(weights)
    assert whole.shape == (rows, groups, GROUP) and whole.dtype == np.int8 and scales.shape == (rows, groups, 1)
    back = (whole * scales).reshape(weights.shape)
    largest = np.abs(weights.reshape(rows, groups, GROUP)).max(axis=2, keepdims=True)
    assert (np.abs(back - weights).reshape(whole.shape) <= largest / 127 * 0.501).all()


def test_only_linear_layers_are_in_eight_bits() -> None:
    if why := backends.trouble("openvino"):
        pytest.skip(why)
    from runtime.embedding.eighths import compress
    from runtime.embedding.silent import openvino

    library = openvino()
    from openvino import opset13 as operations

    given = operations.parameter([-1, GROUP], np.float32)
    draw = np.random.default_rng(1).standard_normal
    first = operations.constant(draw((2 * GROUP, GROUP)).astype(np.float32))
    odd = operations.constant(draw((5, 2 * GROUP)).astype(np.float32)[:, : GROUP + 8])
    hidden = operations.matmul(given, first, False, True)
    cut = operations.gather(hidden, operations.constant(np.arange(GROUP + 8)), operations.constant(1))
    model = library.Model([operations.matmul(cut, odd, False, True)], [given], "two layers")
    run = library.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    asked = draw((3, GROUP)).astype(np.float32)
    before = run([asked])[0]
    assert compress(model) == 1, "the other's columns are no whole groups"
    assert compress(model) == 0
    kinds = [str(node.get_element_type()) for node in model.get_ordered_ops() if node.get_type_name() == "Constant"]
    assert any("int8_t" in kind for kind in kinds)
    after = library.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([asked])[0]
    assert np.abs(after - before).max() < 0.05 * np.abs(before).max()
