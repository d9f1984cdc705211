"""What stores send, read with a sentence for people wherever it is not what was expected."""

from __future__ import annotations

import json
from typing import Any

_WORDS = {str: "text", list: "a list", dict: "an object", bool: "true or false", type(None): "null"}


def document(body: bytes) -> Any:
    """The JSON of a notification. Raises ValueError."""
    if not body.strip():
        raise ValueError("it is empty; JSON was expected")
    try:
        return json.loads(body)
    except UnicodeDecodeError as error:
        raise ValueError("it is no text in UTF-8; JSON was expected") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON from line {error.lineno}, column {error.colno} on") from error
    except ValueError as error:
        raise ValueError("it holds a number of too many digits") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def take(found: Any, *path: str, kind: type = object, of: str = "it") -> Any:
    """The value at `path`, below objects in objects; `of` is what people call the outermost one. Raises ValueError."""
    for depth, name in enumerate(path):
        place = f"`{'.'.join(path[:depth])}`" if depth else of
        if not isinstance(found, dict):
            raise ValueError(f"{place} is {_named(found)}; an object with `{name}` was expected")
        if name not in found:
            there = f"has only {', '.join(found)[:200]}" if found else "is empty"
            raise ValueError(f"{place} {there}; `{name}` was expected")
        found = found[name]
    if not isinstance(found, kind):
        raise ValueError(f"`{'.'.join(path)}` is {_named(found)}; {_WORDS[kind]} was expected")
    return found


def _named(found: Any) -> str:
    """What a value of JSON is, for people."""
    return _WORDS.get(type(found), "a number")
