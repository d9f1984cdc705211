"""What a record keeps of an exception, and what it says of the world."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from runtime.errors import BadInput, InvalidArguments
from runtime.values.legible import legible

_OURS = Path(__file__).parent.parent
_LONGEST = 20_000
"""Characters of a message or a traceback that are kept."""

_SOFT_LIMIT = "SoftTimeLimitExceeded"  # Celery's, which is not imported here


def describe_error(error: BaseException) -> dict[str, Any]:
    """What a record keeps of an exception: type, message, traceback, and the bad fields where there are some."""
    message = _message(error) or type(error).__name__
    if type(error).__name__ == _SOFT_LIMIT:
        message = "the soft time limit was reached"
    told: dict[str, Any] = {
        "type": type(error).__name__,
        "message": message[:_LONGEST],
        "summary": f"{type(error).__name__}: {message}"[:500],
        "traceback": legible(_traceback(error)[-_LONGEST:]),
    }
    if isinstance(error, InvalidArguments):
        told["fields"] = [{"field": field.field, "message": field.message} for field in error.errors]
    return told


def _message(error: BaseException) -> str:
    """What it says, if it can be asked: its `__str__` is the function's code, too."""
    try:
        return legible(str(error)[: _LONGEST + 1])
    except Exception as inner:  # noqa: BLE001 - whatever that code raises
        return f"its message cannot be shown ({type(inner).__name__} in its __str__)"


def _traceback(error: BaseException) -> str:
    """From the first line that is not ours: how a handler is called is no news to whoever wrote it."""
    found = error.__traceback__
    while found and Path(found.tb_frame.f_code.co_filename).is_relative_to(_OURS):
        found = found.tb_next
    return "".join(traceback.format_exception(type(error), error, found or error.__traceback__))


def speaks_against(error: BaseException) -> bool:
    """Whether a failure says something about what the function depends on (its circuit), not about its input."""
    return not isinstance(error, InvalidArguments | BadInput)
