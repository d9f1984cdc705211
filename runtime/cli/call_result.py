"""What a call answered: JSON and items for people and pipes, files for `-o`."""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import click
import urllib3

from runtime.cli.client import Refused, Unreachable
from runtime.cli.output import print_json
from runtime.values.units import format_size

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

NDJSON = "application/x-ndjson"
_CHUNK = 2**18
_NAME = re.compile(r"filename\*=UTF-8''([^;]+)")


def show(answer: BaseHTTPResponse, output: Path | None, *, as_json: bool) -> None:
    """Print an answer, or write it to a file. Raises Refused for a failure that it ends with, and Unreachable."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    if kind == NDJSON:
        _items(answer, output)
    elif kind == "application/json" and not _name(answer):
        result = answer.read()
        if output is not None:
            _written(answer, iter([result]), output, "result.json")
        elif as_json:
            print_json({"result": json.loads(result), **_told(answer)})
        else:
            print_json(json.loads(result))
    else:
        _file(answer, kind, output, as_json=as_json)


def _items(answer: BaseHTTPResponse, output: Path | None) -> None:
    """Items as they come. The last line of an answer that is cut off says why."""
    if output is not None:
        _written(answer, (line + b"\n" for line in _lines(answer)), output, "items.jsonl")
        return
    for line in _lines(answer):
        click.echo(line)


def _lines(answer: BaseHTTPResponse) -> Iterator[bytes]:
    rest, held = b"", list[bytes]()
    try:
        for chunk in answer.stream(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:  # one is held back: it may be the problem
                yield from held
                held = [line]
            if held and not rest and not _is_problem(held[0]):  # the next one may take its time
                yield held.pop()
    except urllib3.exceptions.HTTPError as error:
        if held and _is_problem(held[0]):
            told = json.loads(held[0])
            raise Refused(told["status"], told) from error
        yield from held
        raise Unreachable("The answer broke off in the middle; call it again.") from error
    yield from held


def _is_problem(line: bytes) -> bool:
    """Whether a line may be what a call that is cut off ends with."""
    return line.startswith(b'{"type":"about:blank"')


def _file(answer: BaseHTTPResponse, kind: str, output: Path | None, *, as_json: bool) -> None:
    size = answer.headers.get("Content-Length")
    result: dict[str, Any] = {"name": _name(answer), "content_type": kind, "size": int(size) if size else None}
    if output is not None:
        path = _written(answer, answer.stream(_CHUNK), output, _name(answer) or "result")
        if as_json:
            print_json({"result": {**result, "file": str(path)}, **_told(answer)})
    elif as_json:
        print_json({"result": {**result, "url": _place(answer)}, **_told(answer)})
    elif sys.stdout.isatty() and not kind.startswith("text/"):
        told = f"The result is {kind}{f', {format_size(int(size))}' if size else ''}, and this is a terminal."
        raise click.UsageError(f"{told} It is kept: GET {_place(answer)}; next time give -o FILE.")
    else:
        for chunk in answer.stream(_CHUNK):
            sys.stdout.buffer.write(chunk)
        sys.stdout.buffer.flush()


def _written(answer: BaseHTTPResponse, chunks: Iterator[bytes], output: Path, name: str) -> Path:
    """Write all or nothing; into a folder under the result's own name."""
    path = output / name if output.is_dir() else output
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        part.replace(path)
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    kind = answer.headers.get("Content-Type", "").partition(";")[0]
    click.echo(f"{path}: {format_size(path.stat().st_size)}, {kind}", err=True)
    return path


def _told(answer: BaseHTTPResponse) -> dict[str, Any]:
    duration, attempts = answer.headers.get("X-Duration-Seconds"), answer.headers.get("X-Attempts")
    return {
        "id": answer.headers.get("X-Call-Id"),
        "duration_seconds": float(duration) if duration else None,
        "attempts": int(attempts) if attempts else None,
    }


def _place(answer: BaseHTTPResponse) -> str:
    return f"/api/v1/tasks/task/{answer.headers.get('X-Call-Id', '')}/result"


def _name(answer: BaseHTTPResponse) -> str | None:
    found = _NAME.search(answer.headers.get("Content-Disposition", ""))
    name = Path(unquote(found[1])).name if found else ""
    return name or None
