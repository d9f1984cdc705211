"""Which points are meant, in Qdrant's words: those of a version, and those that pass a filter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from qdrant_client import models

from runtime.index import terms
from runtime.index.filters import Filters, Range, Value
from runtime.index.qdrant.points import ALIVE, family, word
from runtime.index.remote import Remote

Conditions = list[Any]


def seen(version: Remote) -> models.Filter:
    """The chunks that a version holds: born by then, not in a gap, and not dead yet, but for deaths in a gap."""
    alive: Any = within("died", version.epoch + 1, None)
    if version.gaps:
        alive = models.Filter(should=[alive, *(within("died", *gap) for gap in version.gaps)])
    return models.Filter(
        must=[equal("kind", "chunk"), within("born", None, version.epoch), alive],
        must_not=[within("born", *gap) for gap in version.gaps] or None,
    )


def first() -> models.Filter:
    """The first chunk of every document: it says how many there are."""
    return models.Filter(must=[within("chunks", 1, None)])


def living(version: Remote) -> models.Filter:
    """What no change that counts has let die: still alive, or dead by a change that was never published."""
    return models.Filter(
        should=[within("died", ALIVE, None), *(within("died", *gap) for gap in version.gaps)],
    )


def both(*filters: models.Filter | None) -> models.Filter:
    """What passes each of them."""
    must: Conditions = []
    must_not: Conditions = []
    for one in filters:
        if one is not None and not one.should:
            must += _listed(one.must)
            must_not += _listed(one.must_not)
        elif one is not None:
            must.append(one)
    return models.Filter(must=must or None, must_not=must_not or None)


def of(filters: Filters | None) -> models.Filter | None:
    """What `runtime.index.filters` asks for: every field that is given must hold, by one of its values."""
    if not filters:
        return None
    must: Conditions = []
    for name, values in (("tenant", filters.tenants), ("bucket", filters.buckets)):
        if values:
            must.append(any_of(name, values))
    if filters.prefixes:
        must.append(_one([_prefix("key", prefix) for prefix in filters.prefixes]))
    if filters.types:
        must.append(any_of("terms", [_type(kind) for kind in filters.types]))
    for name, wanted in filters.meta:
        must.append(_one(list(_meta(name, wanted))))
    if filters.modified:
        must.append(_between("modified", filters.modified))
    return models.Filter(must=must)


def equal(name: str, value: str | int) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchValue(value=value))


def any_of(name: str, values: Iterable[str]) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchAny(any=list(values)))


def within(name: str, first: int | None, last: int | None) -> models.FieldCondition:
    """Whole numbers from the first to the last, both included; None is no limit."""
    return models.FieldCondition(key=name, range=models.Range(gte=first, lte=last))


def _one(conditions: Conditions) -> Any:
    return conditions[0] if len(conditions) == 1 else models.Filter(should=conditions)


def _prefix(name: str, prefix: str) -> models.FieldCondition:
    return models.FieldCondition(key=name, match=models.MatchPrefix(prefix=prefix))


def _between(name: str, limits: Range) -> models.FieldCondition:
    return models.FieldCondition(key=name, range=models.Range(gte=limits.low, lte=limits.high))


def _type(kind: str) -> str:
    term = terms.text(terms.TYPE, terms.media_type(kind))
    return word(family(term) if term.endswith(b"/*") else term)


def _meta(name: str, values: Sequence[Value]) -> Iterable[Any]:
    words = [word(_equal(name, value)) for value in values if not isinstance(value, Range)]
    if words:
        yield any_of("terms", words)
    for value in values:
        if isinstance(value, Range):
            inner = models.Filter(must=[equal("name", name), _between("value", value)])
            yield models.NestedCondition(nested=models.Nested(key="numbers", filter=inner))


def _equal(name: str, value: str | float) -> bytes:
    return terms.meta_text(name, value) if isinstance(value, str) else terms.meta_number(name, value)


def _listed(conditions: Any) -> Conditions:
    return list(conditions) if isinstance(conditions, list) else [conditions] if conditions else []
