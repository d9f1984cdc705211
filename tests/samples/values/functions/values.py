"""What functions of the tests take and return."""

from __future__ import annotations

import hashlib
import io
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel

from runtime.context import Context, File

if TYPE_CHECKING:
    import numpy as np


@dataclass
class Point:
    x: float
    y: float


class Order(BaseModel):
    id: int
    places: list[Point]


def give(kind: str) -> object:
    """One value of each kind."""
    folder = Path(tempfile.mkdtemp())
    (folder / "page.html").write_bytes(b"<b>hello</b>")
    made: dict[str, Any] = {
        "bytes": lambda: b"\x00\xff",
        "bytearray": lambda: bytearray(b"ab"),
        "path": lambda: folder / "page.html",
        "open": lambda: (folder / "page.html").open("rb"),
        "text": (folder / "page.html").open,
        "temporary": _temporary,
        "memory": lambda: io.BytesIO(b"memory"),
        "file": lambda: File(b"\x89PNG", 'Füße "1".png'),
        "typed": lambda: File(b"a,b\n", content_type="text/csv; charset=utf-8"),
        "model": lambda: Order(id=1, places=[Point(1, 2.5)]),
        "dataclass": lambda: Point(1.5, 2),
        "mixed": lambda: {
            "when": datetime(2026, 3, 1, tzinfo=UTC),
            "id": uuid.UUID(int=1),
            "price": Decimal("1.10"),
            "set": {1},
            "bytes": b"\xff\xfe",
            "point": Point(0, 0),
        },
        "missing": lambda: folder / "gone",
        "folder": lambda: folder,
        "closed": lambda: _closed(folder / "page.html"),
    }
    return made[kind]()


def _temporary() -> object:
    file = tempfile.NamedTemporaryFile(suffix=".csv")  # noqa: SIM115
    file.write(b"1,2")
    file.seek(0)
    return file


def _closed(path: Path) -> object:
    with path.open("rb") as file:
        return file


def array(rows: int) -> np.ndarray:
    import numpy as np

    found = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    found[0, 0] = np.nan
    return found


def big(size: int, kind: str = "bytes") -> object:
    data = b"0123456789abcdef" * (size // 16)
    return data if kind == "bytes" else File(data, "big.bin")


def reads(data: bytes) -> dict[str, object]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def take(document: File, title: str, tags: list[str] | None = None, pages: int = 1) -> dict[str, object]:
    """What was uploaded, and what came beside it."""
    with document.open() as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "name": document.name,
        "content_type": document.content_type,
        "size": document.size,
        "sha256": digest,
        "title": title,
        "tags": tags,
        "pages": pages,
    }


def picture(image: Annotated[File, "image/*"], width: int = 100) -> File:
    return File(image.read()[:width], image.name, image.content_type)


def several(files: list[File], optional: File | None = None) -> list[str | None]:
    return [file.name for file in files] + [optional.name if optional else None]


def passes(size: int, *, context: Context) -> dict[str, object]:
    """Files and bytes between functions: results as arguments, large and small."""
    file = context.call("big", size=size, kind="file")
    data = context.call("big", size=size)
    assert isinstance(file, File)
    assert isinstance(data, bytes)
    taken = context.call("take", document=file, title="passed on")
    read = context.call("reads", data=data)
    made = context.call("take", document=File(b"new", "new.txt"), title="made here")
    return {"taken": taken, "read": read, "made": made}


def gathered(items: list[File], *, context: Context) -> list[File]:
    """One call for several: each gets its own file back."""
    return [File(item.read().upper(), item.name) for item in items]


def told() -> File:
    return File(b"for the next", "note.txt")


def heard(*, context: Context) -> list[str]:
    """The files that those before it returned."""
    return [f"{parent.result.name}: {parent.result.read().decode()}" for parent in context.parents]


def lines(text: File) -> Iterator[str]:
    yield from text.read().decode().splitlines()
