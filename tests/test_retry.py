"""Pure decisions: repeat or not and when; a chain goes or waits."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from runtime.config.load import load_settings
from runtime.config.settings import Chain, Retries
from runtime.errors import BadInput, EngineDown, InvalidArguments, Retry
from runtime.invocations.chain import due
from runtime.invocations.retry import Decision, decide

POLICY = Retries(max=3, backoff=60, max_backoff=200, jitter=0)


@pytest.mark.parametrize(("attempts", "delay"), [(1, 60.0), (2, 120.0), (3, 200.0)])
def test_back_off_doubles_up_to_its_limit(attempts: int, delay: float) -> None:
    found = decide(POLICY, attempts, ValueError(), allowed=True, dice=random.Random(1))
    assert found == Decision("retrying", delay)


def test_embed_batch_is_shipped_with_one_two_and_four_minutes() -> None:
    shipped = load_settings({}, file=Path(__file__).parent.parent / "functions.yaml").project.functions["embed_batch"]
    dice = random.Random(1)
    for attempt, seconds in enumerate((60.0, 120.0, 240.0), 1):
        delays = [decide(shipped.retries, attempt, OSError(), allowed=True, dice=dice).delay for _ in range(200)]
        assert 0.9 * seconds <= min(delays) < seconds < max(delays) <= 1.1 * seconds
    assert decide(shipped.retries, 4, OSError(), allowed=True, dice=dice) == Decision("dead")


def test_spent_retries_are_dead_and_hopeless_ones_failed() -> None:
    dice = random.Random(1)
    assert decide(POLICY, 4, ValueError(), allowed=True, dice=dice) == Decision("dead")
    assert decide(POLICY, 1, ValueError(), allowed=False, dice=dice) == Decision("failed")
    for error in (BadInput(), InvalidArguments([])):
        assert decide(POLICY, 1, error, allowed=True, dice=dice) == Decision("failed")


def test_who_waits_for_an_engine_never_gives_up() -> None:
    waits = [decide(POLICY, attempt, EngineDown(), allowed=True, dice=random.Random(1)) for attempt in (1, 3, 1000)]
    assert waits == [Decision("retrying", seconds) for seconds in (2.0, 8.0, 30.0)]
    assert decide(POLICY, 1, EngineDown(), allowed=False, dice=random.Random(1)) == Decision("failed")


def test_named_exceptions() -> None:
    dice = random.Random(1)
    only = Retries(max=3, retry_on=("OSError",), never_retry_on=("builtins.FileNotFoundError",))
    assert decide(only, 1, ConnectionError(), allowed=True, dice=dice).state == "retrying"
    assert decide(only, 1, ValueError(), allowed=True, dice=dice).state == "failed"
    assert decide(only, 1, FileNotFoundError(), allowed=True, dice=dice).state == "failed"


def test_a_function_says_when() -> None:
    found = decide(POLICY, 1, Retry("later", after=7), allowed=True, dice=random.Random(1))
    assert found == Decision("retrying", 7)


def test_jitter_stays_within_its_share() -> None:
    policy = Retries(max=3, backoff=100, max_backoff=1000, jitter=0.1)
    dice = random.Random(1)
    delays = [decide(policy, 1, ValueError(), allowed=True, dice=dice).delay for _ in range(200)]
    assert 90 <= min(delays) < 95
    assert 105 < max(delays) <= 110


@pytest.mark.parametrize(
    ("first", "last", "ended", "now", "goes"),
    [
        (100.0, 100.0, float("-inf"), 100.0, True),  # the first ever
        (100.0, 100.0, 99.9, 100.0, True),  # nobody is at work
        (100.0, 100.1, 100.05, 100.15, False),  # came while one ran; still coming
        (100.0, 100.1, 100.05, 100.31, True),  # none for `debounce`
        (100.0, 101.0, 100.05, 101.01, True),  # they keep coming: `max_wait` bounds it
    ],
)
def test_waiting_parents(first: float, last: float, ended: float, now: float, goes: bool) -> None:
    assert due(Chain(function="f", debounce=0.2, max_wait=1.0), first, last, ended, now) is goes
