"""What functions take and return besides JSON: bytes, files, arrays, models; by HTTP and between functions."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import ANY

import numpy as np
import pytest
import redis
import urllib3
from starlette.datastructures import Headers

from gateway.calls.upload_fields import of_body, uploads, value_of
from gateway.web import accepts
from runtime.callbacks.answer import message
from runtime.cli.main import cli
from runtime.config.settings import StoreSettings
from runtime.context import File
from runtime.deployment.signature import Signature
from tests.streaming import Served
from tests.system import clean_environ
from tests.valuing import house, post
from tests.workers import ended, known, until, upkeep


@pytest.fixture(scope="module")
def web(broker_url: str, client: redis.Redis, store_settings: StoreSettings) -> Iterator[Served]:
    with house(broker_url, store_settings, "light") as found:
        yield found


@pytest.mark.parametrize(
    ("kind", "body", "content_type", "disposition"),
    [
        ("bytes", b"\x00\xff", "application/octet-stream", None),
        ("bytearray", b"ab", "application/octet-stream", None),
        ("path", b"<b>hello</b>", "text/html", "attachment; filename=\"page.html\"; filename*=UTF-8''page.html"),
        ("open", b"<b>hello</b>", "text/html", "attachment; filename=\"page.html\"; filename*=UTF-8''page.html"),
        ("text", b"<b>hello</b>", "text/html", "attachment; filename=\"page.html\"; filename*=UTF-8''page.html"),
        ("temporary", b"1,2", "text/csv", ANY),
        ("memory", b"memory", "application/octet-stream", None),
        (
            "file",
            b"\x89PNG",
            "image/png",
            "attachment; filename=\"F??e '1'.png\"; filename*=UTF-8''F%C3%BC%C3%9Fe%20%221%22.png",
        ),
        ("typed", b"a,b\n", "text/csv; charset=utf-8", None),
    ],
)
def test_files_are_answered_as_they_are(
    web: Served, kind: str, body: bytes, content_type: str, disposition: str | None
) -> None:
    answer = post(web, "/function/give", {"kind": kind})
    assert (answer.status, answer.data) == (200, body)
    assert answer.headers["content-type"] == content_type
    assert answer.headers.get("content-disposition") == disposition
    assert answer.headers["content-security-policy"].startswith("sandbox;")  # it is no page of this gateway
    again = web.get(f"/api/v1/tasks/task/{answer.headers['x-call-id']}/result")
    assert (again.data, again.headers["content-type"]) == (body, content_type)
    record = web.get(f"/api/v1/tasks/task/{answer.headers['x-call-id']}").json()
    assert record["result_type"] == content_type
    assert record["result"]["size"] == len(body)
    assert record["result"]["url"].endswith("/result")
    events = web.read(f"/api/v1/tasks/task/{answer.headers['x-call-id']}/events")
    assert events[-1].data["result_url"] == record["result"]["url"]


def test_models_and_other_values_are_json(web: Served) -> None:
    assert post(web, "/function/give", {"kind": "model"}).json() == {"id": 1, "places": [{"x": 1, "y": 2.5}]}
    assert post(web, "/function/give", {"kind": "dataclass"}).json() == {"x": 1.5, "y": 2}
    assert post(web, "/function/give", {"kind": "mixed"}).json() == {
        "when": "2026-03-01T00:00:00Z",
        "id": "00000000-0000-0000-0000-000000000001",
        "price": "1.10",
        "set": [1],
        "bytes": "__4=",
        "point": {"x": 0, "y": 0},
    }


@pytest.mark.parametrize(
    ("kind", "word"), [("missing", "gone"), ("folder", "is a folder"), ("closed", "closed already")]
)
def test_files_that_cannot_be_read_are_failures_of_the_function(web: Served, kind: str, word: str) -> None:
    answer = post(web, "/function/give", {"kind": kind})
    assert answer.status == 500
    assert word in answer.json()["detail"]


def test_arrays_are_json_or_npy(web: Served) -> None:
    assert post(web, "/function/array", {"rows": 1}).json() == [[None, 1.0, 2.0]]
    for kind in ("application/x-npy", "application/octet-stream"):
        answer = post(web, "/function/array", {"rows": 2}, headers={"Accept": kind})
        assert answer.headers["content-type"] == kind
        found = np.load(io.BytesIO(answer.data), allow_pickle=False)
        assert (found.dtype, found.shape) == (np.float32, (2, 3))
        assert np.isnan(found[0, 0])
    large = post(web, "/function/array", {"rows": 100_000}, headers={"Accept": "application/x-npy"})
    assert np.load(io.BytesIO(large.data)).shape == (100_000, 3)


def test_large_files_come_from_the_store(web: Served, client: redis.Redis) -> None:
    size = 4 * 2**20
    for kind in ("bytes", "file"):
        answer = post(web, "/function/big", {"size": size, "kind": kind})
        assert answer.data == b"0123456789abcdef" * (size // 16)
        assert int(answer.headers["content-length"]) == size
        record = known(client, answer.headers["x-call-id"])
        assert len(record.result_json or b"") < 500
        assert web.get(f"/api/v1/tasks/task/{record.id}").json()["result"]["size"] == size


def test_a_large_file_that_is_gone_is_410(web: Served, client: redis.Redis) -> None:
    answer = post(web, "/function/big", {"size": 2**20})
    store = web.gateway.store
    store.delete(store.bucket, f"results/{answer.headers['x-call-id']}")
    assert web.get(f"/api/v1/tasks/task/{answer.headers['x-call-id']}/result").status == 410


def test_a_callback_tells_of_a_file_and_where_it_is(web: Served, client: redis.Redis) -> None:
    record = known(client, post(web, "/function/give", {"kind": "typed"}).headers["x-call-id"])
    told = json.loads(message(record)[0])
    assert told["result"] == {"name": None, "content_type": "text/csv; charset=utf-8", "size": 4}
    assert web.get(told["result_url"]).data == b"a,b\n"


def test_an_idempotency_key_replays_a_file(web: Served) -> None:
    headers = {"Idempotency-Key": "a-file"}
    first, again = (post(web, "/function/give", {"kind": "file"}, headers=headers) for _ in range(2))
    assert (first.data, first.headers["content-type"]) == (again.data, again.headers["content-type"])
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("size", [10, 3 * 2**20])
def test_a_form_brings_files_and_texts(web: Served, client: redis.Redis, size: int) -> None:
    data = b"x" * size
    fields = [
        ("document", ("C:\\My Files\\Füße.pdf", data, "application/pdf")),
        ("title", "12"),
        ("tags", "a"),
        ("tags", "b"),
        ("pages", "3"),
    ]
    answer = post(web, "/function/take", fields=fields)
    assert answer.status == 200, answer.data
    assert answer.json() == {
        "name": "Füße.pdf",
        "content_type": "application/pdf",
        "size": size,
        "sha256": hashlib.sha256(data).hexdigest(),
        "title": "12",
        "tags": ["a", "b"],
        "pages": 3,
    }
    task_id = answer.headers["x-call-id"]
    arguments = web.get(f"/api/v1/tasks/task/{task_id}?arguments=1").json()["arguments"]
    assert arguments["pages"] == 3
    assert ("ref" in arguments["document"]) == (size > 2**20)
    again = post(web, f"/api/v1/tasks/task/{task_id}/retry").json()["task_id"]
    assert json.loads(ended(client, again).result_json or b"") == answer.json()


@pytest.mark.parametrize("size", [0, 10, 5 * 2**20])
def test_a_body_is_a_file_and_the_query_has_the_rest(web: Served, size: int) -> None:
    data = b"y" * size
    headers = {"Content-Type": "text/plain", "Content-Disposition": 'attachment; filename="a.txt"'}
    answer = post(web, "/function/take?title=T&pages=2&tags=one", data, headers=headers)
    assert answer.status == 200, answer.data
    found = answer.json()
    assert (found["size"], found["name"], found["pages"], found["tags"]) == (size, "a.txt", 2, ["one"])
    assert found["sha256"] == hashlib.sha256(data).hexdigest()
    answer = post(web, "/function/reads", iter([data[:5], data[5:]]), headers={"Content-Type": "image/png"})
    assert answer.json()["size"] == size


def test_json_brings_files_in_base64(web: Served) -> None:
    assert post(web, "/function/reads", {"data": "aGk="}).json()["size"] == 2
    document = {"data": "__4=", "name": "x.bin"}
    answer = post(web, "/function/take", {"document": document, "title": "t"})
    assert (answer.json()["size"], answer.json()["name"]) == (2, "x.bin")
    assert "not base64" in post(web, "/function/reads", {"data": "a!"}).json()["detail"]
    for forged in ({"ref": "indexes/default/latest.json"}, {"data": "", "ref": "results/x"}, {"name": "x"}, 5):
        answer = post(web, "/function/take", {"document": forged, "title": "t"})
        assert answer.status == 422, answer.data


def test_what_a_function_does_not_take_is_refused(web: Served) -> None:
    assert post(web, "/function/picture", b"x", headers={"Content-Type": "image/gif"}).data == b"x"
    refused = post(web, "/function/picture", b"x", headers={"Content-Type": "text/plain"})
    assert (refused.status, refused.headers["accept-post"]) == (415, "image/*, multipart/form-data")
    fields = {"image": ("a.txt", b"x", "text/plain")}
    assert "takes image/*" in post(web, "/function/picture", fields=fields).json()["detail"]
    assert post(web, "/function/several", b"x", headers={"Content-Type": "text/plain"}).status == 415
    assert post(web, "/function/count", fields={"to": "1"}).status == 415
    two = [("image", ("a.png", b"x", "image/png"))] * 2
    assert "takes one file" in post(web, "/function/picture", fields=two).json()["detail"]
    answer = post(web, "/function/take", fields=[("document", ("a", b"x", "a/b")), ("pages", "many"), ("titel", "t")])
    assert {error["field"] for error in answer.json()["errors"]} == {"title", "titel", "pages"}
    answer = post(web, "/function/take", fields=[("document", ("a", b"x", "a/b")), ("title", ("b", b"y", "a/b"))])
    assert "takes files as document" in answer.json()["detail"]
    broken = post(web, "/function/take", b"nonsense", headers={"Content-Type": "multipart/form-data; boundary=x"})
    assert broken.status in (400, 422)
    assert post(web, "/function/take", b"x", headers={"Content-Type": "multipart/form-data"}).status == 400


@pytest.mark.parametrize("chunked", [False, True])
def test_uploads_have_a_limit(web: Served, chunked: bool) -> None:
    data = b"x" * (25 * 2**20)
    headers = {"Content-Type": "application/pdf"}
    with_query = "/function/take?title=t"
    try:
        answer = post(web, with_query, iter([data[: 2**20]] * 25) if chunked else data, headers=headers)
    except urllib3.exceptions.ProtocolError:  # it was refused before all was sent
        return
    assert answer.status == 413
    assert "limits.upload" in answer.json()["detail"]


def test_several_files_of_one_name(web: Served) -> None:
    fields = [("files", ("a.txt", b"1")), ("files", ("b.txt", b"2" * 50_000)), ("optional", ("c.txt", b""))]
    assert post(web, "/function/several", fields=fields).json() == ["a.txt", "b.txt", "c.txt"]
    assert post(web, "/function/several", fields=fields[:1]).json() == ["a.txt", None]


def test_a_key_knows_files_by_their_content(web: Served) -> None:
    def send(data: bytes) -> urllib3.BaseHTTPResponse:
        fields = {"document": ("a.bin", data, "a/b"), "title": "t"}
        return post(web, "/function/take", fields=fields, headers={"Idempotency-Key": "an-upload"})

    first, again, other = send(b"x" * 100_000), send(b"x" * 100_000), send(b"y" * 100_000)
    assert (first.status, again.status, other.status) == (200, 200, 422)
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.parametrize("size", [160, 2**20])
def test_files_pass_between_functions(web: Served, client: redis.Redis, size: int) -> None:
    with upkeep(client, web.gateway.deployment):
        found = post(web, "/function/passes", {"size": size}).json()
    assert (found["taken"]["name"], found["taken"]["size"]) == ("big.bin", size)
    assert found["read"]["sha256"] == found["taken"]["sha256"]
    assert (found["made"]["name"], found["made"]["size"]) == ("new.txt", 3)


def test_gathered_calls_take_and_return_files(web: Served) -> None:
    answer = post(web, "/function/gathered", {"item": {"data": "aGk=", "name": "a.txt"}})
    assert (answer.status, answer.data, answer.headers["content-type"]) == (200, b"HI", "text/plain")


def test_who_follows_is_given_the_file(web: Served, client: redis.Redis) -> None:
    with upkeep(client, web.gateway.deployment):
        root = post(web, "/function/told", {}).headers["x-call-id"]

        def followers() -> list[str]:
            tasks = web.get(f"/api/v1/tasks?root={root}&function=heard&state=succeeded").json()["tasks"]
            return [task["task_id"] for task in tasks]

        (follower,) = until(followers)
    assert json.loads(known(client, follower).result_json or b"") == ["note.txt: for the next"]


def test_openapi_says_what_is_uploaded_and_answered(web: Served) -> None:
    paths = web.get("/openapi.json").json()["paths"]
    taken = paths["/function/picture"]["post"]
    assert set(taken["requestBody"]["content"]) == {"application/json", "multipart/form-data", "image/*"}
    assert set(taken["responses"]["200"]["content"]) == {"*/*"}
    assert set(paths["/function/several"]["post"]["requestBody"]["content"]) == {
        "application/json",
        "multipart/form-data",
    }
    streamed = paths["/function/count"]["post"]["responses"]["200"]["content"]
    assert set(streamed) == {"application/x-ndjson", "text/event-stream", "application/json"}
    assert web.get("/functions/count").json()["returns"]["x-stream"] is True


def test_a_file_is_what_it_was_made_of(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"{}")
    file = File(path)
    assert (file.name, file.content_type, file.size, file.read()) == ("a.json", "application/json", 2, b"{}")
    File(b"copied").save(tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"copied"
    assert File(b"", name="../../etc/passwd").name == "passwd"
    with pytest.raises(TypeError, match="found str"):
        File("text")  # type: ignore[arg-type]
    for kind in ("text/html\r\nSet-Cookie: x=1", "text/html\r\n\r\n;<script>", "text/html\n;a=b", "text/html;a=\n"):
        with pytest.raises(ValueError, match="no media type"):
            File(b"", content_type=kind)
    assert File(b"", content_type="text/html \t; charset=utf-8").content_type == "text/html \t; charset=utf-8"


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ("", "application/x-ndjson"),
        ("*/*", "application/x-ndjson"),
        ("application/*;q=0.1, text/*", "text/event-stream"),
        ("text/event-stream;q=0.5, application/json;q=0.4", "text/event-stream"),
        ("application/json, */*;q=0.5", "application/json"),
        ("application/ndjson", "application/x-ndjson"),
        ("application/x-ndjson;q=0, */*;q=0.1", "text/event-stream"),
        ("image/png", None),
        ("application/json;q=wrong", None),
    ],
)
def test_what_a_caller_likes_best(accept: str, found: str | None) -> None:
    headers = Headers({"accept": accept} if accept else {})
    assert accepts.chosen(headers, accepts.STREAMS) == found
    assert accepts.named(headers, accepts.ARRAYS) is None
    both = Headers({"accept": "application/octet-stream;q=0, application/x-npy"})
    assert accepts.named(both, accepts.ARRAYS) == "application/x-npy"


def test_which_parameters_take_uploads() -> None:
    def one(image: File, other: File | None = None, data: bytes = b"", *, size: int = 1) -> None: ...

    schema = Signature(one).schema()
    found = uploads(schema)
    assert list(found) == ["image", "other", "data"]
    body = of_body(found)
    assert body is not None
    assert body.name == "image"
    assert [value_of([text], {"type": "integer"}) for text in ("1", "x")] == [1, "x"]
    assert value_of(["[1, 2]"], {"type": "array", "items": {"type": "integer"}}) == [1, 2]
    assert value_of(["1", "2"], {"anyOf": [{"type": "array", "items": {"type": "integer"}}, {"type": "null"}]}) == [
        1,
        2,
    ]
    assert value_of(["true"], {"type": "boolean"}) is True
    assert value_of(["1"], {"type": ["string", "integer"]}) == "1"
    assert value_of(["null"], {"anyOf": [{"type": "string"}, {"type": "null"}]}) is None
    assert value_of(['{"a": 1}'], {"$ref": "#/$defs/A"}) == {"a": 1}
    assert value_of(["1"], None) == "1"


def command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "runtime.cli.main", *words]


@dataclass
class Done:
    """What a command left behind."""

    returncode: int
    stdout: bytes
    stderr: bytes


@pytest.fixture
def invoke(web: Served, capfdbinary: pytest.CaptureFixture[bytes]) -> Callable[..., Done]:
    """`tundish invoke` in this process: starting one for every call would take most of the time."""

    def run(*words: str) -> Done:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as ended_with:
            cli.main(["invoke", *words], prog_name="tundish", obj=clean_environ(TUNDISH_URL=web.url))
        return Done(int(ended_with.value.code or 0), *capfdbinary.readouterr())

    return run


def test_the_command_uploads_and_writes_files(invoke: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "Füße.png"
    path.write_bytes(b"x" * 100_000)
    done = invoke("take", "--form", f"document=@{path}", "--form", "title=a=b", "--form", "pages=2")
    told = json.loads(done.stdout)
    assert (told["name"], told["title"], told["pages"], told["size"]) == ("Füße.png", "a=b", 2, 100_000)
    done = invoke("picture", "--form", f"image=@{path}", "--form", "width=3", "-o", str(tmp_path / "small.png"))
    assert (done.returncode, done.stdout, (tmp_path / "small.png").read_bytes()) == (0, b"", b"xxx")
    assert b"small.png: 3B, image/png" in done.stderr
    (tmp_path / "out").mkdir()
    invoke("give", "-d", '{"kind": "path"}', "-o", str(tmp_path / "out"))
    assert (tmp_path / "out" / "page.html").read_bytes() == b"<b>hello</b>"
    assert invoke("give", "-d", '{"kind": "bytes"}').stdout == b"\x00\xff"
    invoke("array", "-d", '{"rows": 2}', "-o", str(tmp_path / "a.npy"))
    assert np.load(tmp_path / "a.npy").shape == (2, 3)
    told = json.loads(invoke("give", "-d", '{"kind": "typed"}', "--json").stdout)
    assert told["result"]["content_type"] == "text/csv"
    assert told["attempts"] == 1
    followed = invoke("give", "-d", '{"kind": "typed"}', "--follow")
    assert followed.stdout == b"a,b\n"
    for words in (("--form", "x"), ("--form", "x=@/nowhere"), ("-d", "{}", "--form", "x=1"), ("-o", "x", "--async")):
        assert invoke("take", *words).returncode == 2


def test_the_command_prints_items_as_they_come(web: Served, invoke: Callable[..., Done], tmp_path: Path) -> None:
    path = tmp_path / "go"
    Path(f"{path}.0").touch()
    words = command("invoke", "stepwise", "-d", json.dumps({"path": str(path), "steps": 2}))
    environ = clean_environ(TUNDISH_URL=web.url)
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b'"step 0"\n'
        Path(f"{path}.1").touch()
        assert process.stdout.read() == b'"step 1"\n'
    assert process.returncode == 0
    assert json.loads(invoke("count", "-d", '{"to": 2}', "--json").stdout)["result"] == [0, 1]
    followed = invoke("stepwise", "-d", json.dumps({"path": str(path), "steps": 2}), "--follow")
    assert (followed.stdout, followed.stderr) == (b'"step 0"\n"step 1"\n', b"step 0\nstep 1\n")
    broken = invoke("breaks", "-d", '{"after": 2}')
    assert (broken.returncode, broken.stdout) == (1, b"0\n1\n")
    assert b"it broke in the middle" in broken.stderr


def test_ctrl_c_stops_a_generator(web: Served, tmp_path: Path) -> None:
    path = tmp_path / "closed"
    words = command("invoke", "endless", "-d", json.dumps({"path": str(path)}))
    environ = clean_environ(TUNDISH_URL=web.url)
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (130, b"The call was stopped: nobody takes its items any more.\n")
    until(path.exists)
