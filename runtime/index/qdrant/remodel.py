"""Another embedding model for an index in Qdrant: its batches are embedded again beside the old ones, then a new
collection is filled from them; the old one answers until then, and is what a rollback goes back to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from runtime.context import BuildReport, Models
from runtime.index.migrate import Migrator
from runtime.index.qdrant.builder import Builder

if TYPE_CHECKING:
    import redis

    from runtime.context import Store
    from runtime.index.cache import SegmentCache
    from runtime.index.manifest import Manifest

Tell = Callable[["Manifest"], object]


class Remodel(Migrator):
    """A migrator whose new version is built by Qdrant's builder."""

    def __init__(self, store: Store, client: redis.Redis, cache: SegmentCache, builder: Builder, tell: Tell) -> None:
        super().__init__(store, client, cache, self._built, tell)
        self._builder = builder

    def _built(self, index: str, named: object = ()) -> tuple[BuildReport, Manifest | None]:
        """What came late is part of a build as all that is new; nothing is built beside the index."""
        return self._builder.build(index)

    def _switch(self, index: str, target: str, models: Models, damaged: Mapping[str, str]) -> Manifest | None:
        """Fill a collection with what there is in the new model; None where something came meanwhile."""
        return self._builder.in_space(index, target, models.name)
