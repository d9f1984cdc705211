"""YAML as plain data together with the line of every value, with `${VAR}` filled in."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from runtime.errors import Problem

Path_ = tuple[str | int, ...]

_VARIABLE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_MAX_BYTES = 1 << 20
_MAX_DEPTH = 40


@dataclass(slots=True)
class Yaml:
    """A parsed file: its data, the line of each path, and what was wrong with it."""

    data: Any = None
    lines: dict[Path_, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    variables: dict[Path_, str] = field(default_factory=dict)
    """Paths whose value came from the environment, with the variable's name."""

    def line(self, path: Path_) -> int | None:
        """The line of a path, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path)


def show(path: Path_) -> str:
    """`functions.embed.triggers[0].cron`"""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def read(file: Path, environ: Mapping[str, str]) -> Yaml:
    """Parse a file with the safe loader. Problems are collected, never raised."""
    result = Yaml()
    try:
        raw = file.read_bytes()
        if len(raw) > _MAX_BYTES:
            raise ValueError(f"the file has {len(raw)} bytes; the limit is {_MAX_BYTES}")
        node = yaml.compose(raw.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        message = "there is no such file; make a project with `tundish init FOLDER`, or name another with -f"
        result.problems.append(Problem("", message, file=str(file)))
    except OSError as error:
        result.problems.append(Problem("", f"cannot be read: {error.strerror}", file=str(file)))
    except UnicodeDecodeError as error:
        result.problems.append(Problem("", f"is not UTF-8 text (byte {error.start})", file=str(file)))
    except ValueError as error:
        result.problems.append(Problem("", str(error), file=str(file)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(part for part in (error.problem, error.context) if part)
        result.problems.append(Problem("", f"is not valid YAML: {reason}", mark.line + 1 if mark else None, file.name))
    except yaml.YAMLError as error:
        result.problems.append(Problem("", f"is not valid YAML: {error}", file=file.name))
    else:
        if node is not None:
            result.data = _Builder(file.name, environ, result).build(node, ())
    return result


class _Builder:
    def __init__(self, file: str, environ: Mapping[str, str], result: Yaml) -> None:
        self._file, self._environ, self._result = file, environ, result
        self._loader = yaml.SafeLoader("")
        self._resolve: Callable[..., Any] = self._loader.resolve

    def _problem(self, path: Path_, message: str, node: yaml.Node) -> None:
        self._result.problems.append(Problem(show(path), message, node.start_mark.line + 1, self._file))

    def build(self, node: yaml.Node, path: Path_) -> Any:
        self._result.lines.setdefault(path, node.start_mark.line + 1)
        if len(path) > _MAX_DEPTH:
            self._problem(path[:3], f"is nested more than {_MAX_DEPTH} levels deep (an alias to itself?)", node)
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*path, position)) for position, child in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            place = (*path, key)
            if key in result:
                first = self._result.lines[place]
                self._problem(place, f"is written twice (first on line {first}); remove one", key_node)
                continue
            self._result.lines[place] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, place)
        return result

    def _scalar(self, node: yaml.Node, path: Path_) -> Any:
        text = self._fill(node, path) if isinstance(node.value, str) else node.value
        if text != node.value:
            plain = isinstance(node, yaml.ScalarNode) and node.style is None
            tag = str(self._resolve(yaml.ScalarNode, text, (True, False))) if plain else node.tag
            node = yaml.ScalarNode(tag, text, node.start_mark, node.end_mark)
        try:
            return self._loader.construct_object(node)
        except (yaml.YAMLError, ValueError) as error:
            reason = getattr(error, "problem", None) or error
            self._problem(path, f"cannot be read as a plain value: {reason}", node)
            return None

    def _fill(self, node: yaml.Node, path: Path_) -> str:
        def value(match: re.Match[str]) -> str:
            name, fallback = match[1], match[2]
            if name is None:  # $$
                return "$"
            if name in self._environ:
                self._result.variables[path] = name
                return self._environ[name]
            if fallback is None:
                self._problem(
                    path, f"${{{name}}} is not set in the environment; set it or write ${{{name}:-default}}", node
                )
                return ""
            return fallback

        return _VARIABLE.sub(value, node.value)
