"""Forms that would fill the gateway's memory: what goes to the store, and what is refused."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from gateway.app import create_app
from runtime.config.settings import StoreSettings
from runtime.file_document import file_of
from runtime.store.port import MinioStore
from tests.gatewaying import ORIGIN
from tests.valuing import FILE, connections
from tests.workers import deployment

KIB = 2**10


@contextlib.contextmanager
def gateway(broker_url: str, environ: dict[str, str]) -> Iterator[TestClient]:
    """Calls are accepted, and nobody runs them. `limits.body` is 1 MiB."""
    found = deployment(FILE, broker_url, environ)
    with TestClient(create_app(found.settings, found), ORIGIN, client=("127.0.0.1", 1)) as web:
        yield web


@pytest.fixture(scope="module")
def alone(client: redis.Redis, broker_url: str) -> Iterator[TestClient]:
    """A gateway without a store."""
    with gateway(broker_url, {}) as web:
        yield web


@pytest.fixture(scope="module")
def stored(client: redis.Redis, broker_url: str, store_settings: StoreSettings) -> Iterator[TestClient]:
    MinioStore(store_settings).ensure_bucket(store_settings.bucket)
    with gateway(broker_url, connections(store_settings)) as web:
        yield web


def texts(*given: tuple[str, str]) -> list[tuple[str, tuple[None, str]]]:
    """Parts of a form that have no file name."""
    return [(name, (None, text)) for name, text in given]


def files_of(web: TestClient, answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 202, answer.text
    task = web.get(f"/api/v1/tasks/task/{answer.json()['task_id']}?arguments=1").json()
    found: list[dict[str, Any]] = task["arguments"]["files"]
    return found


def test_texts_for_a_file_go_to_the_store_like_files(stored: TestClient) -> None:
    given = ["ä" * (10 * KIB), "b" * (20 * KIB), "c" * (5 * KIB)]
    answer = stored.post("/async-function/several", files=texts(*(("files", one) for one in given)))
    found = files_of(stored, answer)
    assert ["ref" in one for one in found] == [False, True, False]
    assert [(one["name"], one["content_type"], one["size"]) for one in found] == [
        (None, "text/plain", len(one.encode())) for one in given
    ]
    blobs = stored.app.state.gateway.blobs  # type: ignore[attr-defined]
    assert file_of(found[1], blobs).read().decode() == given[1]


@pytest.mark.parametrize("name", ["files", "optional", "tags"])
def test_the_texts_of_a_form_have_the_limit_of_a_body(stored: TestClient, name: str) -> None:
    function = "take" if name == "tags" else "several"
    most = texts(*((name, "x" * (512 * KIB)) for _ in range(3)))
    answer = stored.post(f"/async-function/{function}", files=most)
    assert answer.status_code == 413, answer.text
    assert "limits.body" in answer.json()["detail"]


@pytest.mark.parametrize("is_file", [True, False])
def test_without_a_store_all_files_together_have_the_limit_of_a_body(alone: TestClient, is_file: bool) -> None:
    def send(size: int) -> Any:
        parts: Any = [("files", ("a.txt", io.BytesIO(b"x" * size))) for _ in range(3)]
        return alone.post("/async-function/several", files=parts if is_file else texts(*[("files", "x" * size)] * 3))

    assert [one["size"] for one in files_of(alone, send(300 * KIB))] == [300 * KIB] * 3
    answer = send(400 * KIB)
    assert answer.status_code == 413, answer.text
    assert "limits.body" in answer.json()["detail"]


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "punycode", "unicode_escape", "idna", "nonsense"])
def test_a_form_is_utf_8(alone: TestClient, charset: str) -> None:
    form = b'--B\r\nContent-Disposition: form-data; name="files"\r\n\r\n+2AA- \\ud800\r\n--B--\r\n'
    kind = "multipart/form-data; boundary=B; charset="
    answer = alone.post("/async-function/several", content=form, headers={"Content-Type": kind + charset})
    assert (answer.status_code, "send UTF-8" in answer.json()["detail"]) == (415, True)
    answer = alone.post("/async-function/several", content=form, headers={"Content-Type": f"{kind}UTF-8"})
    assert answer.status_code == 202


@pytest.mark.parametrize("kind", ["foo", "a/b/c", "text/ü", "image/"])
def test_a_body_of_a_type_that_is_none_is_refused(alone: TestClient, kind: str) -> None:
    answer = alone.post("/async-function/reads", content=b"x", headers={b"Content-Type": kind.encode("latin-1")})
    assert answer.status_code == 400, answer.text
    assert "Content-Type cannot be read" in answer.json()["detail"]
