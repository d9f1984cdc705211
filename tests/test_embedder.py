"""The embedder as a real process, asked through its real client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runtime.embedding import protocol
from runtime.embedding.client import EmbedderClient
from runtime.embedding.listen import listening
from runtime.embedding.server import run
from runtime.errors import BadInput, ModelWarming, ServiceFailed
from runtime.testing import FakeModels


class SlowModels(FakeModels):
    """Loads and embeds only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.may_load, self.may_embed = threading.Event(), threading.Event()
        self.calls: list[int] = []

    def load(self) -> None:
        self.may_load.wait(30)

    def embed(self, texts: Sequence[str]) -> Any:
        self.calls.append(len(texts))
        if len(self.calls) > 1:  # the first is the warm-up
            self.may_embed.wait(30)
        return super().embed(texts)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "e.sock"


@contextlib.contextmanager
def process(path: Path, environ: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-m", "runtime.embedding.server", str(path)], env=environ)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def environ(broker_url: str, home: Path) -> dict[str, str]:
    own = {"CELERY_BROKER_URL": broker_url, "TUNDISH_HOME": str(home), "TUNDISH_BACKEND": "torch-fp32"}
    return {**os.environ, **own, "HF_HUB_OFFLINE": "1"}


async def eventually(client: EmbedderClient, texts: list[str]) -> Any:
    deadline = time.monotonic() + 90
    while True:
        try:
            return await client.embed(texts)
        except ModelWarming:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)


def test_the_process_embeds_and_comes_back(path: Path, broker_url: str, tmp_path: Path, redis_client: Any) -> None:
    async def scenario() -> None:
        client = EmbedderClient(path)
        with pytest.raises(ModelWarming, match="not running"):
            await client.embed(["nobody is there"])
        with process(path, environ(broker_url, tmp_path)) as child:
            first = await eventually(client, ["bread and butter"])
            assert first.shape == (1, 384)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            several = await asyncio.gather(*(client.embed([f"number {n}", "bread and butter"]) for n in range(20)))
            assert all(float(pair[1] @ first[0]) > 0.9999 for pair in several)
            child.kill()
            child.wait()
        assert path.exists()  # a killed process cleans nothing up
        with process(path, environ(broker_url, tmp_path)) as child:
            assert float((await eventually(client, ["bread  and butter"]))[0] @ first[0]) > 0.9999
            child.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(child.wait, 30) == 0
        assert not path.exists()
        await client.close()

    asyncio.run(scenario())


def test_it_says_that_it_lives(path: Path, broker_url: str, tmp_path: Path, redis_client: Any) -> None:
    from runtime.broker.presence import read

    with process(path, environ(broker_url, tmp_path)):
        deadline = time.monotonic() + 90
        while not any(found.kind == "embedder" and found.ready for found in read(redis_client)):
            assert time.monotonic() < deadline
            time.sleep(0.05)


def with_server(
    path: Path, models: SlowModels, scenario: Callable[[EmbedderClient], Any], *, at_once: bool = True
) -> list[tuple[bool, str]]:
    """Run `scenario` against a server in this process; returns what the server said of itself."""
    states: list[tuple[bool, str]] = []

    async def both() -> None:
        server = asyncio.create_task(
            run(path, models, lambda ready, detail: states.append((ready, detail)), at_once=at_once)
        )
        while not path.exists():
            await asyncio.sleep(0.001)
        client = EmbedderClient(path, timeout=20)
        try:
            await scenario(client)
        finally:
            models.may_load.set()
            models.may_embed.set()
            await client.close()
            server.cancel()
            await asyncio.wait([server])

    asyncio.run(both())
    return states


def test_it_answers_while_the_model_is_loaded(path: Path) -> None:
    models = SlowModels()

    async def scenario(client: EmbedderClient) -> None:
        with pytest.raises(ModelWarming, match="still being loaded"):
            await client.embed(["x"])
        models.may_load.set()
        models.may_embed.set()
        assert (await eventually(client, ["x"])).shape == (1, 64)

    assert with_server(path, models, scenario) == [(False, "loading the model"), (True, "fake-words-64")]


