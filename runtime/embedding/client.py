"""The client of the embedder process, for asyncio. It never imports the model."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtime.embedding import protocol
from runtime.errors import BadInput, IndexUnavailable, ModelWarming

if TYPE_CHECKING:
    from runtime.context import Vectors

CACHED_QUERIES = 512  # 384 float32 each: under 1 MB
LOAD_SECONDS = 120.0
"""How long a model may take to be loaded, while another one answers."""


class EmbedderClient:
    """Embeds texts over the Unix socket at `path`; one connection carries all requests side by side.

    A connection that breaks is opened again once per request; the embedder is supervised and comes back.
    """

    def __init__(self, path: Path, *, timeout: float = 10.0) -> None:
        self._path, self._timeout = path, timeout
        self._numbers = itertools.count(1)
        self._connecting = asyncio.Lock()
        self._connection: _Connection | None = None
        self._cache: OrderedDict[tuple[str, str], Vectors] = OrderedDict()

    async def embed(self, texts: Sequence[str], model: str = "") -> Vectors:
        """Unit vectors of `model` (empty: the default one), float32, shape (len(texts), dimensions).

        Raises ModelWarming while there is no answer to be had, BadInput for a request that is refused, and
        IndexUnavailable where the embedder does not have this model.
        """
        key = (model, texts[0]) if len(texts) == 1 else None
        if key is not None and key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        if sum(map(len, texts)) > protocol.MAX_CHARACTERS:
            raise BadInput(f"The texts have over {protocol.MAX_CHARACTERS:,} characters together. Send fewer at once.")
        vectors = _vectors(await self._ask({"op": "embed", "texts": list(texts), "model": model}, self._timeout))
        if key is not None:
            self._cache[key] = vectors
            if len(self._cache) > CACHED_QUERIES:
                self._cache.popitem(last=False)
        return vectors

    async def load(self, model: str) -> None:
        """Have the embedder load a model, and wait for it. Raises as `embed` does."""
        _checked(await self._ask({"op": "load", "model": model}, LOAD_SECONDS))

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _ask(self, message: dict[str, Any], timeout: float = 10.0) -> dict[str, Any]:
        try:
            async with asyncio.timeout(timeout):
                try:
                    return await self._send(message)
                except ConnectionError:  # it was restarted since the last request
                    return await self._send(message)
        except TimeoutError as error:
            raise ModelWarming(f"The embedder did not answer within {timeout:g} s. Try again.") from error
        except OSError as error:
            raise ModelWarming("The embedder is not running yet. Try again in a few seconds.") from error

    async def _send(self, message: dict[str, Any]) -> dict[str, Any]:
        async with self._connecting:
            if self._connection is None or self._connection.closed:
                reader, writer = await asyncio.open_unix_connection(str(self._path))
                self._connection = _Connection(reader, writer)
                self._cache.clear()  # another process, perhaps another model
            connection = self._connection
        return await connection.ask(next(self._numbers), message)


class _Connection:
    """One open connection and the requests that wait for their answers on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read(reader))

    @property
    def closed(self) -> bool:
        return self._reading.done()

    async def ask(self, number: int, message: dict[str, Any]) -> dict[str, Any]:
        """The answer to one request. Raises ConnectionError where the connection breaks first."""
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(protocol.pack({"id": number, **message}))
            await self._writer.drain()
            if self.closed and not future.done():
                raise ConnectionResetError("the embedder hung up")
            answer: dict[str, Any] = await future
            return answer
        finally:
            self._waiting.pop(number, None)

    async def close(self) -> None:
        self._reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reading

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                answer = await protocol.read(reader, protocol.ANSWER_LIMIT)
                number = answer.get("id")
                # An answer without an id closes the connection: it is for all that wait.
                for waiting in list(self._waiting) if number is None else [number]:
                    future = self._waiting.get(waiting)
                    if future is not None and not future.done():
                        future.set_result(answer)
        except (asyncio.IncompleteReadError, ConnectionError, protocol.FrameTooLarge, protocol.BadFrame):
            pass
        finally:
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionResetError("the embedder hung up"))
            self._writer.close()


def _checked(answer: dict[str, Any]) -> None:
    if "error" in answer:
        if answer.get("missing"):
            raise IndexUnavailable(f"Texts cannot be searched for. {answer['error']}")
        raise ModelWarming(answer["error"]) if answer.get("warming") else BadInput(answer["error"])


def _vectors(answer: dict[str, Any]) -> Vectors:
    import numpy as np

    _checked(answer)

    return np.frombuffer(answer["vectors"], np.float32).reshape(answer["shape"])
