"""The real ports of a running system, for a function that runs in a test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runtime.context import Calls, Documents, Index, Models, Store

if TYPE_CHECKING:
    from runtime.harness.system import System

_HEADERS = {"priority": "X-Priority", "delay": "X-Delay", "expires": "X-Expires"}


class SystemPorts:
    """Implements `context.Ports` over a running system; each port is made when it is first asked for."""

    def __init__(self, system: System) -> None:
        self._system = system

    @property
    def store(self) -> Store:
        return self._system.store

    @cached_property
    def index(self) -> Index:
        from runtime.broker import connection as broker
        from runtime.config.load import load_settings
        from runtime.index.engines import open_index

        project = load_settings(self._system.environ).project
        client = broker.connect(self._system.environ["CELERY_BROKER_URL"])
        return open_index(lambda: project, self._system.store, client)

    @cached_property
    def documents(self) -> Documents:
        """In memory: the failures of a running system are its own to clear."""
        from runtime.harness.documents import MemoryDocuments

        return MemoryDocuments()

    @cached_property
    def models(self) -> Models:
        from runtime.embedding.backend import SentenceTransformerModels

        return SentenceTransformerModels()

    @cached_property
    def calls(self) -> Calls:
        return SystemCalls(self._system)


class SystemCalls:
    """Implements `context.Calls` through the gateway, and waits for the answers where it stands."""

    def __init__(self, system: System) -> None:
        self._system = system

    def submit(self, function: str, arguments: Mapping[str, Any], **options: Any) -> str:
        headers = {_HEADERS[name]: str(value) for name, value in options.items() if name in _HEADERS}
        return self._system.send(function, arguments, headers)

    def gather(
        self, calls: Iterable[tuple[str, Mapping[str, Any]]], in_flight: int, **options: Any
    ) -> list[tuple[str, Any]]:
        return self.join([self.submit(function, arguments, **options) for function, arguments in calls])

    def join(self, ids: Sequence[str]) -> list[tuple[str, Any]]:
        answers: list[tuple[str, Any]] = []
        for task_id in ids:
            told = self._system.ended(task_id)
            answer = self._system.wait(task_id) if told["successful"] else told["error"]
            answers.append((told["state"], answer))
        return answers
