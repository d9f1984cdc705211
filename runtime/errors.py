"""The error tree. The docstring of a class is its default message; every message says what to do."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


class TundishError(Exception):
    """Something went wrong in Tundish."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or type(self).__name__))


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with functions.yaml: where, what, and how to mend it."""

    path: str
    message: str
    line: int | None = None
    file: str | None = None

    def __str__(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line) if part is not None)
        return ": ".join(part for part in (place, self.path, self.message) if part)


class ConfigError(TundishError):
    """The configuration has errors."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = problems
        super().__init__("\n".join(str(problem) for problem in problems))


class FunctionNotFound(TundishError):
    """No such function."""


class ScheduleNotFound(TundishError):
    """No such schedule."""


class TriggerNotFound(TundishError):
    """No such bucket trigger."""


class HandlerError(TundishError):
    """A handler could not be loaded."""


class SetupFailed(TundishError):
    """The setup of a function failed in this process."""


class EnvironmentFailed(TundishError):
    """The environment for a function's requirements could not be made."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One bad argument: its path in the arguments (`documents[0].text`) and what is wrong with it."""

    field: str
    message: str


class InvalidArguments(TundishError):
    """The arguments do not fit the function's signature. Never retried."""

    def __init__(self, errors: list[FieldError]) -> None:
        self.errors = errors
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))


class BadInput(TundishError):
    """The input can never work (an unreadable file, for example). Never retried."""


class OtherModel(BadInput):
    """The vector was made by another model than the index is made with."""


class NoWords(BadInput):
    """This index has no words to search by."""


class Retry(TundishError):
    """The function asks to be run again later."""

    def __init__(self, message: str | None = None, *, after: float | None = None) -> None:
        self.after = after
        super().__init__(message)


class BrokerDown(TundishError):
    """The broker cannot be reached. Check CELERY_BROKER_URL and that Redis or Valkey is running."""


class BrokerFull(BrokerDown):
    """The broker is at its memory limit and takes no new work. Raise its maxmemory, or wait until work has ended."""


class OutboxFull(BrokerDown):
    """The broker is away and the outbox takes no more calls. Try again when the broker is back."""


class StoreDown(TundishError):
    """The store cannot be reached. Check MINIO_ENDPOINT and that the S3 server is running."""


class StoreDenied(TundishError):
    """The store refused the credentials. Check MINIO_ACCESS_KEY and MINIO_SECRET_KEY."""


class ObjectMissing(TundishError):
    """There is no such object or bucket in the store."""


class PreconditionFailed(TundishError):
    """Another writer was first: the object exists already, or is not the one that was read."""


class CorruptBatch(TundishError):
    """A stored batch of vectors cannot be read."""


class CorruptSegment(TundishError):
    """A stored segment of the index does not match its hash."""


class IndexUnavailable(TundishError):
    """No version of the index is loaded yet. Try again in a few seconds."""


class EngineDown(IndexUnavailable):
    """The engine of this index cannot be reached. Check its `url` in functions.yaml, and that it is running."""


class ModelWarming(TundishError):
    """The embedding model is still being loaded. Try again in a few seconds."""


class ServiceFailed(TundishError):
    """A service could not be started."""


class CallFailed(TundishError):
    """A call made from inside a function did not succeed."""


class KeyReused(TundishError):
    """This Idempotency-Key was used before with another body. Use a new key for another call."""


class LimitReached(TundishError):
    """A rate or a quota of the tenant is used up."""

    def __init__(self, message: str, wait: float) -> None:
        """`wait`: seconds until it is worth trying again."""
        self.wait = wait
        super().__init__(message)


class Overloaded(LimitReached):
    """Too much waits before a call."""


class BatchFailure(TundishError):
    """Some items of a gathered call failed."""

    def __init__(self, errors: Mapping[int, BaseException | str], results: Sequence[Any] = ()) -> None:
        """`errors` by the item's position; `results` has the results of the others at theirs (None where missing)."""
        self.errors, self.results = dict(errors), list(results)
        super().__init__(f"{len(self.errors)} items failed: {sorted(self.errors)}")

    def error_of(self, position: int) -> BaseException | None:
        """What an item failed with; None where it did not."""
        if position not in self.errors:
            return None
        error = self.errors[position]
        return error if isinstance(error, BaseException) else TundishError(str(error))


class TimeLimitExceeded(TundishError, TimeoutError):
    """The function ran longer than its timeout and was stopped."""
