"""A SeaweedFS that tells of every change by its webhook, as it does for a gateway, and that can rename."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from runtime import keys
from runtime.broker import connection as broker
from runtime.config.settings import StoreSettings
from runtime.host.free_ports import Ports
from runtime.system import services


@dataclass(frozen=True)
class TellingStore:
    settings: StoreSettings
    service: services.Service

    def move(self, source: str, target: str) -> None:
        """Rename BUCKET/KEY or BUCKET/FOLDER within the store, which no S3 call can do."""
        program, _, config, *rest = self.service.argv
        flags = dict(word.removeprefix("-").split("=", 1) for word in rest if "=" in word)
        places = [
            f"-{name}=127.0.0.1:{flags[f'{name}.port']}.{flags[f'{name}.port.grpc']}" for name in ("master", "filer")
        ]
        told = subprocess.run(
            [program, config, "shell", *places],
            input=f"fs.mv /buckets/{source} /buckets/{target}\n",
            text=True,
            capture_output=True,
            check=True,
            timeout=60,
        )
        assert f"=> /buckets/{target}" in told.stdout, told


@contextlib.contextmanager
def telling_store(home: Path, broker_url: str) -> Iterator[TellingStore]:
    """How to start such a store; its webhooks go into the stream of events, raw, until the block ends."""
    client = broker.connect(broker_url)

    class Ear(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            client.xadd(keys.EVENTS, {"source": "seaweedfs", "body": body, "at": int(time.time())})
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Ear) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        try:
            service, settings = services.seaweedfs(home, Ports(home), services.load_credentials(home), events_url=url)
            yield TellingStore(settings, service)
        finally:
            server.shutdown()
            thread.join()
            client.close()
