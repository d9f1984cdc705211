"""`GET|POST /search`: the nearest chunks to a text or a vector, from the version that is loaded now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import body, state
from gateway.indexes import DEFAULT
from gateway.problems import refuse
from gateway.schemas import show
from runtime.config import Name
from runtime.errors import BadInput, FieldError, InvalidArguments

if TYPE_CHECKING:
    from runtime.context import Vectors

MOST_CHARACTERS = 20_000
MOST_DIMENSIONS = 16_384


class Query(BaseModel):
    """What is searched for: `q` (a text) or `vector` (of the model's dimensions; its length does not matter)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Annotated[str, Field(max_length=MOST_CHARACTERS)] | None = None
    vector: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=MOST_DIMENSIONS)] | None = None
    k: Annotated[int, Field(ge=1, le=100)] = 10
    index: Name = DEFAULT


async def search(request: Request) -> Response:
    """200 with the results and the index version that they are from, even where there are none."""
    began = time.perf_counter()
    query = await read_query(request)
    answer = await find(state.of(request), query)
    answer["took_ms"] = round((time.perf_counter() - began) * 1000, 3)
    headers = {"X-Index-Version": answer["version"] or "none", "Cache-Control": "no-store"}
    return Response(to_json(answer), headers=headers, media_type="application/json")


async def read_query(request: Request) -> Query:
    """The query of a request. 400, or 422 with every bad field."""
    if request.method == "POST":
        given: dict[str, Any] = await body.json_object(request, state.of(request).project.limits.body)
    else:
        given = dict(request.query_params)
        if "vector" in given:
            given["vector"] = _numbers(given["vector"])
    try:
        query = Query.model_validate(given)
    except ValidationError as error:
        raise InvalidArguments([FieldError(show(found["loc"]), _message(found)) for found in error.errors()]) from None
    if query.q is not None and not query.q.strip():
        raise InvalidArguments([FieldError("q", "is empty; say what to search for")])
    if (query.q is None) == (query.vector is None):
        raise InvalidArguments([FieldError("q", "give either q (a text) or vector (a list of numbers)")])
    return query


async def find(gateway: state.Gateway, query: Query) -> dict[str, Any]:
    """The answer as plain data. Raises ModelWarming, InvalidArguments; 404 for an index that is not there."""
    if not await gateway.indexes.find(query.index):
        named = ", ".join(gateway.indexes.names)
        refuse(404, f"There is no index {query.index}; there is {named}.")
    vector = await _vector(gateway, query)
    try:
        found = await gateway.indexes.search(query.index, vector, query.k)
    except BadInput as error:
        raise InvalidArguments([FieldError("vector", str(error))]) from error
    return {
        "results": [
            {
                "bucket": hit.bucket,
                "key": hit.key,
                "score": hit.score,
                "text": hit.text,
                "chunk": hit.chunk,
                "start": hit.start,
                "end": hit.end,
                "etag": hit.etag,
                "meta": hit.meta,
            }
            for hit in found.hits
        ],
        "index": query.index,
        "version": found.version or None,
        "generation": found.generation,
    }


async def _vector(gateway: state.Gateway, query: Query) -> Vectors:
    import numpy as np

    if query.q is not None:
        embedded: Vectors = (await gateway.embedder.embed([query.q]))[0]
        return embedded
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which the index refuses
        return np.asarray(query.vector, dtype=np.float32)


def _numbers(text: str) -> Any:
    """`[0.1,0.2]` or `0.1,0.2` of a query string; what is neither is left for the model to refuse."""
    try:
        return from_json(text if text.startswith("[") else f"[{text}]", allow_inf_nan=False)
    except ValueError:
        return text


def _message(found: Any) -> str:
    if found["type"] == "extra_forbidden":
        return f"is not known here; there is {', '.join(Query.model_fields)}"
    message: str = found["msg"]
    return message
