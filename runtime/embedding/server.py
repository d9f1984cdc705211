"""The embedder: one process per host that turns queries into vectors. `python -m runtime.embedding.server PATH`.

It listens at once and answers "warming" until the model is loaded, so that nobody waits for it in the dark. Where
functions.yaml names no index, the model is loaded when somebody asks for it: who never searches shall not pay for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from runtime.embedding import protocol
from runtime.embedding.listen import listening
from runtime.embedding.shelf import LoadableModels, Shelf
from runtime.errors import BadInput, ModelWarming, ServiceFailed

log = logging.getLogger("tundish.embedder")
OnState = Callable[[bool, str], None]


class Server:
    """Answers requests on a listening Unix socket. `on_state(ready, detail)` hears when the default model is loaded.

    `at_once`: load it now, not with the first request.
    """

    def __init__(
        self,
        models: LoadableModels,
        on_state: OnState,
        renew: Callable[[], object] = lambda: None,
        *,
        at_once: bool = True,
    ) -> None:
        self._on_state = on_state
        self._asked = asyncio.Event()
        if at_once:
            self._asked.set()
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._shelf = Shelf(models, self._executor, renew)

    async def serve(self, sock: socket.socket) -> None:
        """Serve until cancelled. Raises what loading the model raises."""
        server = await asyncio.start_unix_server(self._connected, sock=sock)
        try:
            async with server, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._load())
                await server.serve_forever()
        finally:
            self._shelf.close()
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def _load(self) -> None:
        if not self._asked.is_set():
            self._on_state(True, "no model is loaded: nobody has searched yet")
            await self._asked.wait()
        self._on_state(False, "loading the model")
        batcher = await self._shelf.load("")
        self._on_state(True, batcher.name)

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
        self._asked.set()
        try:
            if message.get("op") == "load":
                answer = {"model": (await self._shelf.load(_model(message))).name}
            else:
                texts = _texts(message)
                batcher = self._shelf.ready(_model(message))
                vectors = await batcher.embed(texts)
                answer = {"vectors": vectors.tobytes(), "shape": list(vectors.shape), "model": batcher.name}
        except ModelWarming as error:
            answer = {"error": str(error), "warming": True}
        except (BadInput, ServiceFailed) as error:
            answer = {"error": str(error), "warming": False, "missing": True}
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


def _model(message: dict[str, Any]) -> str:
    """Which model is asked; empty for the default one. Raises ValueError."""
    model = message.get("model", "")
    if not isinstance(model, str):
        raise ValueError("'model' must be a string.")
    return model


def _texts(message: dict[str, Any]) -> list[str]:
    """The texts of a request. Raises ValueError with a sentence for the caller."""
    if message.get("op") != "embed":
        raise ValueError(f"Unknown operation {message.get('op')!r}; the embedder knows 'embed' and 'load'.")
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


async def run(
    path: Path,
    models: LoadableModels,
    on_state: OnState,
    renew: Callable[[], object] = lambda: None,
    *,
    at_once: bool = True,
) -> None:
    """Serve on `path` until SIGTERM or SIGINT. `renew`: see Shelf, `at_once`: see Server."""
    with listening(path) as sock:
        serving = asyncio.create_task(Server(models, on_state, renew, at_once=at_once).serve(sock))
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, serving.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            try:
                await serving
            except BaseExceptionGroup as group:  # the first failure ends the others
                raise group.exceptions[0] from group


def main(arguments: list[str], environ: Mapping[str, str]) -> int:
    """Run the embedder. The exit code is 0 after a signal, 1 where it could not start, 2 for wrong usage."""
    from runtime.embedding import behind, project
    from runtime.host import leash
    from runtime.telemetry import logs

    leash.hold(environ)
    logs.setup_early("embedder", environ)
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m runtime.embedding.server SOCKET_PATH\n")
        return 2
    try:
        with project.presence(environ) as on_state:
            models = project.models(environ)
            told = behind.told(models, on_state)
            renew = lambda: models.take_over(project.models(environ))  # noqa: E731
            asyncio.run(run(Path(arguments[0]), models, told, renew, at_once=project.searched(environ)))
    except ServiceFailed as error:
        log.error("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
