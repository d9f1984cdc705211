"""The store as a function sees it that somebody has called who may see what is of one tenant only.

The names of objects came with the call: without this, a function that reads what it is told to would read for one
tenant what is another's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from runtime.callers.ownership import Owners
from runtime.context import ObjectInfo, Store
from runtime.errors import BadInput, ObjectMissing
from runtime.store.layer import StoreLayer
from runtime.store.names import check_new_key


class ConfinedStore(StoreLayer):
    """What is not the tenant's is missing, and cannot be written."""

    def __init__(self, store: Store, tenant: str, owners: Owners) -> None:
        super().__init__(store)
        self._tenant, self._owners = tenant, owners

    def list(self, bucket: str, prefix: str = "", *, start_after: str = "") -> Iterator[ObjectInfo]:
        found = super().list(bucket, prefix, start_after=start_after)
        return (info for info in found if self._is_own(bucket, info.key))

    def abort_uploads(self, bucket: str, older_than: float) -> int:
        raise BadInput(f"Uploads in the bucket {bucket} may be of other tenants than {self._tenant}.")

    def connection(self) -> Mapping[str, str]:
        raise BadInput(f"A call of the tenant {self._tenant} may not use the store's own keys, which open everything.")

    def _is_own(self, bucket: str, key: str) -> bool:
        return bucket != self.bucket and self._owners.of(bucket, key) == self._tenant

    def _touch(self, bucket: str, key: str) -> None:
        """Raises ObjectMissing, and BadInput for a name that a store may take for another one."""
        check_new_key(key)
        if not self._is_own(bucket, key):
            raise ObjectMissing(f"There is no object {key!r} in bucket {bucket!r}.")
