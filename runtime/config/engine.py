"""Which engine answers for an index, and how to reach the one that runs on machines of its own."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from runtime.config.model import Model
from runtime.values.units import Duration

if TYPE_CHECKING:
    from runtime.config.schema import FunctionsFile
    from runtime.config.yaml_lines import Path_

Engine = Literal["faiss", "qdrant"]
FAISS: Engine = "faiss"
QDRANT: Engine = "qdrant"


def _address(value: str) -> str:
    """The value may hold a password: it is not repeated in what is said of it."""
    try:
        parts = urlsplit(value)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port
    except ValueError:
        good = False
    if value and not good:
        raise ValueError("must be the address of Qdrant's REST interface, as http://HOST:6333 or https://HOST")
    if value and (parts.username or parts.password):
        raise ValueError("must not hold a name or password; the key of Qdrant is `api_key`")
    return value.rstrip("/")


def _key(value: str) -> str:
    """It goes into a header. A file's last line break comes along easily; Qdrant would look as if it were away."""
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise ValueError("must be of plain letters, digits and signs, without a line break or a space at its ends")
    return value


_OF_QDRANT = {"api_key", "shards", "replicas", "on_disk", "quantization", "timeout"}


class EngineSpec(Model):
    """`engine` is for an index that has no version yet: another one needs `tundish index migrate --engine`.

    The other keys are Qdrant's: `url` and `api_key` say where it is, the rest how a new collection is made.
    """

    engine: Engine = FAISS
    url: Annotated[str, AfterValidator(_address)] = ""
    api_key: Annotated[str, AfterValidator(_key), Field(repr=False)] = ""
    shards: Annotated[int, Field(ge=1, le=1000)] = 1
    replicas: Annotated[int, Field(ge=1, le=100)] = 1
    on_disk: bool = False
    """Whether vectors, their graph and the indexes of payloads are read from disk instead of being held in memory."""
    quantization: Literal["none", "int8"] = "none"
    """`int8`: searched in a form of a byte a dimension, and the best are scored again with the exact vectors."""
    timeout: Annotated[Duration, Field(ge=0.1, le=600)] = 10.0
    """Seconds that one request may take."""


def check_engines(content: FunctionsFile, report: Callable[[Path_, str], None]) -> None:
    """Report every index that is to be Qdrant's and cannot be."""
    for index, spec in content.indexes.items():
        place = ("indexes", index)
        if spec.engine == QDRANT and not spec.url:
            report((*place, "url"), "is needed with engine: qdrant, as http://HOST:6333")
        if spec.engine == QDRANT and spec.hybrid:
            report((*place, "hybrid"), "is for engine: faiss; Qdrant is asked by vectors alone: remove one of them")
        if (spec.engine == QDRANT or spec.url) and find_spec("qdrant_client") is None:
            report(
                (*place, "engine" if spec.engine == QDRANT else "url"),
                "needs the library qdrant-client, which is not installed here: pip install 'tundish[qdrant]'",
            )
        if not spec.url and spec.engine == FAISS:
            for name in sorted(_OF_QDRANT & spec.model_fields_set):
                report((*place, name), "is Qdrant's: it needs url, and has no meaning without it")
