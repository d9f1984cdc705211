"""How functions.yaml names a handler."""

from __future__ import annotations

import re

_FILE_HANDLER = re.compile(r"(?P<file>[^:]+\.py):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")
_MODULE_HANDLER = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][A-Za-z0-9_]*)")


def parse_handler(handler: str) -> tuple[str | None, str | None, str]:
    """(file, module, name): one of the first two is None. Raises ValueError."""
    if match := _FILE_HANDLER.fullmatch(handler):
        return match["file"], None, match["name"]
    if match := _MODULE_HANDLER.fullmatch(handler):
        return None, match["module"], match["name"]
    raise ValueError("is not a handler; write path/to/file.py:function or package.module:function")
