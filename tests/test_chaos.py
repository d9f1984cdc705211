"""A short storm of kills over a whole system (`make chaos` is the long one)."""

from __future__ import annotations

from pathlib import Path

from tests.chaos.processes import KINDS
from tests.chaos.promises import broken
from tests.chaos.storm import storm
from tests.chaos.table import table


def test_what_is_accepted_ends_whatever_is_killed(tmp_path: Path) -> None:
    found = storm(tmp_path, 300, seed=7)
    failures = broken(found)
    assert not failures, "\n".join([*map(str, failures[:50]), table(found, len(failures))])
    assert {kill.kind for kill in found.kills} == set(KINDS)
    assert len(found.records) > 300
