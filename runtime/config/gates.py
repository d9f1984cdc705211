"""What makes the calls of a function wait, or refuses them: its gates, and how much may wait before a call."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from runtime.config.model import Model
from runtime.values.units import Duration


class ConcurrencyKey(Model):
    """One call at a time for each value of an argument (`user`, `order.id`); the others wait, or the newest wins."""

    argument: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*$", max_length=200)]
    policy: Literal["queue", "latest"] = "queue"


class Circuit(Model):
    """After `failures` failed attempts within `window`, calls wait for `open` before one of them is tried."""

    failures: Annotated[int, Field(ge=1, le=1000)] = 10
    window: Duration = 60.0
    open: Duration = 30.0


class Overload(Model):
    """When a request for a call is refused: as soon as `waiting` calls wait before it, or the first of them has
    waited for `oldest`."""

    waiting: Annotated[int, Field(ge=1, le=100_000_000)] | None = None
    oldest: Annotated[Duration, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.waiting is None and self.oldest is None:
            raise ValueError("says nothing; give waiting (how many calls), oldest (how long), or both")
        return self
