"""Whose an object is: its bucket and key decide, by functions.yaml, and nothing that anybody says of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from runtime.config.settings import Project
from runtime.config.tenants import NAME, PER_FOLDER
from runtime.security.principal import DEFAULT_TENANT

_NAME = re.compile(NAME)


@dataclass(frozen=True, slots=True)
class Place:
    """Objects of `bucket` whose keys begin with `prefix` are of `tenant`, unless a longer prefix says otherwise."""

    bucket: str
    prefix: str
    tenant: str

    def owner(self, key: str) -> str:
        """The tenant of a key that begins with the prefix."""
        if self.tenant != PER_FOLDER:
            return self.tenant
        folder, slash, _ = key[len(self.prefix) :].partition("/")
        return folder if slash and _NAME.fullmatch(folder) else DEFAULT_TENANT


class Owners:
    """The places of a project. `divided` is False where every object is the default tenant's."""

    def __init__(self, project: Project) -> None:
        found: dict[tuple[str, str], str] = {}
        for _, trigger in project.bucket_triggers():
            if trigger.tenant is not None:
                found[trigger.bucket, trigger.prefix] = trigger.tenant
        for tenant, spec in project.tenants.items():
            for place in spec.objects:
                bucket, _, prefix = place.partition("/")
                found[bucket, prefix] = tenant
        longest = sorted(found, key=lambda place: -len(place[1]))
        self._places: Mapping[str, list[Place]] = {bucket: [] for bucket, _ in longest}
        for bucket, prefix in longest:
            self._places[bucket].append(Place(bucket, prefix, found[bucket, prefix]))
        self.divided = any(tenant != DEFAULT_TENANT for tenant in found.values())

    def of(self, bucket: str, key: str) -> str:
        """The tenant of an object."""
        for place in self._places.get(bucket, ()):
            if key.startswith(place.prefix):
                return place.owner(key)
        return DEFAULT_TENANT

    def whole(self, tenant: str, bucket: str, prefix: str) -> bool:
        """Whether every key that can begin with `prefix` is of `tenant`."""
        below = self._places.get(bucket, ())
        if any(place.prefix.startswith(prefix) and place.tenant != tenant for place in below if place.prefix != prefix):
            return False
        above = next((place for place in below if prefix.startswith(place.prefix)), None)
        if above is None:
            return tenant == DEFAULT_TENANT
        if above.tenant != PER_FOLDER:
            return above.tenant == tenant
        return "/" in prefix[len(above.prefix) :] and above.owner(prefix) == tenant

    def places(self, tenant: str, bucket: str | None = None) -> list[str]:
        """Where a tenant's objects are, as BUCKET/PREFIX; those of a bucket alone where one is named."""
        found = []
        for name, places in self._places.items():
            for place in places if bucket in (None, name) else ():
                if place.tenant == tenant:
                    found.append(f"{name}/{place.prefix}")
                elif place.tenant == PER_FOLDER and tenant != DEFAULT_TENANT:
                    found.append(f"{name}/{place.prefix}{tenant}/")
        return sorted(found)
