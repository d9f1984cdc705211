"""One embedding model in this process, offline, through sentence-transformers: the built-in one, or a folder's."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.embedding import choice
from runtime.embedding import engine as engines
from runtime.embedding.choice import Choice
from runtime.embedding.given import Given
from runtime.embedding.heap import Heap
from runtime.embedding.source import Source
from runtime.embedding.tokens import GPU_TOKENS, PASS_TOKENS, passes
from runtime.errors import BadInput, ServiceFailed, TundishError
from runtime.models import backends
from runtime.models.folder import BUILT_IN, Prompts

if TYPE_CHECKING:
    from runtime.context import Vectors
    from runtime.embedding.engine import Engine

SORTED = 4096
"""Texts that are sorted by length at once; so many lists of numbers are held."""

LOOK_SECONDS = 30.0
"""How often it is looked for what was measured meanwhile, until something was."""

log = logging.getLogger("tundish.models")


class SentenceTransformerModels:
    """Implements `context.Models` with one model. Nothing is read or imported before the first use.

    `folder`: where it lies; None: the built-in one's package. `label` begins its identity. `sha256`: of the weights,
    where they must be these. `backend` runs it; empty: the one that is best on this machine (choice.py). `using` is
    called with this object before it is used, while nobody waits for it. `prompts`: those of functions.yaml; None: the
    folder's own. `queries`: whether the texts are queries, or what is to be found by them.

    `threads`: CPU threads of one forward pass. Never more over all processes than there are cores: on two busy cores
    a query took 18 ms with one thread and 376 ms with two, which wait for each other.

    A model of one thread that has only been loaded survives a fork: the children share its weights (of 470 MB that such
    a process maps, 75 MB are its own). Of one that has computed, or has more threads, a child loads its own copy:
    torch's thread pools do not survive a fork.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        folder: Path | None = None,
        label: str = BUILT_IN,
        backend: str = backends.EXACT,
        sha256: str = "",
        using: Callable[[SentenceTransformerModels], object] = lambda _: None,
        prompts: Prompts | None = None,
        queries: bool = False,
    ) -> None:
        self.source = Source(folder, label, sha256, prompts)
        self._threads, self._using, self._pinned, self._queries = threads, using, backend, queries
        self._choice: Choice | None = None
        self._look_at = 0.0
        self._heap = Heap()
        self._forget()
        me = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _forget(me))

    def _forget(self, *, keep: bool = False) -> None:
        self._lock = threading.Lock()
        self._model: Engine | None = self._model if keep else None
        self._used = False

    @property
    def identity(self) -> str:
        return self.source.identity

    @property
    def name(self) -> str:
        return self.source.name

    @property
    def dimensions(self) -> int:
        return self.source.dimensions

    @property
    def longest(self) -> int:
        """Tokens of a text that it reads, its own among them; a prompt takes some."""
        before = self.source.prompts.document
        return self.source.longest - (len(self.tokenize(before)) if before else 0)

    @property
    def given(self) -> Given:
        return self.source.given

    def get(self, name: str) -> SentenceTransformerModels:
        """Itself, under the names that it has. Raises BadInput."""
        if name not in (self.source.label, self.name):
            raise BadInput(f"There is no model {name} here, but {self.name}.")
        return self

    def check(self) -> None:
        """Raises ServiceFailed where the weights are not those that they must be."""
        self.source.check()

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        """Character offsets (start, end) of every token of `text`, without special tokens."""
        return self.given.tokens.offsets(text)

    @property
    def backend(self) -> str:
        """What runs it: one of backends.NAMES. Raises ServiceFailed where the wanted one cannot be had."""
        return self.choice.backend

    @property
    def pinned(self) -> str:
        """The back end that functions.yaml wants; empty where it is chosen."""
        return self._pinned

    @property
    def choice(self) -> Choice:
        """The back end, with what was measured."""
        if self._choice is None:
            self.check()
            self._choice = self._chosen()
        return self._choice

    def _chosen(self) -> Choice:
        return choice.choose(self.given, self._pinned, label=self.source.label)

    def load(self) -> None:
        """Load the model now instead of at the first `embed`."""
        self._using(self)
        self._loaded()

    def outdated(self) -> bool:
        """Whether another back end was found to be better meanwhile than the one that this object has begun with."""
        begun, now = self._choice, time.monotonic()
        if self._pinned or begun is None or begun.measured or now < self._look_at:
            return False
        self._look_at = now + LOOK_SECONDS
        found = self._chosen()
        if found.backend != begun.backend:
            return True
        self._choice = found
        return False

    def choose_again(self) -> bool:
        """Go by what was measured meanwhile; whether another back end runs the model now. Calls go on."""
        before = self._choice
        if self._pinned or before is None:
            return False
        found = self._chosen()
        if found.backend == before.backend or self._model is None:
            self._choice = found
            return found.backend != before.backend
        try:
            model = self._engine(found.backend)
        except Exception as error:  # noqa: BLE001 - what answers now goes on answering
            log.warning("%s goes on with %s: %s", self.name, before.backend, error)
            self._choice = Choice(before.backend, found.measured)
            return False
        with self._lock:
            self._choice, self._model = found, model
        return True

    def prepare(self) -> None:
        """Before a fork: choose the back end, and load the model where the children can share it."""
        if self.backend in backends.FORKING and self._threads == 1:
            self.load()

    def unload(self) -> None:
        """Give its memory back; it is loaded again when it is used."""
        with self._lock:
            self._model, self._used = None, False

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, float32, shape (len(texts), dimensions). What is longer than the model reads is cut."""
        import numpy as np

        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        before = self.source.prompts.query if self._queries else self.source.prompts.document
        given = [before + text for text in texts] if before else texts
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        self._using(self)
        model = self._loaded()
        self._used = True
        most = GPU_TOKENS if self.backend == "cuda" else PASS_TOKENS
        with self._lock:
            for first in range(0, len(given), SORTED):
                ids = model.ids(given[first : first + SORTED])
                for places in passes([len(one) for one in ids], most):
                    with self._heap:
                        found = model.vectors([ids[place] for place in places])
                    vectors[[first + place for place in places]] = found
        return vectors

    def _loaded(self) -> Engine:
        with self._lock:
            if self._model is None:
                self._model = self._load()
            return self._model

    def _load(self) -> Engine:
        """The chosen back end; fp32 where that one cannot be loaded, and nobody has pinned it."""
        chosen = self.choice
        if self._pinned or chosen.backend == backends.EXACT:
            return self._engine(chosen.backend)
        try:
            return self._engine(chosen.backend)
        except Exception as error:  # noqa: BLE001 - whatever it is, there is one that works
            log.warning("%s is run by %s: %s", self.name, backends.EXACT, error)
            self._choice = Choice(backends.EXACT, chosen.measured)
            return self._engine(backends.EXACT)

    def _engine(self, backend: str) -> Engine:
        try:
            model = engines.load(backend, self.given, self._threads)
        except (TundishError, MemoryError):
            raise
        except Exception as error:
            said = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ServiceFailed(f"The model in {self.source.folder} cannot be loaded by {backend}: {said}") from error
        self.source.check_unchanged()
        return model


def _forget(models: weakref.ref[SentenceTransformerModels]) -> None:
    alive = models()
    if alive is not None:
        alive._forget(keep=alive._threads == 1 and not alive._used)
