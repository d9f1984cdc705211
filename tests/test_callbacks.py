"""Answers that are posted to the URLs of callers, over real connections to a real server."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from runtime import keys
from runtime.attempts.attempt import claim, finish
from runtime.broker.connection import connect_async
from runtime.callbacks import posting as callbacks
from runtime.callbacks import state as callback_state
from runtime.callbacks.posting import Callbacks, pause_after
from runtime.config.limits import CallbackSpec
from runtime.config.settings import Settings, StoreSettings
from runtime.deployment.deployment import Deployment
from runtime.invocations.submit import Call, submit
from runtime.security.callback_sign import SECRET_FILE, kept_secret, key_of
from tests.gatewaying import deployment as made_deployment
from tests.gatewaying import settings
from tests.receiving import Post, receiving
from tests.workers import environment, kill, until

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    found = settings(broker_url, StoreSettings(), tmp_path)
    allowed = CallbackSpec(allow=("127.0.0.0/8", "::1"), timeout=5)
    return found.model_copy(update={"project": found.project.model_copy(update={"callbacks": allowed})})


@pytest.fixture
def deployed(made: Settings) -> Deployment:
    return made_deployment(made)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "PAUSES", (0.01,) * 30)
    monkeypatch.setattr(callbacks, "IDLE_SECONDS", 0.02)


def call(
    client: redis.Redis,
    deployed: Deployment,
    url: str,
    fields: Mapping[str, str] | None = None,
    state: str = "succeeded",
) -> str:
    """An invocation that has ended and whose caller wants to be told at `url`."""
    task_id = submit(client, deployed, Call("add", {"a": 1}, callback=url, trace=TRACE))
    end(client, deployed, task_id, fields or {"result": '{"sum": 2.50}'}, state)
    return task_id


def end(client: redis.Redis, deployed: Deployment, task_id: str, fields: Mapping[str, str], state: str) -> None:
    attempt = claim(client, task_id, "hand")
    assert not isinstance(attempt, str)
    assert finish(client, deployed.functions["add"].spec, attempt, state, fields)


@contextlib.contextmanager
def sending(client: redis.Redis, deployed: Deployment) -> Iterator[Callbacks]:
    """The sender, as the beat process runs it."""
    stop, sender = threading.Event(), Callbacks(client, deployed)
    thread = threading.Thread(target=sender.run, args=(stop,))
    thread.start()
    try:
        yield sender
    finally:
        stop.set()
        thread.join()
        assert sender.wait(30)


def told(deployed: Deployment, task_id: str) -> dict[str, Any]:
    """What the status says of the callback."""

    async def ask() -> dict[str, Any]:
        client = connect_async(deployed.settings.broker_url)
        try:
            return await callback_state.read_async(client, task_id)
        finally:
            await client.aclose()

    return asyncio.run(ask())


def reaches(deployed: Deployment, task_id: str, state: str) -> dict[str, Any]:
    return until(lambda: found if (found := told(deployed, task_id))["state"] == state else None)


def answers(*statuses: int) -> Callable[[Post], tuple[int, dict[str, str]]]:
    """One status after the other; the last one stays."""
    given = itertools.chain(statuses, itertools.repeat(statuses[-1]))
    return lambda _: (next(given), {"Location": "http://127.0.0.1:1/elsewhere"})


def check_signature(post: Post, key: bytes) -> None:
    """As docs/http.md tells receivers to."""
    signed = f"{post.headers['webhook-id']}.{post.headers['webhook-timestamp']}.".encode() + post.body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert hmac.compare_digest(expected, post.headers["webhook-signature"])


def test_the_answer_is_posted_and_signed(redis_client: redis.Redis, deployed: Deployment) -> None:
    with receiving() as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, receiver.url("/hook?for=me"))
        state = reaches(deployed, task_id, "delivered")
    assert (state["attempts"], state["error"], state["next"]) == (1, None, None)
    (post,) = receiver.posts
    assert post.path == "/hook?for=me"
    assert post.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert post.headers["content-type"] == "application/json"
    assert post.headers["traceparent"] == TRACE
    assert b'"result":{"sum": 2.50}' in post.body  # its own bytes
    body = json.loads(post.body)
    assert (body["task_id"], body["status"], body["state"], body["function"]) == (
        task_id,
        "SUCCESS",
        "succeeded",
        "add",
    )
    assert body["error"] is None and body["attempts"] == 1 and body["result"] == {"sum": 2.5}
    check_signature(post, key_of((deployed.settings.home / SECRET_FILE).read_text().strip()))
    assert redis_client.zcard(keys.CALLBACKS) == 0


def test_a_failure_is_told_without_its_traceback(redis_client: redis.Redis, deployed: Deployment) -> None:
    error = json.dumps({"type": "ValueError", "message": "no", "summary": "no", "traceback": "Traceback …"})
    with receiving() as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, receiver.url(), {"error": error}, "dead")
        reaches(deployed, task_id, "delivered")
    body = json.loads(receiver.posts[0].body)
    assert (body["status"], body["state"], body["result"]) == ("FAILURE", "dead", None)
    assert body["error"] == {"type": "ValueError", "message": "no"}


def test_a_success_tells_no_error_of_an_attempt_before(redis_client: redis.Redis, deployed: Deployment) -> None:
    error = json.dumps({"type": "ValueError", "message": "not yet", "summary": "not yet"})
    with receiving() as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, receiver.url(), {"result": "1", "error": error}, "succeeded")
        reaches(deployed, task_id, "delivered")
    body = json.loads(receiver.posts[0].body)
    assert (body["state"], body["result"], body["error"]) == ("succeeded", 1, None)


def test_a_result_in_the_store_is_named_not_posted(redis_client: redis.Redis, deployed: Deployment) -> None:
    with receiving() as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, receiver.url(), {"result_ref": "results/x"})
        reaches(deployed, task_id, "delivered")
    body = json.loads(receiver.posts[0].body)
    assert (body["result"], body["result_url"]) == (None, f"/api/v1/tasks/task/{task_id}/result")


@pytest.mark.parametrize("status", [500, 503, 404, 302])
def test_what_is_not_2xx_is_repeated_under_the_same_id(
    redis_client: redis.Redis, deployed: Deployment, status: int
) -> None:
    with receiving(answers(status, status, 204)) as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, receiver.url())
        state = reaches(deployed, task_id, "delivered")
    assert state["attempts"] == len(receiver.posts) == 3
    assert {post.path for post in receiver.posts} == {"/hook"}
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1
    for post in receiver.posts:
        check_signature(post, key_of(kept_secret(deployed.settings.home)))


def test_410_ends_it(redis_client: redis.Redis, deployed: Deployment, caplog: pytest.LogCaptureFixture) -> None:
    with receiving(answers(410)) as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, receiver.url())
        state = reaches(deployed, task_id, "refused")
    assert len(receiver.posts) == state["attempts"] == 1
    assert "answered 410" in state["error"] and task_id in caplog.text
    assert redis_client.zcard(keys.CALLBACKS) == 0


def test_after_the_last_attempt_it_is_given_up(
    redis_client: redis.Redis,
    deployed: Deployment,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "PAUSES", (0.01, 0.01))
    with receiving(answers(307)) as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, receiver.url())
        state = reaches(deployed, task_id, "given up")
    assert len(receiver.posts) == state["attempts"] == 3
    assert "redirects are not followed" in state["error"]
    assert f"{task_id}: its callback is given up after attempt 3" in caplog.text
    assert redis_client.zcard(keys.CALLBACKS) == 0


def test_a_server_that_is_away_gets_it_when_it_is_back(redis_client: redis.Redis, deployed: Deployment) -> None:
    with receiving() as gone:
        url = gone.url()
    task_id = call(redis_client, deployed, url)
    with sending(redis_client, deployed):
        until(lambda: told(deployed, task_id)["attempts"] > 0)
        assert "refused" in told(deployed, task_id)["error"].lower()
        with receiving(port=gone.port) as receiver:
            reaches(deployed, task_id, "delivered")
    assert len(receiver.posts) == 1


@contextlib.contextmanager
def speaking(*parts: bytes) -> Iterator[tuple[str, threading.Event]]:
    """A server that answers with these bytes, then goes on sending spaces until it is released."""
    released = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            for part in parts:
                connection.sendall(part)
            while not released.wait(0.05):
                connection.sendall(b" ")

    def listen() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(server.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/", released
        released.set()
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("parts", "word"),
    [
        ((b"HTTP/1.1 200",), "too long|timed out"),  # a head that drips
        ((b"SSH-2.0-OpenSSH_9\r\n\r\n",), "not HTTP"),
        ((b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,), "does not end"),
    ],
)
def test_a_server_that_sends_nonsense_or_never_ends_is_left(
    redis_client: redis.Redis, made: Settings, parts: tuple[bytes, ...], word: str
) -> None:
    spec = CallbackSpec(allow=("127.0.0.1",), timeout=0.3)
    project = made.project.model_copy(update={"callbacks": spec})
    deployed = made_deployment(made.model_copy(update={"project": project}))
    with speaking(*parts) as (url, _), sending(redis_client, deployed):
        task_id = call(redis_client, deployed, url)
        error = until(lambda: told(deployed, task_id)["error"])
    assert any(one in error for one in word.split("|")), error


def test_provisional_answers_and_endless_bodies_do_not_matter(redis_client: redis.Redis, deployed: Deployment) -> None:
    head = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n"
    with speaking(head, b"x" * 300_000) as (url, _), sending(redis_client, deployed):
        reaches(deployed, call(redis_client, deployed, url), "delivered")


@pytest.mark.parametrize("look", [500, 5])  # 5: those for the slow one fill what is looked at
def test_a_slow_receiver_does_not_hold_up_the_others(
    redis_client: redis.Redis, deployed: Deployment, look: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callbacks, "_LOOK", look)
    released = threading.Event()

    def slow(_: Post) -> tuple[int, dict[str, str]]:
        released.wait(30)
        return 200, {}

    with receiving(slow) as late, receiving() as prompt, sending(redis_client, deployed):
        ids = [call(redis_client, deployed, late.url()) for _ in range(40)]
        until(lambda: len(late.posts) >= callbacks.EACH_HOST)
        quick_one = call(redis_client, deployed, prompt.url())
        reaches(deployed, quick_one, "delivered")
        assert len(late.posts) == callbacks.EACH_HOST
        released.set()
        for task_id in ids:
            reaches(deployed, task_id, "delivered")
    assert len(late.posts) == len(ids)


def test_two_senders_post_each_answer_once(redis_client: redis.Redis, deployed: Deployment) -> None:
    with receiving() as receiver, sending(redis_client, deployed), sending(redis_client, deployed):
        ids = [call(redis_client, deployed, receiver.url()) for _ in range(60)]
        until(lambda: redis_client.zcard(keys.CALLBACKS) == 0)
    assert Counter(json.loads(post.body)["task_id"] for post in receiver.posts) == Counter(ids)


def test_an_answer_that_another_sender_has_taken_over_is_not_posted(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its lease ran out while the name was resolved."""
    resolving, resolved, real = threading.Event(), threading.Event(), callbacks.resolve

    def slow(*arguments: Any) -> list[str]:
        if not resolving.is_set():
            resolving.set()
            resolved.wait(30)
        return real(*arguments)

    monkeypatch.setattr(callbacks, "resolve", slow)
    with receiving() as receiver:
        late = Callbacks(redis_client, deployed)
        task_id = call(redis_client, deployed, receiver.url())
        late.step()
        assert resolving.wait(30)
        redis_client.zadd(keys.CALLBACKS, {task_id: 0})
        with sending(redis_client, deployed):
            reaches(deployed, task_id, "delivered")
        resolved.set()
        assert late.wait(30)
    assert len(receiver.posts) == 1


