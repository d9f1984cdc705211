"""What runs a model: a back end behind one small interface. Only the chosen one is imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from runtime.embedding.given import Given
from runtime.embedding.tokens import Ids

if TYPE_CHECKING:
    from runtime.context import Vectors


class Engine(Protocol):
    """A loaded model."""

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        """What the model reads of `texts`."""
        ...

    def vectors(self, ids: Sequence[Ids]) -> Vectors:
        """Unit vectors of one pass, float32, shape (len(ids), dimensions)."""
        ...


def load(backend: str, given: Given, threads: int) -> Engine:
    """The model on a back end of `backends.NAMES`, with so many threads."""
    if backend.startswith("openvino"):
        from runtime.embedding.engine_openvino import OpenVinoEngine

        return OpenVinoEngine(given, threads, eighths=backend == "openvino-int8")
    if backend == "onnx":
        from runtime.embedding.engine_onnx import OnnxEngine

        return OnnxEngine(given, threads)
    from runtime.embedding.engine_torch import TorchEngine

    return TorchEngine(backend, given, threads)
