"""A model in the format of another library, made once and kept. `python -m runtime.embedding.convert KIND …`.

It is made in a process of its own: torch, which is needed for that alone, takes hundreds of megabytes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.embedding import aside
from runtime.embedding.eighths import compress
from runtime.embedding.given import Given, locked
from runtime.embedding.silent import openvino
from runtime.errors import ServiceFailed
from runtime.models import folder as folders

if TYPE_CHECKING:
    import torch

_FILES = {"openvino": "model.xml", "openvino-int8": "model.xml", "onnx": "model.onnx"}
_LIBRARY = {"openvino": "openvino", "openvino-int8": "openvino", "onnx": "onnxruntime"}
_THIS = "runtime.embedding.convert"
_MAKING = "making-"
_OPSET = 17  # the newest that torch's exporter writes by tracing


def converted(kind: str, given: Given) -> Path:
    """The converted model; it is made where it is not there. Raises ServiceFailed."""
    folder = given.cache / f"{kind}-{version(_LIBRARY[kind])}-torch-{version('torch')}"
    path = folder / _FILES[kind]
    if path.is_file():
        return path
    with locked(given.cache / "converting"):
        if not path.is_file():
            words = (kind, str(given.folder), given.weights, str(given.longest), str(folder))
            aside.run(_THIS, words, "The model could not be converted")
    return path


def _convert(kind: str, given: Given, target: Path) -> None:
    """Write into a folder beside `target`, then rename: nobody sees a half, not after a power cut either."""
    from runtime.embedding.whole import example, whole

    if folders.weights_hash(given.folder) != given.weights:
        raise ServiceFailed(f"The weights in {given.folder} have changed meanwhile")
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(f"{_MAKING}*"):  # by one that was killed; there is no other now
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_MAKING) as room:
        made = Path(room) / "made"
        made.mkdir()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracing: what is compared there does not depend on the texts
            _WRITERS[kind](whole(given), example(given.tokens.pad), made / _FILES[kind])
        for written in (*made.iterdir(), made):
            _sync(written)
        shutil.rmtree(target, ignore_errors=True)  # one whose file was taken out
        made.rename(target)


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _openvino(model: torch.nn.Module, example: tuple[Any, Any], path: Path, *, eighths: bool = False) -> None:
    import numpy as np

    library = openvino()
    shape = [("input_ids", [-1, -1], np.int64), ("attention_mask", [-1, -1], np.int64)]
    found = library.convert_model(model, example_input=example, input=shape)
    if eighths and not compress(found):
        raise ServiceFailed("It has no linear layer whose weights can be had in eight bits")
    library.save_model(found, str(path), compress_to_fp16=False)


def _onnx(model: torch.nn.Module, example: tuple[Any, Any], path: Path) -> None:
    import torch

    both = {0: "texts", 1: "tokens"}
    torch.onnx.export(
        model,
        example,
        str(path),
        input_names=["input_ids", "attention_mask"],
        output_names=["vectors"],
        dynamic_axes={"input_ids": both, "attention_mask": both, "vectors": {0: "texts"}},
        opset_version=_OPSET,
        dynamo=False,
    )


_WRITERS: dict[str, Callable[[Any, Any, Path], None]] = {
    "openvino": _openvino,
    "openvino-int8": partial(_openvino, eighths=True),
    "onnx": _onnx,
}


def main(arguments: list[str]) -> None:
    kind, folder, weights, longest, target = arguments
    os.environ["HF_HUB_OFFLINE"] = "1"
    _convert(kind, Given(Path(folder), weights, int(longest)), Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
