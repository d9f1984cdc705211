"""A file as an argument or a result of a function. Standard library only: it is a part of `runtime.context`."""

from __future__ import annotations

import io
import mimetypes
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

BINARY = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,100}/[\w!#$&^.+-]{1,100}([ \t]*;[\x20-\x7e]{0,200})?", re.ASCII)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_TEXT = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class File:
    """Bytes with a name and a media type: from memory, from a path, or from something open.

    As an argument it is what a caller uploaded. A large one lies in the store and is fetched when it is opened.
    """

    def __init__(self, content: bytes | os.PathLike[str] | BinaryIO, name: str | None = None, content_type: str = ""):
        """Raises TypeError for other content, ValueError for a bad media type, OSError for a path that is no file."""
        self._content: bytes | Path | BinaryIO
        self.size: int | None = None
        """Bytes; None: not known before it has been read."""
        if isinstance(content, bytes | bytearray | memoryview):
            self._content = bytes(content)
            self.size = len(self._content)
        elif isinstance(content, os.PathLike):
            self._content = path = Path(content)
            if path.is_dir():
                raise IsADirectoryError(f"{path} is a folder; a file is needed")
            self.size, name = path.stat().st_size, name or path.name
        elif hasattr(content, "read"):
            self._content, name = _binary(content), name or _name_of(content)
        else:
            raise TypeError(f"a File is made of bytes, a Path or an open file, found {type(content).__name__}")
        name = PurePosixPath(name.replace("\\", "/")).name if name else ""
        # It goes into a header: no line ends, and nothing that has no encoding.
        self.name = "".join(one if one.isprintable() else "_" for one in name) or None
        self.content_type = content_type or mimetypes.guess_type(self.name or "")[0] or BINARY
        if not _MEDIA_TYPE.fullmatch(self.content_type):
            raise ValueError(f"{self.content_type[:100]!r} is no media type; write one like image/png")
        self.reference: str | None = None
        """Where it lies in the store already."""
        self._fetch: Callable[[BinaryIO], None] | None = None

    @classmethod
    def stored(
        cls, reference: str, fetch: Callable[[BinaryIO], None], name: str | None, content_type: str, size: int | None
    ) -> File:
        """A file that lies in the store; `fetch` writes its bytes to an open file."""
        made = cls(b"", name, content_type)
        made.reference, made._fetch, made.size = reference, fetch, size
        return made

    def open(self) -> BinaryIO:
        """Open it for reading bytes; close it, or use it in a `with`."""
        if self._fetch is not None:
            file = tempfile.TemporaryFile()  # noqa: SIM115 (whoever opens it closes it)
            self._fetch(file)
            file.seek(0)
            return file
        if isinstance(self._content, bytes):
            return io.BytesIO(self._content)
        return self._content.open("rb") if isinstance(self._content, Path) else self._content

    def read(self) -> bytes:
        """All bytes."""
        if isinstance(self._content, bytes) and self._fetch is None:
            return self._content
        with self.open() as file:
            return file.read()

    def save(self, path: os.PathLike[str] | str) -> None:
        """Write it to a path, without holding it in memory."""
        with self.open() as source, Path(path).open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)

    def __repr__(self) -> str:
        return f"File(name={self.name!r}, content_type={self.content_type!r}, size={self.size})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        """How an argument of this type is made: see runtime/file_document.py."""
        from pydantic_core import core_schema

        from runtime.file_document import validated

        return core_schema.with_info_plain_validator_function(validated)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        from runtime.file_document import SCHEMA

        return dict(SCHEMA)


class HttpAnswer(File):
    """A result that says how a waiting caller is answered: status and headers (one may come twice) besides the body."""

    def __init__(
        self,
        body: bytes = b"",
        status: int = 200,
        headers: Mapping[str, str] | Sequence[tuple[str, str]] = (),
        content_type: str = "",
    ) -> None:
        """Raises ValueError for a status or a header that HTTP does not have."""
        super().__init__(body, content_type=content_type)
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        if isinstance(status, bool) or not 200 <= status <= 599:
            raise ValueError(f"the handler answered with status {status!r}; it is a number from 200 to 599")
        self.status, self.headers = int(status), [(name, text.strip(" \t")) for name, text in pairs]
        for name, text in self.headers:
            if not (_HEADER_NAME.fullmatch(name) and _HEADER_TEXT.fullmatch(text)):
                raise ValueError(f"the handler answered with a header that HTTP does not allow: {name[:100]!r}")


def _binary(content: Any) -> BinaryIO:
    """An open file that gives bytes. Raises ValueError for one that is closed."""
    if getattr(content, "closed", False):
        raise ValueError("the file is closed already; return File(path), or the file while it is open")
    if isinstance(content, io.StringIO):
        return io.BytesIO(content.getvalue().encode())
    if isinstance(content, io.TextIOBase):
        return io.BytesIO(content.read().encode())
    found: BinaryIO = content
    return found


def _name_of(content: Any) -> str | None:
    name = getattr(content, "name", None)
    return os.path.basename(name) if isinstance(name, str) and not name.startswith("<") else None  # noqa: PTH119
