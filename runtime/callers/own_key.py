"""Which key commands send: the one that they are given, or the administrator's where the system is this host's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit


def key_for(home: Path, url: str, environ: Mapping[str, str]) -> str:
    """What is sent to the system at `url`: TUNDISH_API_KEY, else the administrator's key of this host's own system."""
    return environ.get("TUNDISH_API_KEY") or own_key(home, url, environ)


def own_key(home: Path, url: str, environ: Mapping[str, str]) -> str:
    """The administrator's key of the system that runs at `url` on this state folder, or on this machine where
    TUNDISH_ADMIN_KEY_FILE names one; "" where it needs none.

    It is sent nowhere else: another system might keep it.
    """
    from runtime.callers import admin_key

    local = (urlsplit(url).hostname or "") in ("127.0.0.1", "::1", "localhost")
    named = environ.get("TUNDISH_ADMIN_KEY_FILE") if local else None
    try:
        if not named:
            run = json.loads((home / "run.json").read_text())
            named = run["environ"]["TUNDISH_ADMIN_KEY_FILE"] if str(run["url"]) == url.rstrip("/") else None
        return admin_key.read(Path(named)) if named else ""
    except (OSError, ValueError, KeyError, TypeError, admin_key.AdminKeyUnusable):
        return ""