def test_nothing_is_loaded_before_somebody_asks(path: Path) -> None:
    models = SlowModels()
    models.may_embed.set()
    loaded: list[bool] = []

    async def scenario(client: EmbedderClient) -> None:
        loaded.append(bool(models.calls))
        models.may_load.set()
        await client.load("")
        loaded.append(bool(models.calls))
        assert (await client.embed(["x"])).shape == (1, 64)

    nobody = (True, "no model is loaded: nobody has searched yet")
    told = with_server(path, models, scenario, at_once=False)
    assert told == [nobody, (False, "loading the model"), (True, "fake-words-64")]
    assert loaded == [False, True]


def test_what_arrives_meanwhile_goes_together(path: Path) -> None:
    models = SlowModels()
    models.may_load.set()

    async def scenario(client: EmbedderClient) -> None:
        models.may_embed.set()
        await eventually(client, ["warm"])
        models.may_embed.clear()
        models.calls[:] = [0]
        first = asyncio.create_task(client.embed(["first"]))
        while len(models.calls) < 2:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(client.embed([f"other {n}", "more"])) for n in range(10)]
        # The answer to a refused request shows that those sent before it have arrived.
        assert "Unknown operation" in (await client._ask({"op": "nonsense"}))["error"]
        models.may_embed.set()
        await first
        results = await asyncio.gather(*others)
        assert models.calls[1:] == [1, 20]
        expected = FakeModels().embed(["other 3", "more"])
        assert np.array_equal(results[3], expected)

    with_server(path, models, scenario)


def test_a_query_is_remembered(path: Path) -> None:
    models = SlowModels()
    models.may_load.set()
    models.may_embed.set()

    async def scenario(client: EmbedderClient) -> None:
        await eventually(client, ["same"])
        calls = len(models.calls)
        await client.embed(["same"])
        assert len(models.calls) == calls

    with_server(path, models, scenario)


def test_bad_requests_are_refused_and_nothing_else_stops(path: Path) -> None:
    models = SlowModels()
    models.may_load.set()
    models.may_embed.set()

    async def scenario(client: EmbedderClient) -> None:
        await eventually(client, ["warm"])
        with pytest.raises(BadInput, match=f"at most {protocol.MAX_TEXTS}"):
            await client.embed(["x"] * (protocol.MAX_TEXTS + 1))
        with pytest.raises(BadInput, match="characters"):
            await client.embed(["x" * 1_000_001])
        assert "list of strings" in (await client._ask({"op": "embed", "texts": [1]}))["error"]
        many = {"op": "embed", "texts": ["x" * 600_000] * 2}
        assert "characters" in (await client._ask(many))["error"]
        for garbage in (
            struct.pack("!I", protocol.REQUEST_LIMIT + 1),
            struct.pack("!I", 3) + b"\xc1\xc1\xc1",
            struct.pack("!I", 1) + b"\x01",
            b"GET / HTTP/1.1\r\n\r\n",
        ):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(garbage)
            answer = await protocol.read(reader, 10_000)
            assert "refused" in answer["error"]
            assert await reader.read() == b""
            writer.close()
        assert (await client.embed(["still here"])).shape == (1, 64)

    with_server(path, models, scenario)


def test_a_second_embedder_on_the_same_path_is_refused(path: Path, broker_url: str, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        done = subprocess.run(
            [sys.executable, "-m", "runtime.embedding.server", str(path)],
            env=environ(broker_url, tmp_path),
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1
    assert "Another embedder listens" in done.stderr


def test_of_two_that_begin_at_once_one_listens(path: Path) -> None:
    """Both find the socket of one that was killed; who comes second must not take away the first one's."""
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        both, told = threading.Barrier(4), list[str]()
        ended = threading.Barrier(4)

        def begin(both: threading.Barrier, ended: threading.Barrier, told: list[str]) -> None:
            both.wait()
            try:
                with listening(path) as sock, socket.socket(socket.AF_UNIX) as client:
                    ended.wait()
                    client.connect(str(path))
                    told.append("asked" if sock.accept() else "")
            except ServiceFailed:
                told.append("refused")
                ended.wait()

        threads = [threading.Thread(target=begin, args=(both, ended, told)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(told) == ["asked", "refused", "refused", "refused"]


def test_a_file_in_the_way_is_left_alone(path: Path, broker_url: str, tmp_path: Path) -> None:
    path.write_text("precious")
    done = subprocess.run(
        [sys.executable, "-m", "runtime.embedding.server", str(path)],
        env=environ(broker_url, tmp_path),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "not a socket" in done.stderr
    assert path.read_text() == "precious"
