"""What tests of functions need: `call` runs one as a worker does, `fake_context` has in-memory ports for it.

`running_system` and the fixtures of runtime/pytest_plugin.py have real ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Self

from runtime.context import (
    Calls,
    Context,
    Index,
    Models,
    Parent,
    Store,
)
from runtime.errors import CallFailed
from runtime.harness.call import removed, run, s3_event, uploaded
from runtime.harness.documents import MemoryDocuments
from runtime.harness.index import MemoryIndex
from runtime.harness.start import running_system
from runtime.harness.store import MemoryStore
from runtime.harness.system import NotHandled, System, real_context

if TYPE_CHECKING:
    from runtime.context import Vectors

__all__ = [
    "FakeModels",
    "FakePorts",
    "MemoryCalls",
    "MemoryDocuments",
    "MemoryIndex",
    "MemoryProgress",
    "MemoryStore",
    "NotHandled",
    "System",
    "call",
    "fake_context",
    "real_context",
    "removed",
    "running_system",
    "s3_event",
    "uploaded",
]


class FakeModels:
    """Implements `context.Models`: a word is a direction, a text the sum of its words, a token is a word.

    Texts that share words are near each other; the same text has the same vector on every machine. `embedded` holds
    every text that was embedded, in order.
    """

    name = "fake-words-64"
    backend = "fake"
    dimensions = 64
    longest = 256

    def __init__(self) -> None:
        self.embedded: list[str] = []

    def get(self, name: str) -> Self:
        """Itself, whatever it is asked for: a test with several models has its own."""
        return self

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (len(texts), 64)."""
        import numpy as np

        self.embedded += texts
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for place, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()) or [text]:
                seed = int.from_bytes(sha256(word.encode("utf-8", "replace")).digest()[:8], "big")
                vectors[place] += np.random.default_rng(seed).standard_normal(self.dimensions).astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        """Character offsets of the words of `text`: runs of anything but white space."""
        return [found.span() for found in re.finditer(r"\S+", text)]


@dataclass(slots=True)
class MemoryCalls:
    """Implements `context.Calls`: remembers what was submitted; answers come from `results` by function name."""

    results: Mapping[str, Any] = field(default_factory=dict)
    submitted: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def submit(self, function: str, arguments: Mapping[str, Any], **_: Any) -> str:
        self.submitted.append((function, dict(arguments)))
        return f"call-{len(self.submitted)}"

    def gather(
        self, calls: Iterable[tuple[str, Mapping[str, Any]]], in_flight: int, **options: Any
    ) -> list[tuple[str, Any]]:
        return self.join([self.submit(function, arguments, **options) for function, arguments in calls])

    def join(self, ids: Sequence[str]) -> list[tuple[str, Any]]:
        answers: list[tuple[str, Any]] = []
        for task in ids:
            function, arguments = self.submitted[int(task.removeprefix("call-")) - 1]
            if function not in self.results:
                raise CallFailed(f"No result was prepared for {function}; give MemoryCalls(results=…) one.")
            result = self.results[function]
            answers.append(("succeeded", result(**arguments) if callable(result) else result))
        return answers


@dataclass(slots=True)
class MemoryProgress:
    """What a function reports, for `fake_context(report=…)`: `seen` holds (done, total, message), in order."""

    seen: list[tuple[float, float | None, str]] = field(default_factory=list)

    def __call__(self, done: float, total: float | None, message: str) -> None:
        self.seen.append((done, total, message))


@dataclass(slots=True)
class FakePorts:
    """Implements `context.Ports`."""

    store: Store
    index: Index
    calls: Calls
    models: Models
    documents: MemoryDocuments = field(default_factory=MemoryDocuments)


def fake_context(
    function: str = "function",
    *,
    store: Store | None = None,
    index: Index | None = None,
    models: Models | None = None,
    calls: Calls | None = None,
    parents: Iterable[Parent] = (),
    **fields: Any,
) -> Context:
    """A context over in-memory ports; real ones may be handed in for any of them."""
    ports = FakePorts(store or MemoryStore(), index or MemoryIndex(), calls or MemoryCalls(), models or FakeModels())
    return Context(id="test", function=function, ports=ports, parents=tuple(parents), **fields)


def call(function: Callable[..., Any], /, *, context: Context | None = None, **arguments: Any) -> Any:
    """Run a function once, as a worker does: its arguments are validated against its type hints, a coroutine is
    awaited, and what a generator yields comes as a list. Without `context` it gets a fake one, if it takes any.
    Handlers of AWS Lambda and functions-framework are called in their own way.

    Raises InvalidArguments, TypeError for a result that no caller could be sent, and whatever the function raises.
    """
    from runtime.deployment.signature import Signature
    from runtime.styles.adapt import adapt

    handler, _ = adapt(function, None)
    signature = Signature(handler)
    given = signature.validate(arguments)
    if signature.takes_context:
        given["context"] = context or fake_context(getattr(function, "__name__", "function"))
    return run(handler(**given))
