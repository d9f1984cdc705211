"""One bucket's source: picks it, runs it, and falls back to polling while it is broken.

Of several processes one minds a bucket; the others stand by and read what it says.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import redis

from runtime import keys
from runtime.config.settings import EventSource
from runtime.errors import ObjectMissing, TundishError
from triggers.sources import auto
from triggers.sources.base import Broken, Source
from triggers.sources.board import Board
from triggers.sources.standing import ASKS, Standing

log = logging.getLogger("tundish.triggers")

STAND_BY_SECONDS = 0.2
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
PICK_AGAIN_SECONDS = 600.0
"""A server that could not be listened to may be able to after an upgrade."""

Make = Callable[[str], Source | None]
"""The source of a kind that is asked; None for one that posts to the gateway, and for polling."""


class Minder:
    """`run` is a thread's work, `tick` is called from another one every second, until `stop`."""

    def __init__(
        self,
        client: redis.Redis,
        bucket: str,
        configured: EventSource,
        server: auto.Server,
        make: Make,
        ask: Callable[[str], None],
    ) -> None:
        self.bucket, self.board = bucket, Board(client, bucket)
        self._client, self._configured, self._server, self._make = client, configured, server, make
        self._ask = ask
        self._kind: str = "poll" if configured.kind == "auto" else configured.kind
        self._since = self._begun = self._until = 0.0
        self._detail = self._trouble = ""
        self._blind = self._instead = False
        self._stop = threading.Event()

    @property
    def woken(self) -> bool:
        """Whether listings of this bucket may be rare, as far as anybody knows."""
        if self._configured.kind == "poll":
            return False
        return self._standing.woken(time.time()) if self.board.mine else self.board.shared.woken

    @property
    def _standing(self) -> Standing:
        since = self._since if self.board.mine else self.board.shared.since
        return Standing(self._kind, since, self.board.heard, self.board.missed)

    def stop(self) -> None:
        self._stop.set()

    def missed(self) -> None:
        """A listing found changes that nobody had announced. The first such miss counts until it is explained."""
        if not self._standing.unannounced:
            self.board.miss()

    def tick(self) -> None:
        """Tell the others and hear from them. Raises redis errors."""
        self.board.sync(self._state)

    def _state(self) -> dict[str, str]:
        standing, woken = self._standing, self.woken
        # Where nothing ever told of changes, or nobody asked for it, that is no news.
        expected = self._configured.kind != "poll" and (standing.kind != "poll" or standing.heard > 0)
        blind = expected and standing.blind(time.time())
        if blind and not self._blind:
            log.warning(
                "bucket %s: listings find changes that no notification announced, so they come more often from now "
                "on. To be told of changes at once: tundish buckets wire %s",
                self.bucket,
                self.bucket,
            )
        elif self._blind and not blind:
            log.info("bucket %s: notifications come again", self.bucket)
        self._blind = blind
        return {
            "kind": self._kind,
            "woken": str(int(woken)),
            "detail": "" if woken else self._why(blind),
            "since": str(self._since),
        }

    def _why(self, blind: bool) -> str:
        """Why it is not woken."""
        if blind or self._detail:
            return self._detail or "changes go unannounced"
        if self._kind == "poll":
            return ""
        if self._kind in ASKS:
            return "not connected yet"
        return "no notification has come yet, although there were changes" if self.board.missed else ""

    def run(self) -> None:
        """Mind the bucket, whenever no other process does, until `stop`."""
        pause = FIRST_PAUSE
        while not self._stop.is_set():
            if not self.board.mine:
                self._since = 0.0
                self._stop.wait(STAND_BY_SECONDS)
                continue
            self._begun, lasting = 0.0, False
            try:
                self._mind()
                continue
            except Broken as error:
                lasting = error.lasting
                self._fail(f"{error} The bucket is listed instead; tundish buckets wire {self.bucket} shows other ways")
            except ObjectMissing as error:  # the trigger makes its bucket just now, or says why it cannot
                self._since, self._detail = 0.0, str(error)
            except TundishError as error:
                self._fail(str(error))
            except redis.RedisError as error:  # the broker is away, as everybody says
                self._since, self._detail = 0.0, f"The broker did not answer ({type(error).__name__})."
            lived = time.time() - self._begun if self._begun else 0.0
            pause = LONGEST_PAUSE if lasting else FIRST_PAUSE if lived > pause else min(2 * pause, LONGEST_PAUSE)
            self._stop.wait(pause * random.uniform(0.5, 1))  # noqa: S311

    def _mind(self) -> None:
        """Run the source until it breaks, another process takes over, or it is time to pick one again."""
        if self._configured.kind != "auto":
            self._serve(self._configured.kind, float("inf"))
            return
        server = self._server.name(self.bucket)
        kind = auto.pick(server, (), listens=True)
        try:
            self._serve(kind, float("inf") if kind == "minio_listen" else PICK_AGAIN_SECONDS)
        except Broken as error:
            if self._begun:  # it worked, so it will again
                raise
            kind = auto.pick(server, self._server.targets(self.bucket), listens=False)
            self._fail(
                f"{error} Without that its source is {kind}; tundish buckets wire {self.bucket} shows other ways"
            )
            poll = kind == "poll" and not error.lasting
            self._serve(kind, LONGEST_PAUSE if poll else PICK_AGAIN_SECONDS, instead=True)

    def _serve(self, kind: str, seconds: float, *, instead: bool = False) -> None:
        self._until, self._instead = time.monotonic() + seconds, instead
        source = self._make(kind)
        if source is not None:
            self._kind, self._since = kind, 0.0
            source.run(self)
            return
        self._since = self._since if self._kind == kind and self._since else time.time()
        self._kind = kind
        if not instead:
            self._detail = self._trouble = ""
        while not self.over():
            self.wait(STAND_BY_SECONDS)

    def _fail(self, reason: str) -> None:
        """Remember why it does not wake, and say so once."""
        self._since, self._detail = 0.0, reason
        if reason != self._trouble:
            self._trouble = reason
            log.warning("bucket %s: %s", self.bucket, reason)

    # What a source is told and tells (base.Desk).

    def over(self) -> bool:
        return self._stop.is_set() or not self.board.mine or time.monotonic() > self._until

    def begun(self) -> None:
        self._begun = self._since = time.time()
        self._detail = ""
        if self._trouble and not self._instead:
            self._trouble = ""
            log.info("bucket %s: notifications come again", self.bucket)
        self._ask(self.bucket)

    def put(self, bodies: Sequence[bytes]) -> None:
        fields: dict[Any, Any] = {"source": self._kind, "at": int(time.time())}
        with self._client.pipeline(transaction=False) as pipe:
            for body in bodies:
                pipe.xadd(keys.EVENTS, {**fields, "body": body}, maxlen=keys.EVENTS_CAP, approximate=True)
            pipe.execute()

    def ask(self) -> None:
        self._ask(self.bucket)

    def wait(self, seconds: float) -> None:
        self._stop.wait(seconds)
