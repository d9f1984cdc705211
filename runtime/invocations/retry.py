"""Whether a failed attempt is repeated, and when: a pure decision."""

from __future__ import annotations

import random
from dataclasses import dataclass

from runtime.config.settings import Retries
from runtime.errors import (
    BadInput,
    BrokerDown,
    CallFailed,
    EngineDown,
    FunctionNotFound,
    InvalidArguments,
    Retry,
    StoreDenied,
    StoreDown,
)

# A handler that does not load may be mended by the next attempt.
_NEVER = (InvalidArguments, BadInput, FunctionNotFound)
_NOBODYS = (Retry, BrokerDown, StoreDown, StoreDenied)

LONGEST_WAIT = 30.0
"""Seconds between two looks whether the engine of an index is back."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes after a failed attempt: `retrying` after `delay` seconds, or the terminal `state`."""

    state: str
    delay: float = 0.0


def decide(
    policy: Retries, attempts: int, error: BaseException, *, allowed: bool, dice: random.Random, split: bool = False
) -> Decision:
    """`attempts` counts the one that just failed. `allowed` is False where the caller asked to be told at once.

    A batch that is `split` when it fails is repeated as it is only for what no object of it can be guilty of.
    An engine that is away counts as no attempt. Back-off doubles from `backoff` up to `max_backoff`, each delay spread
    by ± `jitter`.
    """
    if not allowed or not _retryable(policy, error) or (split and not isinstance(error, _NOBODYS)):
        return Decision("failed")
    if isinstance(error, EngineDown):  # what is to be indexed waits for its engine, however long that takes
        return Decision("retrying", min(LONGEST_WAIT, 2.0 ** min(attempts, 60)))
    if attempts > policy.max or isinstance(error, CallFailed):  # its children had their own retries
        return Decision("failed" if split else "dead")
    delay = min(policy.max_backoff, policy.backoff * 2 ** min(attempts - 1, 60))
    if isinstance(error, Retry) and error.after is not None:
        return Decision("retrying", max(0.0, error.after))
    return Decision("retrying", delay * (1 + policy.jitter * (2 * dice.random() - 1)))


def _retryable(policy: Retries, error: BaseException) -> bool:
    names = {name for kind in type(error).__mro__ for name in (kind.__name__, f"{kind.__module__}.{kind.__qualname__}")}
    if isinstance(error, _NEVER) or names & set(policy.never_retry_on):
        return False
    return not policy.retry_on or bool(names & set(policy.retry_on))
