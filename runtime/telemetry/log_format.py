"""One line of a log: for people, or as JSON for programs. Secrets are in neither."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from runtime.security.redact import Redactor
from runtime.telemetry import log_fields

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}
"""What every record has; `data` is Celery's, with the arguments of a call in it."""

BEGINS = '{"time": "'
"""By this one knows a line of JSON that is ours."""

_LINE = frozenset({"time", "level", "logger", "pid", "error", "stack"})
"""Ours alone: an `extra` of such a name gets an underscore behind it."""

_CALL = "%s[%s] "
"""How our lines begin that are about a call: its function, its id."""

_CELERY = {"id": "task_id", "name": "function"}


def line(time_: float, level: str, logger: str, message: str, more: Mapping[str, Any]) -> str:
    """One JSON object, on one line. `time` is when it was written, UTC."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time_)) + f".{int(time_ % 1 * 1000):03d}Z"
    told = {"time": moment, "level": level, "logger": logger, "message": message, **more}
    text = json.dumps(told, ensure_ascii=False, default=str)
    return text.encode("utf-8", "replace").decode()


class JsonFormatter(logging.Formatter):
    """JSON, with what the call at hand is (runtime/telemetry/log_fields.py) and whatever a record has as `extra`."""

    def __init__(self, process: str, redact: Redactor) -> None:
        super().__init__()
        self._process, self._redact = process, redact

    def format(self, record: logging.LogRecord) -> str:
        more: dict[str, Any] = {"process": self._process, "pid": record.process}
        more |= _named(record) | log_fields.shown(log_fields.current()) | _of_celery(record)
        for name, value in vars(record).items():
            if name not in _OWN:
                more[f"{name}_" if name in _LINE else name] = self._redact.named(name, value)
        if record.exc_info:
            more["error"] = self._redact(self.formatException(record.exc_info))
        if record.stack_info:
            more["stack"] = self._redact(self.formatStack(record.stack_info))
        message = self._redact(record.getMessage())
        return line(record.created, record.levelname, record.name, message, more)


class TextFormatter(logging.Formatter):
    """`HH:MM:SS LEVEL name message`, and behind it the call, where the line does not name it."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s %(message)s", "%H:%M:%S")
        self._redact = redact

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        text, fields = super().formatMessage(record), log_fields.current()
        if not fields or fields.get("task_id", "") in text:
            return text
        told = [f"{name}={value}" for name, value in log_fields.shown(fields).items() if name in ("task_id", "call_id")]
        if fields.get("tenant", "default") != "default":
            told.append(f"tenant={fields['tenant']}")
        return " ".join([text, *told])

    def format(self, record: logging.LogRecord) -> str:
        return self._redact(super().format(record))


def formatter(form: str, process: str, redact: Redactor) -> logging.Formatter:
    return JsonFormatter(process, redact) if form == "json" else TextFormatter(redact)


def wrapper(logger: str, process: str, redact: Redactor) -> Callable[[str], str]:
    """Makes JSON of a line that came as plain text: what a function prints, what a library writes to stderr."""

    def wrapped(text: str) -> str:
        more = {"process": process, **log_fields.shown(log_fields.current())}
        return line(time.time(), "INFO", logger, redact(text), more)

    return wrapped


def _named(record: logging.LogRecord) -> dict[str, str]:
    """The call that a line of ours begins with: workers' parents and the upkeep speak of calls that run elsewhere."""
    args = record.args
    if isinstance(record.msg, str) and record.msg.startswith(_CALL) and isinstance(args, tuple) and len(args) > 1:
        return {"function": str(args[0]), "task_id": str(args[1])}
    return {}


def _of_celery(record: logging.LogRecord) -> dict[str, str]:
    """Which call Celery's own lines are about; its arguments are nobody's business."""
    data = getattr(record, "data", None)
    if not isinstance(data, Mapping) or not record.name.startswith("celery."):
        return {}
    return {ours: str(data[theirs]) for theirs, ours in _CELERY.items() if theirs in data}
