"""Tenants: `tenants:` of functions.yaml, and the `tenant:` of a trigger."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import AfterValidator, Field

from runtime.config.model import Model, Words
from runtime.values.units import Duration, RateLimit, Size

if TYPE_CHECKING:
    from runtime.config.schema import FunctionsFile
    from runtime.config.yaml_lines import Path_

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PER_FOLDER = "{prefix}"
"""As a trigger's `tenant`: the first folder of an object's key, below the trigger's own prefix, names its tenant."""
EVERY = "*"
"""The entry of `tenants:` for those that have none of their own."""

TenantName = Annotated[str, Field(pattern=f"^{NAME}$")]
TriggerTenant = Annotated[str, Field(pattern=rf"^({NAME}|\{{prefix\}})$")]


def _places(places: tuple[str, ...]) -> tuple[str, ...]:
    for place in places:
        bucket, _, prefix = place.partition("/")
        if not bucket or "//" in place or {".", ".."} & set(prefix.split("/")):
            raise ValueError(f"{place!r} is no place; write BUCKET or BUCKET/FOLDER/")
    # A folder: `acme` must not begin `acme-two/`.
    return tuple(place if "/" not in place or place.endswith("/") else f"{place}/" for place in places)


class Quota(Model):
    """The most of a day, or of a month, both in UTC: calls, the seconds that they run, documents that are put and
    their bytes."""

    calls: Annotated[int, Field(ge=0)] | None = None
    seconds: Duration | None = None
    documents: Annotated[int, Field(ge=0)] | None = None
    bytes: Size | None = None
    per: Literal["day", "month"] = "day"

    def limits(self) -> dict[str, int]:
        """By the names under which usage is counted; milliseconds for `seconds`."""
        seconds = None if self.seconds is None else round(self.seconds * 1000)
        told = {"calls": self.calls, "ms": seconds, "documents": self.documents, "bytes": self.bytes}
        return {name: value for name, value in told.items() if value is not None}


class KeyQuota(Model):
    """The most of a day or a month that comes with one API key."""

    calls: Annotated[int, Field(ge=0)] | None = None
    documents: Annotated[int, Field(ge=0)] | None = None
    bytes: Size | None = None
    per: Literal["day", "month"] = "day"

    def limits(self) -> dict[str, int]:
        """By the names under which usage is counted."""
        told = {"calls": self.calls, "documents": self.documents, "bytes": self.bytes}
        return {name: value for name, value in told.items() if value is not None}


class TenantSpec(Model):
    """What one tenant may use, and which objects are its own whoever watches them.

    `rate` and `quota` are for all its calls together, `key_rate` and `key_quota` for those of each of its keys.
    """

    rate: RateLimit | None = None
    key_rate: RateLimit | None = None
    quota: Quota = Quota()
    key_quota: KeyQuota = KeyQuota()
    objects: Annotated[Words, AfterValidator(_places)] = ()


Tenants = dict[Annotated[str, Field(pattern=f"^({NAME}|\\*)$")], TenantSpec]


def check_tenants(content: FunctionsFile, own_bucket: str, report: Callable[[Path_, str], None]) -> None:
    """Report places that are of two tenants, and those that are nobody's but Tundish's."""
    owners: dict[str, str] = {}
    for name, spec in content.tenants.items():
        for place in spec.objects:
            where: Path_ = ("tenants", name, "objects")
            if name == EVERY:
                report(where, "objects are of one tenant; name it instead of *")
            elif place.partition("/")[0] == own_bucket:
                report(where, f"{own_bucket} is where Tundish keeps its own objects; use another bucket")
            elif owners.setdefault(place.rstrip("/"), name) != name:
                report(where, f"{place} is the tenant {owners[place.rstrip('/')]}'s already")
    watched: dict[tuple[str, str], str] = {}
    for function, item in content.functions.items():
        for position, trigger in enumerate(item.triggers):
            tenant = getattr(trigger, "tenant", None)
            bucket = getattr(trigger, "bucket", None)
            if tenant is None or bucket is None:
                continue
            place_of = (bucket, getattr(trigger, "prefix", ""))
            if watched.setdefault(place_of, tenant) != tenant:
                message = f"another trigger on {bucket}/{place_of[1]} has tenant: {watched[place_of]}; they must agree"
                report(("functions", function, "triggers", position, "tenant"), message)
