"""Conditions and settings of qdrant-client in the words of Qdrant Edge; what has no word there is refused."""

from __future__ import annotations

from typing import Any

import qdrant_edge as edge
from qdrant_client import models


def condition(wanted: models.Filter | None) -> Any:
    if wanted is None:
        return None
    return edge.Filter(must=_all(wanted.must), should=_all(wanted.should), must_not=_all(wanted.must_not))


def memory(wanted: models.Memory | None) -> Any:
    return None if wanted is None else getattr(edge.Memory, wanted.value.capitalize())


def quantized(wanted: models.ScalarQuantization | None) -> Any:
    if wanted is None:
        return None
    scalar = wanted.scalar
    return edge.ScalarQuantizationConfig(edge.ScalarType.Int8, quantile=scalar.quantile, memory=memory(scalar.memory))


def index_of(schema: Any) -> Any:
    """The index of a payload's field."""
    kinds: dict[type, Any] = {
        models.KeywordIndexParams: edge.KeywordIndexParams,
        models.IntegerIndexParams: edge.IntegerIndexParams,
        models.FloatIndexParams: edge.FloatIndexParams,
    }
    told = {name: value for name, value in schema if value is not None and name not in ("type", "memory")}
    return kinds[type(schema)](**told, memory=memory(schema.memory))


def _all(wanted: Any) -> Any:
    if wanted is None:
        return None
    return [_one(each) for each in (wanted if isinstance(wanted, list) else [wanted])]


def _one(wanted: Any) -> Any:
    if isinstance(wanted, models.Filter):
        return condition(wanted)
    if isinstance(wanted, models.NestedCondition):
        return edge.NestedCondition(wanted.nested.key, condition(wanted.nested.filter))
    if isinstance(wanted, models.FieldCondition):
        return edge.FieldCondition(wanted.key, match=_match(wanted.match), range=_range(wanted.range))
    raise ValueError(f"{type(wanted).__name__} is not translated")


def _match(wanted: Any) -> Any:
    if wanted is None:
        return None
    if isinstance(wanted, models.MatchValue):
        return edge.MatchValue(wanted.value)
    if isinstance(wanted, models.MatchAny):
        return edge.MatchAny(wanted.any)
    if isinstance(wanted, models.MatchPrefix):
        return edge.MatchPrefix(wanted.prefix)
    raise ValueError(f"{type(wanted).__name__} is not translated")


def _range(wanted: Any) -> Any:
    if wanted is None:
        return None
    return edge.RangeFloat(gte=wanted.gte, gt=wanted.gt, lte=wanted.lte, lt=wanted.lt)
