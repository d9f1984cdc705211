"""The word that a version was published. It is a hint: it may be lost, doubled, late or false.

It names what is new in the version, so that who hears it can ask for all of that together with the manifest. Only what
the store has under these names is used, and only if its hash is right; which parts make the version is what its
manifest says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from runtime.index.manifest import Manifest

HIGHEST = 10**12
"""A generation: its number has so many digits in the name of its manifest."""

MOST = 16
"""Names of either kind: with more, it is the manifest that tells."""

_SEGMENT = re.compile(r"[0-9a-f]{64}(\.pack|-[0-9a-f]{32})?")
_TOMBSTONES = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Announcement:
    """`segments` and `tombstones` are names of new parts, as many as are known; `trace` is a traceparent."""

    index: str
    generation: int
    version: str = ""
    segments: tuple[str, ...] = ()
    tombstones: tuple[str, ...] = ()
    trace: str = ""

    def joined(self, earlier: Announcement) -> Announcement:
        """This one, also with what an earlier one named that nobody has loaded."""
        return replace(
            self,
            segments=(*earlier.segments, *self.segments)[-MOST:],
            tombstones=(*earlier.tombstones, *self.tombstones)[-MOST:],
        )


def encode(version: Manifest, before: Manifest | None, trace: Mapping[str, str]) -> str:
    """The word of a version; it names what is new in it to who has the one `before`, or all there is."""
    known = before.parts if before else set()
    told: dict[str, Any] = {"index": version.index, "generation": version.generation, "version": version.version}
    segments = [ref.segment for ref in version.segments if ref.segment not in known]
    tombstones = [ref.tombstones for ref in version.segments if ref.tombstones and ref.tombstones not in known]
    if len(segments) <= MOST and len(tombstones) <= MOST:
        told |= {"segments": segments, "tombstones": tombstones}
    return json.dumps({**told, **trace})


def decode(data: bytes) -> Announcement | None:
    """None where it is not a word of a version. Names become parts of paths: any other than ours is left out."""
    try:
        told = json.loads(data)
        generation = int(told["generation"])
        if not 0 < generation < HIGHEST:
            return None
        return Announcement(
            str(told["index"]),
            generation,
            str(told.get("version", "")),
            _names(told.get("segments"), _SEGMENT),
            _names(told.get("tombstones"), _TOMBSTONES),
            str(told.get("traceparent", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _names(told: object, kind: re.Pattern[str]) -> tuple[str, ...]:
    names = told if isinstance(told, list) else []
    return tuple(name for name in names[:MOST] if isinstance(name, str) and kind.fullmatch(name))
