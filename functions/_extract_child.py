"""Runs in a process of its own: reads hostile documents, so that a crash or a bomb hits nobody else.

Standard input is a socket. A request is four bytes of length and a msgpack map `{"data", "kind", "cpu_seconds",
"seconds", "pages", "languages", "tessdata"}`; the answer has `{"text", "title", "pages", "language", "notes"}` or
`{"error"}`. The process ends when the other side hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import resource
import select
import socket
import struct
import sys
import threading
import types
from pathlib import Path
from typing import Any

LENGTH = struct.Struct("!I")
_PACKAGE = "reading"
_READERS = {"pdf": "_extract_pdf", "email": "_extract_mail", "image": "_extract_image"}


def limit_memory(size: int) -> None:
    """Let this process have `size` bytes of its own. macOS takes these limits and does not enforce them."""
    for kind, amount in ((resource.RLIMIT_DATA, size), (resource.RLIMIT_AS, 4 * size), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (amount, amount))


def limit_cpu(seconds: int) -> None:
    """Let this process have `seconds` more of CPU time; then the kernel ends it."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + seconds + 1
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def end_with(connection: socket.socket) -> None:
    """End this process when the other side hangs up, also while a document is being parsed."""

    def watch() -> None:
        poll = select.poll()
        poll.register(connection.fileno(), 0)  # POLLHUP alone: a waiting request must not wake it
        poll.poll()
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()


def receive(connection: socket.socket) -> bytes:
    (size,) = LENGTH.unpack(_exactly(connection, LENGTH.size))
    return _exactly(connection, size)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(2**20, size - len(data)))
        if not part:
            sys.exit(0)
        data += part
    return bytes(data)


def sibling(name: str) -> Any:
    """A module beside this file, whatever its package is called where this process was started."""
    if _PACKAGE not in sys.modules:
        package = types.ModuleType(_PACKAGE)
        package.__path__ = [str(Path(__file__).parent)]
        sys.modules[_PACKAGE] = package
    return importlib.import_module(f"{_PACKAGE}.{name}")


async def extract(data: bytes, kind: str, limits: dict[str, Any]) -> dict[str, Any]:
    """What was found in a document, or `{"error"}` with the cause."""
    found = sibling("_extract_found")
    reader = sibling(_READERS.get(kind, "_extract_xberg"))
    try:
        answer: dict[str, Any] = (await reader.read(data, kind, found.Limits(**limits))).packed()
    except found.Refused as error:
        return {"error": str(error)}
    return answer


def main() -> None:
    import msgpack

    limit_memory(int(sys.argv[1]))
    connection = socket.socket(fileno=os.dup(0))
    end_with(connection)
    while True:
        request = msgpack.unpackb(receive(connection))
        limit_cpu(request.pop("cpu_seconds"))
        try:
            answer = asyncio.run(extract(request.pop("data"), request.pop("kind"), request))
        except MemoryError:
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - the sentence goes to the owner of the document
            answer = {"error": str(error)}
        body = msgpack.packb(answer, unicode_errors="replace")
        connection.sendall(LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    main()
