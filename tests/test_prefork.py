"""A child that dies is noticed, although its pipes close before it can be waited for."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from celery.concurrency.asynpool import AsynPool

from runtime.prefork import WatchfulPool


class Hub:
    def __init__(self) -> None:
        self.planned: list[Callable[[], None]] = []

    def call_later(self, _: float, callback: Callable[[], None]) -> None:
        self.planned.append(callback)

    def run(self) -> bool:
        """Do what is planned next."""
        if self.planned:
            self.planned.pop(0)()
        return bool(self.planned)


def test_it_looks_again_until_the_child_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[object] = []
    monkeypatch.setattr(AsynPool, "_event_process_exit", lambda _, hub, child: looks.append(child))
    pool, child, hub = WatchfulPool.__new__(WatchfulPool), SimpleNamespace(), Hub()
    pool._pool = [child]
    pool._event_process_exit(hub, child)
    for _ in range(3):
        assert hub.run(), "the child is still there"
    pool._pool.clear()
    assert not hub.run()
    assert len(looks) == 5


def test_it_does_not_look_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A function may close the pipe of a child that lives on."""
    monkeypatch.setattr(AsynPool, "_event_process_exit", lambda *_: None)
    pool, child, hub = WatchfulPool.__new__(WatchfulPool), SimpleNamespace(), Hub()
    pool._pool = [child]
    pool._event_process_exit(hub, child)
    turns = sum(1 for _ in iter(hub.run, False))
    assert 10 < turns < 100
