"""The listen stream: what is recorded, what is broken, and what happens in between."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import hypothesis
import pytest
from hypothesis import strategies as st

from runtime.errors import ObjectMissing
from tests import listen_server
from tests.listen_server import FIXTURES, ListenServer, live, recorded, refuses, says, slow_headers, timed
from triggers.sources import listen_stream
from triggers.sources.base import Broken, Hint
from triggers.sources.minio_listen import MinioListen
from triggers.sources.registry import Sources


class Desk:
    """Keeps what a source says; over as soon as `enough`."""

    def __init__(self, enough: Callable[[Desk], bool] = lambda desk: False) -> None:
        self.bodies: list[bytes] = []
        self.starts = self.asks = 0
        self._enough = enough

    def over(self) -> bool:
        return self._enough(self)

    def begun(self) -> None:
        self.starts += 1

    def put(self, bodies: Sequence[bytes]) -> None:
        self.bodies += bodies

    def ask(self) -> None:
        self.asks += 1

    def wait(self, seconds: float) -> None:
        pass


def hints(bodies: Sequence[bytes]) -> list[Hint]:
    sources = Sources()
    found = [hint for body in bodies for hint in sources.parse("minio_listen", body)]
    assert not sources.unusable
    return found


def webhook_keys(bucket: str) -> list[str]:
    """The keys of the same steps as the webhook told them."""
    found = []
    for line in (FIXTURES / "webhook.jsonl").read_text().splitlines():
        body = json.loads(json.loads(line)["body"])
        if "ObjectAccessed" not in body["EventName"] and body["Key"].startswith(f"{bucket}/"):
            found.append(body["Key"].removeprefix(f"{bucket}/"))
    return found


def listen(server: ListenServer, desk: Desk) -> None:
    MinioListen(server.settings, "documents").run(desk)


@pytest.mark.parametrize(
    ("name", "bucket"),
    [("listen.bin", "documents"), ("listen_ping.bin", "documents"), ("listen_versioned.bin", "versioned")],
)
@pytest.mark.parametrize("step", [1, 7, 4096, 10**9])
def test_recorded_bytes_become_the_hints_of_the_webhook_however_they_are_cut(name: str, bucket: str, step: int) -> None:
    data = (FIXTURES / name).read_bytes()

    class Response:
        parts = [data[start : start + step] for start in range(0, len(data), step)] + [b""]

        connection = None

        def read1(self, amount: int, decode_content: bool) -> bytes:
            return self.parts.pop(0)

    stream = listen_stream.ListenStream(Response(), "The store")
    bodies: list[bytes] = []
    with pytest.raises(Broken, match="ended the listen stream"):
        while True:
            bodies += stream.read()
    found = hints(bodies)
    told = list(dict.fromkeys(hint.key for hint in found))
    expected = webhook_keys(bucket)
    assert [key for key in told if key in expected] == list(dict.fromkeys(expected))
    # The other reading of a key that could be escaped; the store does not know it, and nothing comes of it.
    assert {hint.key for hint in found} - set(expected) <= {"plus sign.txt", "a b c.txt", "percent literal.txt"}
    assert {hint.bucket for hint in found} == {bucket}


def test_the_recording_with_its_timing_over_a_real_connection() -> None:
    parts = timed("listen_timed.jsonl")
    with ListenServer(recorded(parts, speed=20.0)).running() as server:
        desk = Desk()
        with pytest.raises(Broken, match="ended the listen stream"):
            listen(server, desk)
    assert [hint.key for hint in hints(desk.bodies) if hint.key in webhook_keys("documents")] == webhook_keys(
        "documents"
    )
    assert desk.starts == 1 and server.signed == [True]
    assert server.calls[0].query == {
        "events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
        "prefix": [""],
        "suffix": [""],
        "ping": ["1"],
    }


def test_what_a_server_kept_back_is_read_when_it_comes_at_last() -> None:
    """Recorded from a build that never flushes: pieces of 4 KiB, cut anywhere."""
    parts = timed("listen_unflushed_timed.jsonl")
    assert any(not data.endswith(b"\n") for _, data in parts)
    with ListenServer(recorded([(0.0, data) for _, data in parts])).running() as server:
        desk = Desk()
        with pytest.raises(Broken, match="ended the listen stream"):
            listen(server, desk)
    found = [hint.key.rpartition("/")[2] for hint in hints(desk.bodies)]
    assert found == [f"{number} ä.txt" for number in range(35)], "and the last one never came whole"


@pytest.mark.parametrize("escape", [False, True])
@pytest.mark.parametrize("ping", [b'{"Records":null}', b'{"Records":[]}', b" "])
def test_keys_arrive_escaped_or_not_and_keep_alives_are_nothing(escape: bool, ping: bytes) -> None:
    names = ["a+b c.txt", "percent%20literal.txt", "日本語/ファイル.txt", "plain.txt", "new\nline.txt"]
    with ListenServer(live(escape=escape, ping=ping, every=0.01)).running() as server:

        def enough(desk: Desk) -> bool:
            if len(server.listening) and not desk.bodies and not sent:
                sent.extend(names)
                for name in names:
                    server.tell("documents", name)
            return len(desk.bodies) == len(names)

        sent: list[str] = []
        desk = Desk(enough)
        listen(server, desk)
    assert set(names) <= {hint.key for hint in hints(desk.bodies)}


def test_reading_an_object_wakes_nobody() -> None:
    line = listen_server.record("s3:ObjectAccessed:Get", "documents", "a.txt")
    assert hints([line]) == []


@pytest.mark.parametrize(
    ("behaviour", "starts", "lasting", "message"),
    [
        (listen_server.never_flushes, 0, False, "leaves the listen stream silent"),
        (slow_headers(1.0, live()), 0, False, "leaves the listen stream silent"),
        (listen_server.falls_silent, 1, False, "leaves the listen stream silent"),
        (refuses(), 0, True, "NotImplemented"),
        (refuses("AccessDenied", 403), 0, True, "s3:ListenBucketNotification"),
        (refuses("InternalError", 500), 0, False, "cannot be listened to"),
        (listen_server.lists, 0, True, "something else"),
        (says(b"<html>"), 0, True, "something else"),
        (says(b" ", b'{"Records":', b"x" * (listen_stream.LINE_BYTES + 1)), 1, False, "a line of more than"),
        (says(b" "), 1, False, "ended the listen stream"),
        (says(), 0, False, "ended the listen stream"),
        (listen_server.breaks_off, 1, False, "broke the listen stream off"),
    ],
)
def test_what_is_no_stream_is_broken_and_says_why(
    behaviour: listen_server.Behaviour, starts: int, lasting: bool, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen_stream, "SILENCE_SECONDS", 0.4)
    desk = Desk()
    with ListenServer(behaviour).running() as server, pytest.raises(Broken, match=message) as caught:
        listen(server, desk)
    assert (desk.starts, caught.value.lasting) == (starts, lasting)
    assert desk.bodies == []


def test_a_bucket_that_is_not_there_yet() -> None:
    with ListenServer(refuses("NoSuchBucket", 404)).running() as server, pytest.raises(ObjectMissing):
        listen(server, Desk())


@hypothesis.given(
    st.lists(st.sampled_from([b" ", b"\n", b"{", b"}", b'{"Records":null}\n', b"<", b"x", b"\r", b"\xff"]), max_size=30)
)
def test_no_bytes_upset_the_reader(parts: list[bytes]) -> None:
    class Response:
        connection = None

        def read1(self, amount: int, decode_content: bool) -> bytes:
            return parts.pop(0) if parts else b""

    stream = listen_stream.ListenStream(Response(), "The store")
    with pytest.raises(Broken):
        while True:
            assert all(line.startswith(b"{") and line.strip() == line for line in stream.read())


def test_a_stream_that_breaks_in_the_middle_has_given_all_complete_lines() -> None:
    whole, torn = listen_server.record("s3:ObjectCreated:Put", "documents", "a.txt"), b'{"Records":[{"eventN'
    desk = Desk()
    with ListenServer(says(b" ", whole + torn)).running() as server, pytest.raises(Broken):
        listen(server, desk)
    assert [hint.key for hint in hints(desk.bodies)] == ["a.txt"]


def test_a_flood_is_taken_in_large_pieces_and_none_is_lost_when_it_breaks() -> None:
    """Every line comes as a chunk of its own, and then the connection is gone."""
    pieces: list[int] = []

    class Counting(Desk):
        def put(self, bodies: Sequence[bytes]) -> None:
            pieces.append(len(bodies))
            super().put(bodies)

    lines = [listen_server.record("s3:ObjectCreated:Put", "documents", f"{number}.txt") for number in range(3000)]

    def floods(call: listen_server.Call) -> None:
        call.headers()
        for line in lines:
            call.write(line)

    desk = Counting()
    with ListenServer(floods).running() as server, pytest.raises(Broken):
        listen(server, desk)
    assert [body + b"\n" for body in desk.bodies] == lines
    assert max(pieces) <= listen_stream.AT_ONCE + 64 and len(pieces) < len(lines)


def test_a_server_that_is_not_there() -> None:
    with ListenServer(live()).running() as server:
        settings = server.settings
    with pytest.raises(Broken, match="cannot be reached"):
        MinioListen(settings, "documents").run(Desk())