def test_an_invocation_that_ends_again_is_posted_again(redis_client: redis.Redis, deployed: Deployment) -> None:
    with receiving() as receiver, sending(redis_client, deployed):
        error = json.dumps({"type": "ValueError", "message": "no", "summary": "no"})
        task_id = call(redis_client, deployed, receiver.url(), {"error": error}, "dead")
        reaches(deployed, task_id, "delivered")
        redis_client.hset(keys.invocation(task_id), "state", "queued")
        redis_client.hdel(keys.invocation(task_id), "ended")
        end(redis_client, deployed, task_id, {"result": "2"}, "succeeded")
        until(lambda: len(receiver.posts) == 2)
        until(lambda: redis_client.zcard(keys.CALLBACKS) == 0)
    assert [json.loads(post.body)["state"] for post in receiver.posts] == ["dead", "succeeded"]
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 2


def test_the_circuit_of_a_host_opens_and_a_probe_closes_it(redis_client: redis.Redis, deployed: Deployment) -> None:
    well = threading.Event()
    with receiving(lambda _: (200 if well.is_set() else 503, {})) as receiver, sending(redis_client, deployed):
        ids = [call(redis_client, deployed, receiver.url()) for _ in range(3)]
        until(lambda: all(told(deployed, task_id)["waits"] == "circuit" for task_id in ids))
        tried = len(receiver.posts)
        assert 10 <= tried < 10 + callbacks.EACH_HOST  # one may have been under way beside the tenth
        assert sum(told(deployed, task_id)["attempts"] for task_id in ids) == tried
        late = call(redis_client, deployed, receiver.url())
        until(lambda: told(deployed, late)["waits"] == "circuit")
        assert told(deployed, late)["attempts"] == 0
        # The time is over, and it fails again: that is one attempt, and the circuit is open as before.
        name = keys.circuit(f"host:127.0.0.1:{receiver.port}")
        redis_client.hset(name, "open", 1)
        redis_client.zadd(keys.CALLBACKS, dict.fromkeys([*ids, late], 0))
        until(lambda: int(redis_client.hget(name, "open") or 0) > 1)
        assert len(receiver.posts) == tried + 1
        well.set()
        redis_client.hset(name, "open", 1)
        redis_client.zadd(keys.CALLBACKS, dict.fromkeys([*ids, late], 0))
        for task_id in [*ids, late]:
            reaches(deployed, task_id, "delivered")
    assert not redis_client.exists(name)


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Names resolve to these addresses, one after the other; answers the names that were asked for."""
    real, asked, given = socket.getaddrinfo, list[str](), iter(addresses)

    def resolve(host: Any, *arguments: Any, **options: Any) -> Any:
        if str(host).endswith(".example"):
            asked.append(str(host))
            host = next(given)
        return real(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


def test_a_name_that_leads_to_a_private_address_gets_nothing(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving_to(monkeypatch, *["127.0.0.1"] * 100)
    spec = CallbackSpec(allow=("10.0.0.0/8",))
    strict = deployed.settings.project.model_copy(update={"callbacks": spec})
    with receiving() as receiver:
        settings = deployed.settings.model_copy(update={"project": strict})
        with sending(redis_client, Deployment(settings, deployed.functions)):
            task_id = call(redis_client, deployed, f"http://inner.example:{receiver.port}/")
            error = until(lambda: told(deployed, task_id)["error"])
    assert "127.0.0.1 (loopback)" in error and "callbacks.allow" in error
    assert not receiver.posts


def test_the_address_that_was_checked_is_the_one_that_is_called(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that resolves to something else the second time (DNS rebinding) is asked for once."""
    asked = resolving_to(monkeypatch, "127.0.0.2", *["127.0.0.1"] * 100)
    with receiving(host="127.0.0.2") as receiver, sending(redis_client, deployed):
        task_id = call(redis_client, deployed, f"http://rebound.example:{receiver.port}/")
        state = reaches(deployed, task_id, "delivered")
    assert state["attempts"] == 1 and asked == ["rebound.example"]
    assert receiver.posts[0].headers["host"] == f"rebound.example:{receiver.port}"


