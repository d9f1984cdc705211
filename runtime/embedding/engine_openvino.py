"""A model on OpenVINO: bf16 where the CPU has instructions for it, else fp32; or its linear layers in eight bits (see
eighths.py), and the rest in fp32. torch is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.embedding import convert
from runtime.embedding.eighths import GROUP
from runtime.embedding.given import Given
from runtime.embedding.silent import openvino
from runtime.embedding.tokens import Ids, padded
from runtime.models import backends

if TYPE_CHECKING:
    from runtime.context import Vectors


class OpenVinoEngine:
    """The converted model, compiled for this CPU."""

    def __init__(self, given: Given, threads: int, *, eighths: bool = False) -> None:
        self._tokens = given.tokens
        options = {
            "INFERENCE_PRECISION_HINT": "bf16" if backends.has_bf16() and not eighths else "f32",
            # Of what a layer is given; 0 leaves it as it is.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": GROUP if eighths else 0,
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            # Several processes would all be bound to the same first cores.
            "ENABLE_CPU_PINNING": False,
        }
        path = convert.converted("openvino-int8" if eighths else "openvino", given)
        compiled = openvino().Core().compile_model(str(path), "CPU", options)
        self._request = compiled.create_infer_request()

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        return self._tokens.ids(texts)

    def vectors(self, ids: Sequence[Ids]) -> Vectors:
        # The array is the request's own and is overwritten by the next pass.
        found: Vectors = self._request.infer(list(padded(ids, self._tokens.pad)))[0].copy()
        return found
