"""The sections at the top of functions.yaml that mean the same as they are written: nothing of them is filled in."""

from __future__ import annotations

from pydantic import Field

from runtime.config.auth import AuthSpec
from runtime.config.broker import BrokerSpec
from runtime.config.logs import LogsSpec, TracingSpec
from runtime.config.metrics import MetricsSpec
from runtime.config.model import Model
from runtime.config.tenants import Tenants


class Sections(Model):
    """What the file as it is written and the project as it is used have in common; each section has its own file."""

    auth: AuthSpec = AuthSpec()
    broker: BrokerSpec = BrokerSpec()
    logs: LogsSpec = LogsSpec()
    metrics: MetricsSpec = MetricsSpec()
    tracing: TracingSpec = TracingSpec()
    tenants: Tenants = Field(default_factory=dict)
