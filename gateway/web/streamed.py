"""An object of the store on its way to a client, read in threads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.state import Gateway

CHUNK = 256 * 2**10


async def chunks(gateway: Gateway, upstream: Any) -> AsyncIterator[bytes]:
    """The body of `MinioStore.stream`'s answer, which is closed at the end."""
    try:
        while data := await gateway.in_thread(lambda: upstream.read(CHUNK, decode_content=False)):
            yield data
    finally:
        upstream.close()
