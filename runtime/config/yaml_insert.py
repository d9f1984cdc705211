"""One more entry in functions.yaml, as text: comments, order and layout of all the rest stay as they are."""

from __future__ import annotations

import textwrap
from typing import Any

import yaml

from runtime.errors import TundishError

_KEY = "functions"


class NotInserted(TundishError):
    """The entry cannot be added to functions.yaml."""


def insert_function(text: str, name: str, entry: str) -> str:
    """`text` with `entry` (`name:` and indented lines below it) as the last of `functions:`.

    What was made is read again: unless it says the same as before and the entry, NotInserted is raised, with the
    lines to add by hand.
    """
    by_hand = f"Add it by hand, below `{_KEY}:`\n\n{textwrap.indent(entry, '  ')}"
    try:
        before = yaml.safe_load(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise NotInserted(f"functions.yaml is not valid YAML; mend it first (`tundish check`). {error}") from error
    if not isinstance(before, dict) or not isinstance(node, yaml.MappingNode):
        raise NotInserted(f"functions.yaml has no mapping at its top. {by_hand}")
    known = before.get(_KEY) or {}
    if not isinstance(known, dict):
        raise NotInserted(f"`{_KEY}:` in functions.yaml is no mapping. {by_hand}")
    if line := _line(node, name):
        raise NotInserted(f"functions.yaml:{line}: there is a function {name} already. Take another name.")
    after = _inserted(text, node, entry)
    if not _says(after, {**before, _KEY: {**known, **yaml.safe_load(entry)}}):
        raise NotInserted(f"functions.yaml is written in a way in which nothing can be added safely. {by_hand}")
    return after


def _inserted(text: str, node: yaml.MappingNode, entry: str) -> str:
    """The text with the entry in it, if it is written in the usual way."""
    ending = "\r\n" if "\r\n" in text else "\n"
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith(("\r", "\n")):
        lines[-1] += ending
    found = next((pair for pair in node.value if pair[0].value == _KEY), None)
    if found is None:
        place, indent, new = len(lines), 2, f"\n{_KEY}:\n"
    elif isinstance(found[1], yaml.MappingNode) and found[1].value:
        indent = found[1].value[0][0].start_mark.column
        place, new = _end(lines, found[1], indent), "\n"
    else:
        place, indent, new = found[0].start_mark.line + 1, 2, ""
        lines[place - 1] = _emptied(lines[place - 1])
    new += textwrap.indent(entry, " " * indent)
    return "".join([*lines[:place], new.replace("\n", ending), *lines[place:]])


def _line(node: yaml.MappingNode, name: str) -> int | None:
    """Where a function of this name stands."""
    found = [value for key, value in node.value if key.value == _KEY and isinstance(value, yaml.MappingNode)]
    return next((key.start_mark.line + 1 for value in found for key, _ in value.value if key.value == name), None)


def _end(lines: list[str], node: yaml.Node, indent: int) -> int:
    """The line after the last one of a block, with the comments that stand in it."""
    last = node
    while isinstance(last, yaml.CollectionNode) and last.value and not last.flow_style:
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    end = last.end_mark.line + (last.end_mark.column > 0)
    while not lines[end - 1].strip():
        end -= 1
    for number in range(end, len(lines)):
        line = lines[number].strip()
        if line and not (line.startswith("#") and len(lines[number]) - len(lines[number].lstrip()) >= indent):
            break
        if line:
            end = number + 1
    return end


def _emptied(line: str) -> str:
    """`functions: {}  # mine` → `functions:  # mine`"""
    key, _, rest = line.partition(":")
    for nothing in ("{}", "null", "~"):
        rest = rest.replace(nothing, "", 1) if rest.strip().startswith(nothing) else rest
    return f"{key}:{rest}"


def _says(text: str, meant: dict[str, Any]) -> bool:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return False
    return bool(found == meant and list(found[_KEY]) == list(meant[_KEY]))
