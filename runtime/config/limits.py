"""What a whole project allows: sizes, the outbox, callbacks, indexes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from runtime.config.engine import EngineSpec
from runtime.config.model import Model, Name, Words, listed
from runtime.interfaces_index import Extraction
from runtime.security import callback_address
from runtime.values.units import Duration, Size

Language = Annotated[str, Field(pattern=r"^[a-zA-Z_]{3,20}$")]


class Limits(Model):
    """What is accepted from outside."""

    body: Size = 16 * 2**20
    upload: Size = 5 * 2**30


class OutboxSpec(Model):
    """Calls that are accepted while the broker is away wait on the gateway's disk: so many bytes and calls."""

    enabled: bool = True
    max_bytes: Size = 64 * 2**20
    max_calls: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000


class CallbackSpec(Model):
    """Where answers are posted to: `allow` names networks and hosts that are not public; `timeout` is for one try."""

    allow: Annotated[Words, AfterValidator(callback_address.check_allowed)] = ()
    timeout: Annotated[Duration, Field(gt=0, le=60)] = 10.0


class ChunkSpec(Model):
    """How texts are cut: `tokens` of a chunk at most, and how many of them it repeats of the one before."""

    tokens: Annotated[int, Field(ge=16, le=8192)] = 254
    overlap: Annotated[int, Field(ge=0, le=4095)] = 32

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.overlap * 2 >= self.tokens:
            raise ValueError(f"overlap {self.overlap} must be less than half of tokens {self.tokens}")
        return self


class ExtractSpec(Model):
    """How documents are read. `ocr`: the languages of text in pictures, as Tesseract calls them (deu, eng); none
    switches it off. `pages`, `timeout` and `memory` are the most that one document may take."""

    ocr: Annotated[tuple[Language, ...], BeforeValidator(listed, json_schema_input_type=list[str] | str)] | None = None
    pages: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    timeout: Annotated[Duration, Field(ge=1, le=3600)] = 30.0
    memory: Annotated[Size, Field(ge=256 * 2**20)] = 2**30

    def settings(self) -> Extraction:
        return Extraction(self.ocr, self.pages, self.timeout, self.memory)


Backend = Literal["auto", "torch-fp32", "torch-bf16", "openvino", "openvino-int8", "onnx", "cuda"]
"""What runs a model; `auto` is what a measurement finds best on each machine (runtime/models/backends.py)."""


class PromptsSpec(Model):
    """What stands before every query, and before every text that is to be found."""

    query: Annotated[str, Field(max_length=2000)] = ""
    document: Annotated[str, Field(max_length=2000)] = ""


class ModelSpec(Model):
    """An embedding model: a folder (relative to functions.yaml's), a package that has one in it, or a name in this
    machine's cache of the Hugging Face hub.

    `sha256` is that of its weights, where they must be these; `backend` runs it on all hosts; `prompts` stand in the
    place of those that it was saved with.
    """

    path: Annotated[str, Field(min_length=1)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    backend: Backend | None = None
    """None: what the whole project says."""
    prompts: PromptsSpec | None = None


def _model(value: Any) -> Any:
    if not isinstance(value, str | dict | ModelSpec):
        raise ValueError(f"a model is the path of its folder, or {{path: FOLDER, …}}; found {value!r:.60}")
    return {"path": value} if isinstance(value, str) else value


ModelItem = Annotated[ModelSpec, BeforeValidator(_model, json_schema_input_type=ModelSpec | str)]


class IndexSpec(EngineSpec):
    """A named index. `model` is for one that has no vectors yet: another one needs `tundish index migrate`.

    `hybrid`: texts are found by their words, too; it needs the extra `hybrid`.
    """

    model: Name | None = None
    hybrid: bool = False
    chunk: ChunkSpec = ChunkSpec()
    extract: ExtractSpec = ExtractSpec()
