"""`GET|POST /search`: the nearest chunks to a text or a vector, from the version that is loaded now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError
from pydantic_core import from_json, to_json
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.search import filters
from gateway.search.filters import Filter
from gateway.search.indexes import DEFAULT
from gateway.web import body
from gateway.web.problems import refuse
from gateway.web.schemas import show
from runtime.config.model import Name
from runtime.errors import BadInput, FieldError, IndexUnavailable, InvalidArguments, NoWords, OtherModel

if TYPE_CHECKING:
    from runtime.context import Vectors
    from runtime.index.hybrid import Mode

MOST_CHARACTERS = 20_000
MOST_DIMENSIONS = 16_384
SWITCHES = 3
"""So often a text is embedded again because its index got another model meanwhile."""


class Query(BaseModel):
    """What is searched for: `q` (a text) or `vector` (of the model's dimensions; its length does not matter).

    Only what passes `filter` is looked at. `min_score`: the least cosine of a result. `group: document`: `k` documents,
    each with its best chunk. `mode`: by meaning, by words, or by both, which is the default of an index that has words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Annotated[str, Field(max_length=MOST_CHARACTERS)] | None = None
    vector: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=MOST_DIMENSIONS)] | None = None
    k: Annotated[int, Field(ge=1, le=100)] = 10
    index: Name = DEFAULT
    filter: Filter | None = None
    min_score: Annotated[FiniteFloat, Field(ge=-1, le=1)] | None = None
    group: Literal["document"] | None = None
    mode: Literal["vector", "text", "hybrid"] | None = None


async def search(request: Request) -> Response:
    """200 with the results and the index version that they are from, even where there are none."""
    began = time.perf_counter()
    query = await read_query(request)
    answer = await find(state.of(request), query, tenancy.only(request))
    answer["took_ms"] = round((time.perf_counter() - began) * 1000, 3)
    headers = {"X-Index-Version": answer["version"] or "none", "Cache-Control": "no-store"}
    return Response(to_json(answer), headers=headers, media_type="application/json")


async def read_query(request: Request) -> Query:
    """The query of a request. 400, or 422 with every bad field."""
    spread = False
    if request.method == "POST":
        given: dict[str, Any] = await body.json_object(request, state.of(request).project.limits.body)
    else:
        given, spread = filters.of_query(request.query_params)
        if "vector" in given:
            given["vector"] = _numbers(given["vector"])
    try:
        query = Query.model_validate(given)
    except ValidationError as error:
        # What was a parameter is named as one.
        found = [(show(one["loc"]).removeprefix("filter." if spread else ""), _message(one)) for one in error.errors()]
        raise InvalidArguments([FieldError(name, message) for name, message in found]) from None
    if query.q is not None and not query.q.strip():
        raise InvalidArguments([FieldError("q", "is empty; say what to search for")])
    if (query.q is None) == (query.vector is None):
        raise InvalidArguments([FieldError("q", "give either q (a text) or vector (a list of numbers)")])
    if query.q is None and query.mode not in (None, "vector"):
        raise InvalidArguments([FieldError("mode", f"{query.mode} needs words: give q (a text) instead of vector")])
    return query


async def find(gateway: state.Gateway, query: Query, only: str | None) -> dict[str, Any]:
    """The answer as plain data; `only`: the one tenant whose rows may be found.

    Raises ModelWarming, InvalidArguments; 404 for an index that is not there.
    """
    if not await gateway.indexes.find(query.index):
        named = ", ".join(gateway.indexes.names)
        refuse(404, f"There is no index {query.index}; there is {named}.")
    came = time.time_ns()
    await gateway.indexes.reader()
    from runtime.index.search import Search  # the reader has imported it, in a thread

    mode = _mode(gateway, query)
    for _ in range(SWITCHES):
        model, vector = await _vector(gateway, query)
        began = time.perf_counter()
        try:
            wanted = (query.filter or Filter()).wanted(only) if query.filter or only is not None else None
            asked = Search(
                vector,
                query.k,
                wanted or None,
                query.min_score,
                query.group == "document",
                model,
                query.q or "",
                mode,
            )
            found = await gateway.indexes.search(query.index, asked)
            break
        except OtherModel:  # the index went over to another model while the text was embedded
            continue
        except NoWords as error:
            if query.mode:
                hint = f"no segment of index {query.index} has words yet; to bring them: tundish index build"
                raise InvalidArguments([FieldError("mode", hint)]) from error
            mode = "vector"
        except BadInput as error:
            raise InvalidArguments([FieldError("vector", str(error))]) from error
    else:
        raise IndexUnavailable(f"Index {query.index} changes its model just now. Try again in a few seconds.")
    gateway.search_times.add(query.index, time.perf_counter() - began)
    gateway.swaps.searched(query.index, found.generation, came)
    return {
        "results": [
            {
                "bucket": hit.bucket,
                "key": hit.key if hit.bucket or only is None else hit.key.removeprefix(f"@{only}/"),
                "score": hit.score,
                "text": hit.text,
                "chunk": hit.chunk,
                "start": hit.start,
                "end": hit.end,
                "etag": hit.etag,
                "meta": hit.meta,
                **({} if hit.further is None else {"further": hit.further}),
            }
            for hit in found.hits
            # A place that has another owner now: its rows say so when they are embedded again.
            if only is None or not hit.bucket or gateway.owners.of(hit.bucket, hit.key) == only
        ],
        "index": query.index,
        "mode": mode,
        "version": found.version or None,
        "generation": found.generation,
    }


def _mode(gateway: state.Gateway, query: Query) -> Mode:
    """By what is searched. Raises InvalidArguments where the index has no words."""
    if gateway.project.is_hybrid(query.index):
        return query.mode or ("vector" if query.q is None else "hybrid")
    if query.mode in (None, "vector"):
        return "vector"
    hint = f"write `indexes: {{{query.index}: {{hybrid: true}}}}` into functions.yaml, then: tundish index build"
    raise InvalidArguments([FieldError("mode", f"index {query.index} has no words to search by; {hint}")])


async def _vector(gateway: state.Gateway, query: Query) -> tuple[str, Vectors]:
    """The vector, and the model that made it, which is the one of the version in use; empty where it was given."""
    import numpy as np

    if query.q is not None:
        version = await gateway.indexes.version(query.index)
        model = version.model if version else ""
        embedded: Vectors = (await gateway.embedder.embed([query.q], model))[0]
        return model, embedded
    with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite, which the index refuses
        return "", np.asarray(query.vector, dtype=np.float32)


def _numbers(text: str) -> Any:
    """`[0.1,0.2]` or `0.1,0.2` of a query string; what is neither is left for the model to refuse."""
    try:
        return from_json(text if text.startswith("[") else f"[{text}]", allow_inf_nan=False)
    except ValueError:
        return text


def _message(found: Any) -> str:
    if found["type"] == "extra_forbidden":
        known = Query if len(found["loc"]) == 1 else Filter
        return f"is not known here; there is {', '.join(known.model_fields)}"
    message: str = found["msg"]
    return message.removeprefix("Value error, ")
