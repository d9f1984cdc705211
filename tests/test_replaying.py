"""What a person is told of a replay, in one sentence."""

from __future__ import annotations

import time
from typing import Any

import pytest

from runtime.cli.replaying import sentence


def told(state: str = "running", *, age: float = 1.0, **job: Any) -> dict[str, Any]:
    numbers = {"total": 100, "handed": 35, "settled": 10, "failed": 0}
    one = {"trigger": "embed-1", "state": state, "begun": 5.0, "ended": None, "paused": False, **numbers, **job}
    return {"state": state, "started": time.time() - age, **numbers, "triggers": [one]}


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ({}, "10 of 100 objects, 25 under way"),
        ({"state": "cancelled", "ended": 9.0}, "10 of 100 objects, 25 under way when it ended"),
        ({"begun": None, "handed": 10}, "10 of 100 objects"),
        ({"begun": None, "handed": 10, "age": 60}, "10 of 100 objects, embed-1 waits for a triggers process"),
        ({"begun": None, "handed": 10, "paused": True}, "10 of 100 objects, embed-1 is paused"),
    ],
)
def test_how_far_it_is(job: dict[str, Any], words: str) -> None:
    assert sentence(told(**job)) == words
