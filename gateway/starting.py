"""The order in which a gateway starts: what the first search needs comes first, the rest behind it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import logging
from typing import TYPE_CHECKING

from gateway import routes
from runtime.store.library import load

if TYPE_CHECKING:
    from gateway.state import Gateway

LOOK_SECONDS = 10.0
"""How long the rest waits for the indexes to be loaded; a store that does not answer must not hold it up for ever."""

REST_SECONDS = 0.3
"""Who waited for the start asks now, and goes first."""

YOUNG = 10_000
"""New objects after which the collector looks for cycles among them. A request leaves none; with Python's 700 the many
that are under way at once were looked at again and again, for 2 % of the processor time of a gateway under load."""

log = logging.getLogger("tundish.gateway")


def import_ahead() -> None:
    """What the first search needs takes a moment to import; where functions are described, a child is waited for."""
    with contextlib.suppress(ImportError):  # who needs it says what is missing
        importlib.import_module("faiss")
        load()


async def finish(gateway: Gateway) -> None:
    """When the indexes are loaded: import the rest of the routes, and let the collector work again.

    What is there by then stays for as long as the process: it is left out of every later collection, each of which
    would hold up all requests for as long as it takes to look at it.
    """
    await gateway.indexes.first_look(LOOK_SECONDS)
    await asyncio.sleep(REST_SECONDS)
    try:
        await gateway.in_thread(routes.import_all)
    except Exception:
        log.exception("a part of the gateway cannot be imported: its routes will fail")
    finally:
        gc.freeze()
        gc.set_threshold(YOUNG)
        gc.enable()
