"""The models that functions.yaml names, and the built-in one, by name or identity; two are loaded at once."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.embedding.backend import SentenceTransformerModels
from runtime.errors import BadInput, ServiceFailed
from runtime.models.folder import BUILT_IN, Prompts
from runtime.models.place import resolve

if TYPE_CHECKING:
    from runtime.config.limits import ModelSpec
    from runtime.config.settings import Settings
    from runtime.context import Vectors

log = logging.getLogger("tundish.models")

LOADED = 2
"""Models in memory: during a migration the old one answers while the new one works. The one used longest ago leaves."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What functions.yaml says of a model: where it lies, and the hash of its weights, its back end and its prompts,
    or nothing of these."""

    path: str
    sha256: str = ""
    backend: str = ""
    prompts: Prompts | None = None


class Library:
    """Implements `context.Models`: it is its `default` model, and `get` gives the others.

    `folders` are paths relative to `root`, or packages, by name. `backend` runs those that have none of their own;
    empty: what is best on this machine. `queries`: whether it embeds queries, or what is to be found by them. Nothing
    is read before the first use.

    Who has got a model from `get` keeps it as it is; another one is got when a better back end was found meanwhile.
    """

    def __init__(
        self,
        folders: Mapping[str, str | Wanted],
        root: Path,
        *,
        default: str = BUILT_IN,
        backend: str = "",
        threads: int = 1,
        loaded: int = LOADED,
        queries: bool = False,
    ) -> None:
        self._folders = {name: Wanted(said) if isinstance(said, str) else said for name, said in folders.items()}
        self._root, self._threads, self._most = root, threads, loaded
        self._default, self._backend, self._queries = default, backend, queries
        self._models: dict[tuple[str, str], SentenceTransformerModels] = {}
        self._recent: list[SentenceTransformerModels] = []
        self._lock = threading.Lock()

    @property
    def default(self) -> str:
        """The name of the model that it is itself."""
        return self._default

    @property
    def names(self) -> list[str]:
        """Of functions.yaml, the built-in one first."""
        return [BUILT_IN, *self._folders]

    def get(self, name: str) -> SentenceTransformerModels:
        """A model by its name, or by its identity, under whichever name. Raises BadInput, ServiceFailed."""
        with self._lock:
            return self._labelled(name, name) if name in self.names else self._identified(name)

    @property
    def in_use(self) -> bool:
        """Whether any model was used in this process."""
        return bool(self._recent)

    def all(self) -> list[SentenceTransformerModels]:
        """Those that can be read, the default one first."""
        found = []
        for name in sorted(self.names, key=lambda name: name != self._default):
            with contextlib.suppress(ServiceFailed, OSError):
                found.append(self.get(name))
        return found

    def choose_again(self) -> None:
        """Have every model that is in use go by what was measured meanwhile."""
        with self._lock:
            known = list(self._models.values())
        for model in known:
            if model.choose_again():
                log.info("%s is run by %s from now on", model.name, model.backend)

    def take_over(self, newer: Library) -> None:
        """Go by what another one was made of; models that are the same stay loaded."""
        with self._lock:
            same = {
                key: model
                for key, model in self._models.items()
                if newer._folders.get(key[0]) == self._folders.get(key[0]) and newer._backend == self._backend
            }
            self._folders, self._default, self._models = newer._folders, newer._default, same
            self._backend = newer._backend

    @property
    def name(self) -> str:
        return self.get(self._default).name

    @property
    def backend(self) -> str:
        return self.get(self._default).backend

    @property
    def dimensions(self) -> int:
        return self.get(self._default).dimensions

    @property
    def longest(self) -> int:
        return self.get(self._default).longest

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of the default model, float32, shape (len(texts), dimensions)."""
        return self.get(self._default).embed(texts)

    def tokenize(self, text: str) -> list[tuple[int, int]]:
        return self.get(self._default).tokenize(text)

    def load(self) -> None:
        """Load the default model now."""
        self.get(self._default).load()

    def prepare(self) -> None:
        """Before a fork: what the default model's users can share."""
        self.get(self._default).prepare()

    def _labelled(self, name: str, label: str) -> SentenceTransformerModels:
        known = self._models.get((name, label))
        if known is not None and not self._queries and known.outdated():
            self._recent = [one for one in self._recent if one is not known]
            known = None
        if known is None:
            said = self._folders.get(name, Wanted(""))
            known = self._models[name, label] = SentenceTransformerModels(
                threads=self._threads,
                folder=None if name == BUILT_IN else resolve(said.path, self._root),
                label=label,
                backend=(said.backend or self._backend).removeprefix("auto"),
                sha256=said.sha256,
                using=self._touch,
                prompts=said.prompts,
                queries=self._queries,
            )
        return known

    def _identified(self, name: str) -> SentenceTransformerModels:
        label, _, identity = name.partition("@")
        missing = []
        for known in self.names if identity else ():
            try:
                if self._labelled(known, known).identity == identity:
                    # A batch says its model's name as the index does, whatever functions.yaml calls it by now.
                    return self._labelled(known, label)
            except (ServiceFailed, OSError) as error:
                missing.append(f"{known} cannot be read: {error} ")
        raise BadInput(
            f"There is no model {name} here; functions.yaml names {', '.join(self.names)}. {''.join(missing)}Add its "
            "folder under `models:`; or bring the index to another one: tundish index migrate --model NAME."
        )

    def _touch(self, model: SentenceTransformerModels) -> None:
        with self._lock:
            self._recent = [one for one in self._recent if one is not model] + [model]
            gone, self._recent = self._recent[: -self._most], self._recent[-self._most :]
        for old in gone:
            old.unload()


def library(settings: Settings, *, queries: bool = False) -> Library:
    """The models of a project; the default is that of a new index `default`."""
    project = settings.project
    wanted = {
        name: Wanted(said.path, said.sha256 or "", said.backend or "", _prompts(said))
        for name, said in project.models.items()
    }
    default = project.model_of("default") or BUILT_IN
    return Library(wanted, settings.root, default=default, backend=project.backend, queries=queries)


def _prompts(said: ModelSpec) -> Prompts | None:
    return None if said.prompts is None else Prompts(said.prompts.query, said.prompts.document)
