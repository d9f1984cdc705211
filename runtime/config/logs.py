"""How processes write their logs, and where their spans go: `logs:` and `tracing:`, and what the environment says."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast, get_args

from pydantic import BeforeValidator, Field

from runtime.config.model import Model

if TYPE_CHECKING:
    from runtime.config.schema import FunctionsFile
    from runtime.config.settings import Project
    from runtime.config.yaml_lines import Path_

Form = Literal["text", "json"]
Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
Exporter = Literal["none", "otlp", "console"]
_PROTOCOL = "http/protobuf"


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


class LogsSpec(Model):
    """The log of every process. `access`: the gateway writes a line for every request; None: where it is JSON."""

    format: Form = "text"
    level: Annotated[Level, BeforeValidator(_upper)] = "INFO"
    access: bool | None = None

    @property
    def tells_requests(self) -> bool:
        return self.format == "json" if self.access is None else self.access


class TracingSpec(Model):
    """Spans by OpenTelemetry (extra `otel`). `endpoint`: that of a collector, by OTLP over HTTP. `ratio`: the share of
    new traces that is kept. `exporter` None: otlp where there is an endpoint."""

    exporter: Exporter | None = None
    endpoint: Annotated[str, Field(pattern=r"^(https?://\S+)?$")] = ""
    ratio: Annotated[float, Field(ge=0, le=1)] = 1.0

    @property
    def on(self) -> bool:
        return (self.exporter or ("otlp" if self.endpoint else "none")) != "none"


class Observed(Model):
    """What every process tells of itself: as the file and the environment want it."""

    log_level: str = "INFO"
    logs: LogsSpec = LogsSpec()
    tracing: TracingSpec = TracingSpec()


def observed(
    get: Callable[..., str | None], problem: Callable[[str, str], None], project: Project | None
) -> dict[str, Any]:
    """The values of `Observed`."""
    logs, tracing = (project.logs, project.tracing) if project else (LogsSpec(), TracingSpec())
    form = (get("TUNDISH_LOG_FORMAT", path=("logs", "format")) or logs.format).lower()
    if form not in get_args(Form):
        problem("TUNDISH_LOG_FORMAT", f"{form!r} is not one of {', '.join(get_args(Form))}")
        form = logs.format
    return {
        "log_level": logs.level,
        "logs": logs.model_copy(update={"format": form}),
        "tracing": _traced(get, problem, tracing),
    }


def _traced(get: Callable[..., str | None], problem: Callable[[str, str], None], written: TracingSpec) -> TracingSpec:
    """OpenTelemetry's own variables win; its library reads the further ones by itself."""
    changes: dict[str, Any] = {}
    exporter = (get("OTEL_TRACES_EXPORTER") or "").strip().lower()
    if exporter and exporter not in get_args(Exporter):
        problem("OTEL_TRACES_EXPORTER", f"{exporter!r} is not one of {', '.join(get_args(Exporter))}")
    elif exporter:
        changes["exporter"] = cast("Exporter", exporter)
    if get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"):
        changes["endpoint"] = ""
        changes.setdefault("exporter", "otlp")
    if (get("OTEL_SDK_DISABLED") or "").lower() == "true":
        changes["exporter"] = "none"
    found = written.model_copy(update=changes)
    protocol = get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    if found.on and protocol not in (None, _PROTOCOL):
        problem("OTEL_EXPORTER_OTLP_PROTOCOL", f"{protocol!r} is not supported; spans are sent by {_PROTOCOL}")
    return found


def check_tracing(content: FunctionsFile, report: Callable[[Path_, str], None]) -> None:
    """Report spans that are wanted where the library for them is not installed."""
    if content.tracing.on and not installed():
        report(("tracing",), "needs OpenTelemetry, which is not installed here: pip install 'tundish[otel]'")


def installed() -> bool:
    """Whether the libraries of the extra `otel` are there."""
    try:
        return find_spec("opentelemetry.sdk") is not None and find_spec("opentelemetry.exporter.otlp") is not None
    except ModuleNotFoundError:
        return False
