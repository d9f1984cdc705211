"""Uploads in parts that nobody has completed: a process that is killed leaves what it sent in the store for good."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from runtime.errors import StoreDown

_MARKERS = {"key-marker": "NextKeyMarker", "upload-id-marker": "NextUploadIdMarker"}


@dataclass(frozen=True, slots=True)
class Unfinished:
    """`begun` is seconds since the epoch by the clock of the store."""

    key: str
    id: str
    begun: float


def unfinished(fetch: Callable[[Mapping[str, str]], bytes], bucket: str) -> Iterator[Unfinished]:
    """All of a bucket; `fetch` makes one ListMultipartUploads request (parameters → XML). StoreDown for nonsense.

    Not by minio's own method: it loses the marker of the next page. Names are not asked for in URL encoding, because
    SeaweedFS says that it has encoded them and has not.
    """
    query = {"uploads": ""}
    while True:
        try:
            root = ET.fromstring(fetch(query))  # noqa: S314  (expat ≥ 2.6 bounds entity expansion, and the store is ours)
        except ET.ParseError as error:
            raise StoreDown(f"The store's list of uploads to bucket {bucket!r} is not XML: {error}.") from error
        space = root.tag[: root.tag.find("}") + 1]
        for row in root.findall(f"{space}Upload"):
            begun = row.findtext(f"{space}Initiated")
            yield Unfinished(
                row.findtext(f"{space}Key") or "",
                row.findtext(f"{space}UploadId") or "",
                datetime.fromisoformat(begun).timestamp() if begun else time.time(),
            )
        markers = {name: root.findtext(space + tag) or "" for name, tag in _MARKERS.items()}
        following = {"uploads": "", **{name: marker for name, marker in markers.items() if marker}}
        if root.findtext(f"{space}IsTruncated") != "true" or following == query:
            return
        query = following
