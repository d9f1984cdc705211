"""The sections at the top of functions.yaml that mean the same as they are written: nothing of them is filled in."""

from __future__ import annotations

from pydantic import Field

from runtime.config_auth import AuthSpec
from runtime.config_broker import BrokerSpec
from runtime.config_logs import LogsSpec, TracingSpec
from runtime.config_metrics import MetricsSpec
from runtime.config_model import Model
from runtime.config_tenants import Tenants


class Sections(Model):
    """What the file as it is written and the project as it is used have in common; each section has its own file."""

    auth: AuthSpec = AuthSpec()
    broker: BrokerSpec = BrokerSpec()
    logs: LogsSpec = LogsSpec()
    metrics: MetricsSpec = MetricsSpec()
    tracing: TracingSpec = TracingSpec()
    tenants: Tenants = Field(default_factory=dict)
