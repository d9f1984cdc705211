"""The embedder: one process per host that turns queries into vectors. `python -m runtime.embedding.server PATH`.

It listens at once and answers "warming" until the model is loaded, so that nobody waits for it in the dark.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from runtime.context import Models
from runtime.embedding import protocol
from runtime.embedding.batcher import Batcher
from runtime.embedding.listen import listening
from runtime.errors import ConfigError, ModelWarming, ServiceFailed

log = logging.getLogger("tundish.embedder")


class LoadableModels(Models, Protocol):
    def load(self) -> None: ...


class Server:
    """Answers requests on a listening Unix socket. `on_state(ready, detail)` hears when the model is loaded."""

    def __init__(self, models: LoadableModels, on_state: Callable[[bool, str], None]) -> None:
        self._models, self._on_state = models, on_state
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._batcher = Batcher(models, self._executor)
        self._warm = False

    async def serve(self, sock: socket.socket) -> None:
        """Serve until cancelled. Raises what loading the model raises."""
        server = await asyncio.start_unix_server(self._connected, sock=sock)
        try:
            async with server, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._batcher.run())
                tasks.create_task(self._load())
        finally:
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        self._on_state(False, "loading the model")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._models.load)
        await self._batcher.embed(["The first pass is slow."])
        self._warm = True
        self._on_state(True, self._models.name)
        log.info("ready: %s", self._models.name)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client: requests run side by side, answers carry the id of their request."""
        running: set[asyncio.Task[None]] = set()
        try:
            while True:
                message = await protocol.read(reader, protocol.REQUEST_LIMIT)
                task = asyncio.create_task(self._answer(message, writer))
                running.add(task)
                task.add_done_callback(running.discard)
        except (protocol.FrameTooLarge, protocol.BadFrame) as error:
            # What follows such a frame cannot be understood: say why, then hang up.
            with contextlib.suppress(ConnectionError):
                await _send(writer, {"id": None, "error": f"The request was refused: {error}.", "warming": False})
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # the client or this server is leaving; asyncio would log a cancelled handler as an error
        finally:
            for task in running:
                task.cancel()
            writer.close()

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any]
        try:
            texts = _texts(message)
            if not self._warm:
                raise ModelWarming
            vectors = await self._batcher.embed(texts)
            answer = {"vectors": vectors.tobytes(), "shape": list(vectors.shape), "model": self._models.name}
        except ModelWarming as error:
            answer = {"error": str(error), "warming": True}
        except ValueError as error:
            answer = {"error": str(error), "warming": False}
        except Exception:
            log.exception("a request failed")
            answer = {"error": "The embedder failed on this request; its log says why.", "warming": False}
        with contextlib.suppress(ConnectionError):  # the client has gone
            await _send(writer, {"id": message.get("id"), **answer})


async def _send(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    writer.write(protocol.pack(message))
    await writer.drain()


def _texts(message: dict[str, Any]) -> list[str]:
    """The texts of a request. Raises ValueError with a sentence for the caller."""
    if message.get("op") != "embed":
        raise ValueError(f"Unknown operation {message.get('op')!r}; the embedder knows only 'embed'.")
    texts = message.get("texts")
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ValueError("'texts' must be a list of strings.")
    if len(texts) > protocol.MAX_TEXTS:
        raise ValueError(
            f"{len(texts)} texts in one request; at most {protocol.MAX_TEXTS} are taken. Send fewer at once."
        )
    if sum(map(len, texts)) > protocol.MAX_CHARACTERS:
        raise ValueError(f"The texts have over {protocol.MAX_CHARACTERS:,} characters together. Send fewer at once.")
    return texts


async def run(path: Path, models: LoadableModels, on_state: Callable[[bool, str], None]) -> None:
    """Serve on `path` until SIGTERM or SIGINT."""
    with listening(path) as sock:
        serving = asyncio.create_task(Server(models, on_state).serve(sock))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await serving
            except BaseExceptionGroup as group:  # the first failure ends the others
                raise group.exceptions[0] from group


@contextlib.contextmanager
def _presence(environ: Mapping[str, str]) -> Iterator[Callable[[bool, str], None]]:
    """Say on the broker that this process lives, where a broker is known."""
    from runtime.broker import connect
    from runtime.config_load import load_settings
    from runtime.presence import Presence

    try:
        url = load_settings(environ).broker_url
    except ConfigError as error:
        log.warning("functions.yaml has errors; this process needs only the broker's address from it: %s", error)
        url = environ.get("CELERY_BROKER_URL") or environ.get("REDIS_URL") or ""
    if not url:
        yield lambda ready, detail: None
        return
    with connect(url) as client:
        presence = Presence(client, "embedder", f"{socket.gethostname()}-{os.getpid()}").start()
        try:
            yield lambda ready, detail: presence.set(ready=ready, detail=detail)
        finally:
            presence.stop()


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the embedder. The exit code is 0 after a signal, 1 where it could not start, 2 for wrong usage."""
    from runtime import leash, logs
    from runtime.embedding.backend import SentenceTransformerModels

    leash.hold(environ)
    logs.setup("embedder", environ.get("CELERY_LOG_LEVEL", "INFO"))
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m runtime.embedding.server SOCKET_PATH\n")
        return 2
    try:
        with _presence(environ) as on_state:
            asyncio.run(run(Path(arguments[0]), SentenceTransformerModels(), on_state))
    except ServiceFailed as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
