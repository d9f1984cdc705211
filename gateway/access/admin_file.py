"""The administrator's key as a gateway knows it: a hash of what is in the file, which may be changed at any time."""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from pathlib import Path

from runtime.callers import admin_key

LOOK_SECONDS = 1.0
"""How often the file is looked at: a new key in it counts from then on."""

log = logging.getLogger("tundish.auth")


class AdminFile:
    """The key in the administrator's file, as a hash; looked at once a second, so that it can be changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._looked, self._version, self._digest = -LOOK_SECONDS, 0, b""

    def fits(self, credential: str) -> bool:
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            self._look()
        given = hashlib.sha256(credential.encode()).digest()
        return bool(self._digest) and hmac.compare_digest(given, self._digest)

    def _look(self) -> None:
        try:
            version = self._path.stat().st_mtime_ns
            if version == self._version:
                return
            self._digest = hashlib.sha256(admin_key.read(self._path).encode()).digest()
            self._version = version
        except (OSError, admin_key.AdminKeyUnusable) as error:  # a key that is taken away opens nothing
            if self._digest:
                log.warning("the administrator's key in %s is gone: %s", self._path, error)
            self._digest, self._version = b"", 0
