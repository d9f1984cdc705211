"""A model on ONNX Runtime, fp32. torch is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from runtime.embedding import convert
from runtime.embedding.given import Given
from runtime.embedding.tokens import Ids, padded

if TYPE_CHECKING:
    from runtime.context import Vectors


class OnnxEngine:
    """The converted model in one session, whose threads do not spin while they wait."""

    def __init__(self, given: Given, threads: int) -> None:
        import onnxruntime

        self._tokens = given.tokens
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = str(convert.converted("onnx", given))
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def ids(self, texts: Sequence[str]) -> list[Ids]:
        return self._tokens.ids(texts)

    def vectors(self, ids: Sequence[Ids]) -> Vectors:
        numbers, mask = padded(ids, self._tokens.pad)
        found: Vectors = self._session.run(None, {"input_ids": numbers, "attention_mask": mask})[0]
        return found
