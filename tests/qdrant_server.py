"""The REST interface of Qdrant, as far as Tundish uses it, over qdrant-client's own local mode, or another client.

Local mode is one process's, and this lets a worker and a gateway share it. It is no server: it scans every vector,
keeps all in memory and has one lock. What it answers is local mode's, which those who made it check against the server.
tests/qdrant_edge.py is a client over Qdrant's own engine.
`python -m tests.qdrant_server PORT [KEY]` serves until it is stopped.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_jsonable_python
from qdrant_client import QdrantClient, models


class Trouble:
    """What goes wrong on purpose. `hook` sees every request (method, path) before it is done, and may raise Cut or
    Status; `after` likewise, when it is done and not answered; `reading` (method, path, bytes of its body) when half of
    its body has come. `part` says how many of the points of an upsert are written before the connection is cut; None is
    all of them, and no cut."""

    def __init__(self) -> None:
        self.reading: Callable[[str, str, int], None] = lambda method, path, length: None
        self.part: Callable[[Sequence[Any]], int | None] = lambda points: None
        self.hook: Callable[[str, str], None] = lambda method, path: None
        self.after: Callable[[str, str], None] = lambda method, path: None


class Cut(Exception):
    """Close the connection without an answer."""


class Status(Exception):
    """Answer with this status."""

    def __init__(self, status: int, retry_after: str = "") -> None:
        super().__init__(status)
        self.status, self.retry_after = status, retry_after


class Served:
    """A running one. `seen` are the requests; `made` the bodies of those that make a collection or an index of it;
    `client` looks at the same points."""

    def __init__(self, port: int = 0, key: str = "", client: Any = None) -> None:
        self.key, self.trouble = key, Trouble()
        self.client: Any = client or QdrantClient(":memory:")
        self.version = version("qdrant-client")
        self.seen: list[str] = []
        self.made: list[dict[str, Any]] = []
        self.stuck = threading.Event()
        """For a hook that lets a request wait."""
        self._lock = threading.Lock()
        served = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                served.answer(self)

            do_GET = do_PUT = do_POST = do_DELETE = do  # noqa: N815 - so the base class calls them

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name in the base class
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = urlsplit(request.path).path
        length = int(request.headers.get("Content-Length") or 0)
        self.seen.append(f"{request.command} {path}")
        try:
            raw = request.rfile.read(length // 2)
            self.trouble.reading(request.command, path, length)
            raw += request.rfile.read(length - len(raw))
            if self.key and request.headers.get("api-key") != self.key:
                raise Status(403)
            self.trouble.hook(request.command, path)
            if path == "/":
                self._send(request, 200, {"title": "local mode", "version": self.version})
                return
            body = json.loads(raw) if raw else {}
            with self._lock, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = self._do(request.command, [unquote(part) for part in path.strip("/").split("/")], body)
            self.trouble.after(request.command, path)
        except Cut:
            request.close_connection = True
            return
        except Status as error:
            self._send(request, error.status, {"status": {"error": "on purpose"}}, error.retry_after)
            return
        except ValueError as error:
            status = 404 if "not found" in str(error) else 400
            self._send(request, status, {"status": {"error": str(error)}})
            return
        self._send(request, 200, {"result": to_jsonable_python(result), "status": "ok", "time": 0.0})

    def _send(self, request: BaseHTTPRequestHandler, status: int, told: Any, retry_after: str = "") -> None:
        data = json.dumps(told).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(data)))
        if retry_after:
            request.send_header("Retry-After", retry_after)
        request.end_headers()
        request.wfile.write(data)

    def _do(self, method: str, parts: list[str], body: dict[str, Any]) -> Any:
        client = self.client
        match (method, *parts):
            case ("GET", "healthz" | "readyz"):
                return True
            case ("GET", "collections"):
                return client.get_collections()
            case ("GET", "aliases"):
                return client.get_aliases()
            case ("POST", "collections", "aliases"):
                asked = _of(models.ChangeAliasesOperation, body)
                return client.update_collection_aliases(change_aliases_operations=asked.actions)
            case (_, "collections", name, *rest):
                return self._collection(method, name, rest, body)
        raise Status(404)

    def _collection(  # noqa: PLR0911, PLR0912 - one line a route
        self, method: str, name: str, rest: list[str], body: dict[str, Any]
    ) -> Any:
        client = self.client
        match (method, *rest):
            case ("GET", "exists"):
                return {"exists": client.collection_exists(name)}
            case ("GET",):
                return _information(client.get_collection(name))
            case ("PUT",):
                made = _of(models.CreateCollection, body)
                self.made.append(body)
                return client.create_collection(
                    name,
                    vectors_config=made.vectors,
                    hnsw_config=made.hnsw_config,
                    quantization_config=made.quantization_config,
                    payload=made.payload,
                )
            case ("DELETE",):
                return client.delete_collection(name)
            case ("PUT", "index"):
                index = _of(models.CreateFieldIndex, body)
                self.made.append(body)
                client.create_payload_index(name, index.field_name, index.field_schema)
                return _DONE
            case ("PUT", "points"):
                put = _of(models.PointsList, body)
                some = self.trouble.part(put.points)
                if some != 0:
                    client.upsert(name, points=put.points[:some], update_filter=put.update_filter)
                if some is not None:
                    raise Cut
                return _DONE
            case ("POST", "points"):
                wanted = _of(models.PointRequest, body)
                return client.retrieve(
                    name, wanted.ids, with_payload=wanted.with_payload, with_vectors=wanted.with_vector or False
                )
            case ("POST", "points", "batch"):
                client.batch_update_points(name, _of(models.UpdateOperations, body).operations)
                return [_DONE]
            case ("POST", "points", "delete"):
                client.delete(name, points_selector=_of(models.FilterSelector, body))
                return _DONE
            case ("POST", "points", "count"):
                return client.count(name, _of(models.CountRequest, body).filter)
            case ("POST", "points", "scroll"):
                scroll = _of(models.ScrollRequest, body)
                records, following = client.scroll(
                    name,
                    scroll_filter=scroll.filter,
                    limit=scroll.limit or 10,
                    offset=scroll.offset,
                    with_payload=True if scroll.with_payload is None else scroll.with_payload,
                    with_vectors=scroll.with_vector or False,
                )
                return {"points": records, "next_page_offset": following}
            case ("POST", "points", "query"):
                return self._query(name, _of(models.QueryRequest, body))
            case ("POST", "points", "query", "batch"):
                return [self._query(name, one) for one in _of(models.QueryRequestBatch, body).searches]
            case ("POST", "points", "query", "groups"):
                asked = _of(models.QueryGroupsRequest, body)
                return client.query_points_groups(
                    name,
                    group_by=asked.group_by,
                    query=_vector(asked.query),
                    using=asked.using,
                    limit=asked.limit or 10,
                    group_size=asked.group_size or 3,
                    query_filter=asked.filter,
                    score_threshold=asked.score_threshold,
                    with_payload=asked.with_payload or False,
                    search_params=asked.params,
                )
        raise Status(404)

    def _query(self, name: str, asked: models.QueryRequest) -> Any:
        return self.client.query_points(
            name,
            query=_vector(asked.query),
            using=asked.using,
            limit=asked.limit or 10,
            query_filter=asked.filter,
            score_threshold=asked.score_threshold,
            with_payload=asked.with_payload or False,
            with_vectors=asked.with_vector or False,
            search_params=asked.params,
        )


_DONE = {"operation_id": 0, "status": "completed"}


def _of(kind: Any, body: dict[str, Any]) -> Any:
    """A body as the library's own model of it, which refuses what it does not know."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_validate(body)
    return TypeAdapter(kind).validate_python(body)


def _vector(query: Any) -> Any:
    return query.nearest if isinstance(query, models.NearestQuery) else query


def _information(found: models.CollectionInfo) -> Any:
    return json.loads(found.model_dump_json())


@contextmanager
def serve(port: int = 0, key: str = "", client: Any = None) -> Iterator[Served]:
    """A server in a thread of this process."""
    served = Served(port, key, client)
    thread = threading.Thread(target=served.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        served.server.shutdown()
        served.server.server_close()
        thread.join()


if __name__ == "__main__":
    with serve(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "") as running:
        print(running.url, flush=True)
        while True:
            time.sleep(3600)