def test_a_sender_that_is_killed_between_claim_and_delivery(
    redis_client: redis.Redis, broker_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "functions.yaml"
    (tmp_path / "f.py").write_text("def add(a: int) -> int:\n    return a\n")
    file.write_text("version: 1\ncallbacks: {allow: 127.0.0.1}\nfunctions: {add: {handler: f.py:add}}\n")
    environ = environment(broker_url, {"TUNDISH_FILE": str(file), "TUNDISH_CALLBACK_SECRET": "a secret of mine"})

    def beat() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "triggers.beat"], env=environ, start_new_session=True)

    dead = threading.Event()

    def hold(_: Post) -> tuple[int, dict[str, str]]:
        dead.wait(60)
        return 200, {}

    deployed = made_deployment(settings(broker_url, StoreSettings(), tmp_path))
    with receiving(hold) as receiver:
        task_id = call(redis_client, deployed, receiver.url())
        first = beat()
        try:
            until(lambda: receiver.posts, 60)
        finally:
            kill(first)
        dead.set()
        assert told(deployed, task_id)["state"] == "pending"
        due: Any = redis_client.zscore(keys.CALLBACKS, task_id)
        assert due > 0
        redis_client.zadd(keys.CALLBACKS, {task_id: 0})  # the lease is over
        second = beat()
        try:
            until(lambda: told(deployed, task_id)["state"] == "delivered", 60)
            second.send_signal(signal.SIGTERM)
            assert second.wait(20) == 0
        finally:
            kill(second)
    assert len({post.headers["webhook-id"] for post in receiver.posts}) == 1
    assert len(receiver.posts) == 2
    for post in receiver.posts:
        check_signature(post, b"a secret of mine")


