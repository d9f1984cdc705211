"""A program beside `tundish up` that is started again whenever it has ended, as a supervisor would."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Kept:
    """`away`: how many seconds it stays away after it has ended, at least and at most."""

    argv: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    folder: Path
    log: Path
    away: tuple[float, float]
    dice: random.Random
    litter: Sequence[Path] = ()
    _process: subprocess.Popen[bytes] | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._keep, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            self.kill()
            thread.join()

    def kill(self) -> int:
        """SIGKILL to all of its group; its PID, 0 where it does not run."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return 0
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            return self._process.pid

    def _keep(self) -> None:
        while True:
            with self.log.open("ab") as log, self._lock:
                if self._stop.is_set():
                    return
                self._process = subprocess.Popen(
                    self.argv,
                    env=dict(self.environ),
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            self._process.wait()
            for path in self.litter:
                path.unlink(missing_ok=True)
            self._stop.wait(self.dice.uniform(*self.away))
