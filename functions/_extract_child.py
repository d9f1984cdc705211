"""Runs in a process of its own: reads hostile documents, so that a crash or a bomb hits nobody else.

Standard input is a socket. A request is four bytes of length and a msgpack map `{"data", "kind", "cpu_seconds"}`;
the answer has `{"text", "title", "warnings"}` or `{"error"}`. The process ends when the other side hangs up.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import select
import socket
import struct
import sys
import threading
from typing import Any

LENGTH = struct.Struct("!I")
MIME_TYPES = {
    "html": "text/html",
    "pdf": "application/pdf",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
}


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


def configuration(kind: str) -> Any:
    """How documents of one kind are read: no cache, no OCR, no threads, small limits."""
    import xberg

    return xberg.ExtractionConfig(
        use_cache=False,
        disable_ocr=True,
        max_archive_depth=0,
        # Its plain text of a DOCX holds the names of styles, and of a HTML page data: URLs of pictures.
        output_format="plain" if kind == "pdf" else "markdown",
        escape_markdown=False,
        html_options=xberg.ConversionOptions(extract_metadata=False, skip_images=True, strip_tags=["a"]),
        concurrency=xberg.ConcurrencyConfig(max_threads=1),
        security_limits=xberg.SecurityLimits(max_content_size=100 * 2**20, max_archive_size=200 * 2**20),
    )


async def extract(data: bytes, kind: str) -> dict[str, Any]:
    import xberg

    document = xberg.ExtractInput(kind="bytes", bytes=data, mime_type=MIME_TYPES[kind])
    result = await xberg.extract(document, configuration(kind))
    if result.errors or not result.results:
        return {"error": "; ".join(error.message for error in result.errors) or "nothing was found in it"}
    found = result.results[0]
    # Notes on pages without enough prose to judge are no damage.
    warnings = [warning.message for warning in found.processing_warnings if warning.source != "ocr"]
    return {"text": found.content, "title": found.metadata.title or "", "warnings": warnings[:5]}


def main() -> None:
    import msgpack

    limit_memory(int(sys.argv[1]))
    connection = socket.socket(fileno=os.dup(0))
    end_with(connection)
    while True:
        request = msgpack.unpackb(receive(connection))
        limit_cpu(request["cpu_seconds"])
        try:
            answer = asyncio.run(extract(request["data"], request["kind"]))
        except MemoryError:
            os._exit(1)
        except Exception as error:  # noqa: BLE001 - the sentence goes to the owner of the document
            answer = {"error": str(error)}
        body = msgpack.packb(answer)
        connection.sendall(LENGTH.pack(len(body)) + body)


if __name__ == "__main__":
    main()
