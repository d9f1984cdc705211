"""What the starts of others take: plain Celery with a broker, raw Starlette, functions-framework."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from celery import Celery

from bench.channel import wait
from bench.start_process import Started, environment, free_port, started, until_answer
from runtime.host.free_ports import Ports
from runtime.system import services

FUNCTIONS = Path(sys.prefix, "peers", "functions-framework", "bin", "functions-framework")
"""Where `make bench-peers` puts it."""

_CELERY = """
from celery import Celery
app = Celery("peer", broker={url!r}, backend={url!r})
@app.task(name="peer.noop")
def noop():
    return None
"""
_STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route
async def noop(request):
    await request.json()
    return JSONResponse(None)
app = Starlette(routes=[Route("/", noop, methods=["POST"])])
"""
_FUNCTION = "def noop(request):\n    request.get_json()\n    return 'null'\n"


def celery() -> Started:
    """From the start of a broker until a worker has answered `delay().get()`."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        broker, url = services.valkey(home, Ports(home), services.load_credentials(home))
        (home / "peer.py").write_text(_CELERY.format(url=url))
        words = ("-m", "celery", "-A", "peer", "worker", "-c", "2", "-l", "ERROR")
        with started(broker.argv, broker.environ) as server:
            wait(broker.ready)
            with started([sys.executable, *words], {**environment(), "PYTHONPATH": folder}) as worker:
                Celery("peer", broker=url, backend=url).send_task("peer.noop").get(timeout=60)
                both = server.so_far()
                return Started(both.seconds, both.cpu + worker.so_far().cpu)


def starlette() -> Started:
    """From the start of uvicorn until it has answered."""
    return _http(_STARLETTE, (sys.executable, "-m", "uvicorn", "app:app", "--log-level", "error"))


def functions() -> Started:
    """From the start of functions-framework until it has answered."""
    return _http(_FUNCTION, (str(FUNCTIONS), "--source", "app.py", "--target", "noop", "--host", "127.0.0.1"))


def _http(code: str, command: Sequence[str]) -> Started:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.py").write_text(code)
        port = str(free_port())
        with started([*command, "--port", port], environment(), folder=folder) as process:
            return until_answer(process, "POST", f"http://127.0.0.1:{port}/", 200)
