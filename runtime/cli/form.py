"""`multipart/form-data` for `--form name=value` and `--form name=@file`, read from the disk as it is sent."""

from __future__ import annotations

import mimetypes
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

_CHUNK = 2**20


class Form:
    """A body of several parts. Iterating gives its bytes, `length` of them."""

    def __init__(self, fields: Sequence[str]) -> None:
        """Raises UsageError for a field that is not NAME=VALUE, and for a file that cannot be read."""
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self._parts: list[bytes | Path] = []
        for field in fields:
            name, sign, value = field.partition("=")
            if not sign or not name:
                raise click.UsageError(f"--form is NAME=VALUE or NAME=@FILE, found {field[:60]!r}.")
            self._parts += [f"--{boundary}\r\n".encode(), *_part(name, value), b"\r\n"]
        self._parts.append(f"--{boundary}--\r\n".encode())
        self.length = sum(len(part) if isinstance(part, bytes) else part.stat().st_size for part in self._parts)

    def __iter__(self) -> Iterator[bytes]:
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            with part.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    yield chunk


def _part(name: str, value: str) -> Iterator[bytes | Path]:
    head = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    if not value.startswith("@"):
        yield f"{head}\r\n\r\n{value}".encode()
        return
    path = Path(value[1:])
    try:
        path.open("rb").close()
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}.") from error
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    yield f'{head}; filename="{_quoted(path.name)}"\r\nContent-Type: {kind}\r\n\r\n'.encode()
    yield path


def _quoted(text: str) -> str:
    """As browsers write it."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
