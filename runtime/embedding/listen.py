"""A Unix socket that only this user can open, at a path that an earlier process may have left behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import ServiceFailed


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """A listening socket (mode 0600), removed at the end. Raises ServiceFailed where the path is in use."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _listen(sock, path)
    except OSError as error:
        sock.close()
        raise ServiceFailed(f"The embedder cannot listen on {path}: {error.strerror}. Set TUNDISH_HOME.") from error
    except ServiceFailed:
        sock.close()
        raise
    inode = path.stat().st_ino
    try:
        sock.setblocking(False)
        yield sock
    finally:
        sock.close()
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_ino == inode:  # not the one of a process that took over
                path.unlink()


def _listen(sock: socket.socket, path: Path) -> None:
    # One at a time: of two that find the same old socket, the second would remove the new one of the first.
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear(path)
        before = os.umask(0o177)  # the socket must never be open to others, not even between bind and chmod
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(128)


def _clear(path: Path) -> None:
    """Remove a socket that nobody listens on."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ServiceFailed(f"{path} is in the way: it is not a socket. Remove it, or set another TUNDISH_HOME.")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise ServiceFailed(f"Another embedder listens on {path} already. Stop it, or set another TUNDISH_HOME.")
