"""What is deployed, read from functions.yaml where no system runs: in the words of the gateway's /functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.config.load import load_settings
from runtime.deployment.deployment import Deployed, load_deployment
from runtime.values.units import format_duration


class Described:
    """Describes the project here. Raises ConfigError, HandlerError and FunctionNotFound."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._deployment = load_deployment(load_settings(environ), environ)

    def all(self) -> list[dict[str, Any]]:
        return [_told(found) for found in self._deployment.functions.values()]

    def one(self, name: str) -> dict[str, Any]:
        return _told(self._deployment.find(name))


def _told(found: Deployed) -> dict[str, Any]:
    spec = found.spec
    plain = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
    web = [{"http": {"path": f"/function/{spec.name}"}}] if spec.http else []
    return {
        **{key: plain.get(key) for key in ("name", "handler", "queue", "priority", "role", "retries", "on_success")},
        "timeout": None if spec.timeout is None else format_duration(spec.timeout),
        "soft_timeout": None if spec.soft_timeout is None else format_duration(spec.soft_timeout),
        "on_failure": spec.on_failure,
        "triggers": [*web, *plain["crons"], *plain["buckets"]],
        "doc": found.doc,
        "style": found.style,
        "setup": spec.setup,
        "schema": found.schema,
        "returns": found.returns,
        "error": found.error,
    }
