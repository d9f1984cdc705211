"""How the commands talk to a running system: its URL, its answers, and what went wrong in one sentence."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import urllib3

from runtime.errors import TundishError

_CONNECT_SECONDS = 5.0
_RESTART_SECONDS = 15.0
_START = "Start it with `tundish up`, or set TUNDISH_URL to where it runs."


class Unreachable(TundishError):
    """No running system could be found."""

    exit_code = 3


class Refused(TundishError):
    """The system answered with an error. 503: it cannot do it now, and asking again is right."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status, self.problem = status, problem
        self.exit_code = 3 if status == 503 else 1
        words = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        fields = [f"{entry.get('field')}: {entry.get('message')}" for entry in problem.get("errors") or ()]
        super().__init__("\n  ".join([words, *(field for field in fields if field not in words)]))


class Answer:
    """A response of the gateway, read whole."""

    def __init__(self, response: urllib3.BaseHTTPResponse) -> None:
        self.status, self.headers, self.data = response.status, response.headers, response.data

    def json(self) -> Any:
        return json.loads(self.data) if self.data else None


class Client:
    """Calls of one gateway."""

    def __init__(self, url: str, api_key: str = "", *, supervised: Callable[[], bool] = lambda: False) -> None:
        self.url, self._supervised = url.rstrip("/"), supervised
        # The command line is an administrator's: it may call functions that have no http trigger.
        self._headers = {"X-Tundish-Cli": "1"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._pool = urllib3.PoolManager(retries=False)

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = 30.0,
        fields: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request; `timeout` None waits as long as the answer takes. Raises Refused and Unreachable."""
        options = {"body": body, "fields": fields}
        return self._checked(Answer(self._send(method, path, headers or {}, timeout, **options)))

    @contextlib.contextmanager
    def stream(
        self, path: str, headers: Mapping[str, str], timeout: float | None, *, method: str = "GET", body: Any = None
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """An answer that is read as it comes; nothing for `timeout` seconds means that it broke. Raises as `call` does.

        `body` is bytes, or gives them when it is iterated.
        """
        response = self._send(method, path, headers, timeout, body=body, preload_content=False)
        try:
            if response.status >= 400:
                self._checked(Answer(response))
            yield response
        finally:
            response.close()

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], timeout: float | None, **options: Any
    ) -> urllib3.BaseHTTPResponse:
        until = time.monotonic() + _RESTART_SECONDS
        while self._supervised() and not self._listening() and time.monotonic() < until:
            time.sleep(0.2)  # the gateway is being started again
        limits = urllib3.Timeout(connect=_CONNECT_SECONDS, read=timeout)
        try:
            return self._pool.request(
                method, self.url + path, headers={**self._headers, **headers}, timeout=limits, **options
            )
        except urllib3.exceptions.ReadTimeoutError as error:
            raise Unreachable(f"Tundish at {self.url} took too long to answer {method} {path}.") from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Unreachable(f"Tundish does not answer at {self.url}. {_START}") from error

    @staticmethod
    def _checked(answer: Answer) -> Answer:
        if answer.status >= 400:
            raise Refused(answer.status, _problem(answer))
        return answer

    def _listening(self) -> bool:
        parts = urlsplit(self.url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 80), _CONNECT_SECONDS).close()
        except OSError:
            return False
        return True

    def get(self, path: str, **fields: str) -> Any:
        """The JSON of a GET."""
        return self.call("GET", path, fields=fields or None).json()

    def post(self, path: str, told: Mapping[str, Any]) -> Any:
        """The JSON that a POST of JSON is answered with."""
        headers = {"Content-Type": "application/json"}
        return self.call("POST", path, body=json.dumps(told).encode(), headers=headers, timeout=None).json()


def find(environ: Mapping[str, str]) -> Client:
    """The running system: TUNDISH_URL, else the one whose state folder is here. Raises Unreachable."""
    from runtime.callers.own_key import key_for
    from runtime.host.alive import alive
    from runtime.host.state_folder import places

    _, home = places(None, None, environ)
    if url := environ.get("TUNDISH_URL"):
        if not url.startswith(("http://", "https://")):
            raise Unreachable(f"TUNDISH_URL is {url!r}; write it like http://127.0.0.1:8000.")
        return Client(url, key_for(home, url, environ))
    try:
        run = json.loads((home / "run.json").read_text())
        url, pid = str(run["url"]), int(run["pid"])
        return Client(url, key_for(home, url, environ), supervised=lambda: alive(pid))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Unreachable(f"No running Tundish was found in {_shown(home)}. {_START}") from error


def object_path(kind: str, bucket: str, key: str) -> str:
    """`/buckets/B/KEY` or `/documents/B/KEY`, with every character of the key kept apart from the URL's own."""
    return f"/{kind}/{quote(bucket, safe='')}/{quote(key, safe='/')}"


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _problem(answer: Answer) -> Mapping[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    later = " Try again in a moment." if answer.status == 503 else ""
    return {"detail": f"The answer was HTTP {answer.status}.{later}"}
