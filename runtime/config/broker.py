"""How processes talk to their broker, and how long a part that is to stop may go on: `broker:` and `grace:`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from runtime.config.model import Model
from runtime.values.units import Duration, Size

GRACE_SECONDS = 300.0
UP_GRACE_SECONDS = 10.0
"""Under `tundish up`, where the file says nothing: whoever develops does not want to wait."""


def _switched(value: Any) -> Any:
    return 0 if value is False else value


class BrokerSpec(Model):
    """Connections to the broker, in every process; and whether large messages are compressed."""

    pool: Annotated[int, Field(ge=2, le=100_000)] | None = None
    """The most connections of one process; who needs one more waits for it, five seconds at most."""
    keepalive: Annotated[Duration, Field(le=86_400), BeforeValidator(_switched)] = 30.0
    """After so much silence the system asks whether the other side is still there; 0 or false: never."""
    retry_on_startup: bool = True
    """Whether a part waits for a broker that does not answer when it starts. False: it ends, with exit code 3."""
    replicas: Annotated[int, Field(ge=0, le=16)] = 0
    """A call is accepted when so many replicas of the broker have it, too."""
    compress_over: Annotated[Size, Field(ge=256)] | None = None
    """Arguments and messages of more bytes are compressed."""
