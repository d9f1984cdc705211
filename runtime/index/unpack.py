"""A segment that is one object in the store (pack.py), as the folder of files that is mapped."""

from __future__ import annotations

from pathlib import Path

from runtime.index import pack, trust
from runtime.index.fetch import alone, replacing
from runtime.index.segment import Meta


def unpack(name: str, key: str, data: bytes, folder: Path, room: Path) -> Meta:
    """Put the files of a segment into `folder`, all at once; those that are missing or damaged, where it is there.

    `room` is an empty folder of the same file system. Nothing is forced to disk (trust.py): it is in the store.
    Raises CorruptSegment for what is not the segment of this name.
    """
    meta, files = pack.split(name, key, data)
    if not folder.exists():
        made = room / folder.name
        made.mkdir()
        for file, content in files.items():
            (made / file).write_bytes(content)
        trust.until_restart(made)
        folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(folder)
            return meta
        except OSError:  # another process was faster
            pass
    folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        for file, content in files.items():
            if not _is(folder / file, content):
                with replacing(folder / file) as temporary:
                    temporary.write_bytes(content)
    return meta


def _is(path: Path, content: memoryview) -> bool:
    try:
        return path.read_bytes() == content
    except FileNotFoundError:
        return False
