"""Full listings of one bucket: when, one page at a time, and what follows from what they did not see."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Generator, Sequence

import redis

from runtime import keys
from runtime.broker import scripts
from runtime.buckets.watch import Watch
from runtime.context import ObjectInfo, Store
from triggers import scan
from triggers.ledger import Ledger
from triggers.sources.poll import Poll
from triggers.stream import Stream

log = logging.getLogger("tundish.triggers")

PATIENCE_SECONDS = 120.0
_LOCK_MS = 5000  # renewed with every page; a process that dies in a listing delays the next one by no more


class Lister:
    """Compares a bucket with its ledger. `compare` gets each page of objects, `look` the keys that may be gone;
    `begins` hears of each listing, `listed` of each complete one and how many objects it had; `rescan` says after how
    many seconds one is due.

    One process lists at a time; the work is cut into steps so that hints are served in between.
    """

    def __init__(
        self,
        client: redis.Redis,
        store: Store,
        ledger: Ledger,
        watch: Watch,
        *,
        rescan: Callable[[], float],
        compare: Callable[[Sequence[ObjectInfo]], None],
        look: Callable[[Sequence[str]], None],
        begins: Callable[[], None],
        lasted: Callable[[], bool],
        listed: Callable[[int], None],
    ) -> None:
        self._client, self._store, self._ledger, self._watch = client, store, ledger, watch
        self._compare, self._look, self._begins, self._lasted, self._listed = compare, look, begins, lasted, listed
        self._stream = Stream(client, "")
        self._poll = Poll(rescan)
        self._steps: Generator[None, None, None] | None = None
        self._lock, self._token = keys.lock(f"listing:{watch.name}"), uuid.uuid4().hex
        self._next = 0.0
        self._suspected: bytes | None = None
        self._left: tuple[bytes, bytes] | None = None
        self._patient_until = 0.0
        self.regular = False
        """Whether nobody has asked for the listing that goes on: what it finds should have been announced."""
        self._took = 0.0

    def ask(self) -> None:
        """Events may have been missed: list as soon as the limits allow."""
        self._poll.ask(time.time())
        self._next = 0.0

    def close(self) -> None:
        """Let another process list now."""
        if self._steps is not None:
            self._steps = None
            self._release()

    def step(self) -> float:
        """Do one page, if it is time. Returns the seconds until there is more to do (0: at once)."""
        began = time.time()
        if self._steps is None:
            if began < self._next:
                return self._next - began
            if not self._may_begin(began):
                return self._next - began
            self._steps, self._took, self.regular = self._run(began), 0.0, not self._poll.asked
        elif not self._hold():
            self._steps = None
            return 0.0
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None
            self._release()
        except BaseException:  # what has raised cannot go on; an interruption elsewhere breaks no listing off
            self._steps = None
            raise
        self._took += time.time() - began
        return 0.0

    def _may_begin(self, now: float) -> bool:
        if (hold := self._ledger.hold()) and hold["confirmed"]:
            self._poll.ask(now)
        due = self._poll.due(self._ledger.last_listing())
        # Look at the clock of the other processes, and for a confirmation, again after a second at most.
        self._next = now + 1.0 if due <= now else min(due, now + 1.0)
        if due > now:
            return False
        if self._suspected is not None and not self._all_heard(self._suspected, now):
            return False
        return self._hold()

    def _all_heard(self, suspected: bytes, now: float) -> bool:
        """What looks like a loss is judged only when every event that had come in by then has been handled. One that
        nobody handles, since its trigger is paused, is not waited for."""
        left = self._stream.unsettled(suspected)
        if left != self._left:
            self._left, self._patient_until = left, now + PATIENCE_SECONDS
        return left is None or now >= self._patient_until

    def _hold(self) -> bool:
        """Take the lock, or keep it; one that an interruption left behind is ours."""
        return bool(scripts.run(self._client, "lock", [self._lock], [self._token, _LOCK_MS]))

    def _release(self) -> None:
        scripts.run(self._client, "unlock", [self._lock], [self._token])

    def _run(self, began: float) -> Generator[None, None, None]:
        self._begins()
        seen = scan.Seen()
        for page in scan.pages(self._store, self._watch):
            for info in page:
                seen.add(info.key)
            self._compare(page)
            yield
        lost = known = 0
        for part in scan.review(self._ledger, seen, began):
            lost, known = lost + len(part.missing), known + part.believed
            if part.stale:
                self._ledger.apply(part.stale)
            yield
        if lost and self._allowed(lost, known):
            for part in scan.review(self._ledger, seen, began):
                for start in range(0, len(part.missing), 100):
                    self._look(part.missing[start : start + 100])
                    yield
        elif not lost:
            self._back()
        if not self._lasted():
            self._poll.ask(time.time())
            return
        self._ledger.note_listing(self._took, len(seen))
        self._poll.listed(began)
        self._listed(len(seen))

    def _allowed(self, lost: int, known: int) -> bool:
        """Whether these keys may be taken for removed; a sudden loss of most of a bucket needs a person's word."""
        if not scan.sudden(lost, known):
            self._back()
            return True
        hold = self._ledger.hold()
        if hold and hold["confirmed"]:
            log.warning("%s: %d removals in the bucket %s were confirmed", self._watch.name, lost, hold["bucket"])
            return True
        if self._suspected is None:
            # Perhaps their events are only late. A second listing, after all that have come in, decides.
            self._suspected = self._stream.newest()
            self.ask()
        elif hold is None:
            self._ledger.set_hold(lost, known)
            log.error(
                "HELD: %d of %d objects that were known in the bucket %s are suddenly gone, and no event said so. "
                "Nothing is removed from what was made of them. If the loss is meant, run: tundish buckets confirm %s",
                lost,
                known,
                self._watch.trigger.bucket,
                self._watch.trigger.bucket,
            )
        return False

    def _back(self) -> None:
        """No sudden loss (any more)."""
        self._suspected = None
        hold = self._ledger.hold()
        if hold and self._ledger.lift_hold() and not hold["confirmed"]:
            log.warning("%s: the lost objects of the bucket %s are back", self._watch.name, hold["bucket"])
