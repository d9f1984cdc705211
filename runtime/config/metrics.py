"""Where workers tell their metrics: `metrics:` of functions.yaml."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from runtime.config.model import Model

if TYPE_CHECKING:
    from runtime.config.environ import Environment

FIRST_PORT = 9540


class MetricsSpec(Model):
    """Every worker answers scrapes at `host`, at `port` plus the position of its queue in functions.yaml; 0: none does.

    Nobody is asked there who they are: an address that others reach is for a network of your own.
    """

    port: Annotated[int, Field(ge=0, le=65_000)] = FIRST_PORT
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"

    def port_of(self, position: int) -> int | None:
        """The port of the worker of the queue at this position, from 0 on; None: none."""
        found = self.port + position
        return found if self.port and found <= 65_535 else None

    def within(self, environment: Environment) -> MetricsSpec:
        """The same as the environment wants it."""
        given: dict[str, Any] = {
            "port": environment.number("PROMETHEUS_PORT", 0, 65_000, path=("metrics", "port")),
            "host": environment.get("PROMETHEUS_HOST", path=("metrics", "host")),
        }
        return self.model_copy(update={key: value for key, value in given.items() if value is not None})