def test_the_secret_of_a_folder_is_made_once_and_private(tmp_path: Path) -> None:
    found = list[str]()
    threads = [threading.Thread(target=lambda: found.append(kept_secret(tmp_path / "home"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8 and len(set(found)) == 1
    assert os.listdir(tmp_path / "home") == [SECRET_FILE]  # noqa: PTH208
    assert (tmp_path / "home" / SECRET_FILE).stat().st_mode & 0o777 == 0o600
    assert len(key_of(found[0])) == 32


def test_the_pauses_grow_to_about_an_hour_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    class Even:
        def uniform(self, *_: float) -> float:
            return 0.0

    pauses = [pause_after(attempt, Even()) for attempt in range(1, 12)]  # type: ignore[arg-type]
    given = [pause for pause in pauses if pause is not None]
    assert pauses[-1] is None and given == sorted(given)
    assert 45 * 60 <= sum(given) * (1 + callbacks.JITTER) < 60 * 60


def test_tls_is_checked_for_the_name_that_was_called(
    redis_client: redis.Redis, deployed: Deployment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import ssl

    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout {key} -out {certificate}"
    named = ["-subj", "/CN=good.example", "-addext", "subjectAltName=DNS:good.example"]
    subprocess.run(["openssl", *words.split(), *named], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    resolving_to(monkeypatch, *["127.0.0.1"] * 1000)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    with receiving(tls=context) as receiver, sending(redis_client, deployed):
        good = call(redis_client, deployed, f"https://good.example:{receiver.port}/")
        reaches(deployed, good, "delivered")
        bad = call(redis_client, deployed, f"https://bad.example:{receiver.port}/")
        error = until(lambda: told(deployed, bad)["error"])
    assert "bad.example" in error and "ertificate" in error
    assert len(receiver.posts) == 1
