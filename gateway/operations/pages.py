"""Pages that need no script: `/plain` shows the system and searches, `/docs` lists what can be called."""

from __future__ import annotations

import json
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

import redis
from starlette.requests import Request
from starlette.responses import Response

from gateway import state
from gateway.access import tenancy
from gateway.operations import functions as functions_api
from gateway.operations import metrics_system, openapi
from gateway.search import search
from gateway.web.problems import Refused
from runtime.errors import TundishError


async def plain(request: Request) -> Response:
    """Functions, queues, index and a search box, for browsers without script and for small ones."""
    gateway = state.of(request)
    system = await metrics_system.take(gateway)
    depths = {queue.name: queue.messages for queue in system.load.queues}
    words = request.query_params.get("q", "").strip()[: search.MOST_CHARACTERS]
    return _page(
        "plain.html",
        q=escape(words, quote=True),
        results=await _results(gateway, words, tenancy.only(request)) if words else "",
        functions="".join(_function_row(found) for found in gateway.deployment.functions.values()),
        queues="".join(_queue_row(name, depths.get(name)) for name in gateway.project.queues),
        indexes="".join(_index_row(gateway, name) for name in gateway.indexes.names),
        buckets=escape(", ".join(gateway.project.buckets()) or "none"),
        broker="answers" if system.up else "does not answer",
    )


async def reference(request: Request) -> Response:
    """What can be called, from the same description as `/openapi.json`."""
    gateway = state.of(request)
    paths = openapi.build(gateway.deployment)["paths"]
    routes = "".join(
        f"<tr><td><code>{method.upper()}</code></td><td><code>{escape(path)}</code></td>"
        f"<td>{escape(operation['summary'])}</td></tr>"
        for path, operations in paths.items()
        for method, operation in operations.items()
    )
    functions = "".join(_function_card(found, tenancy.only(request)) for found in gateway.deployment.functions.values())
    return _page("docs.html", routes=routes, functions=functions)


@cache
def _read(name: str) -> str:
    return (files("gateway") / "static" / name).read_text(encoding="utf-8")


def _page(name: str, **parts: str) -> Response:
    text = Template(_read(name)).substitute(parts)
    return Response(text, headers={"Cache-Control": "no-store"}, media_type="text/html")


async def _results(gateway: state.Gateway, words: str, only: str | None) -> str:
    try:
        found = await search.find(gateway, search.Query(q=words), only)
    except (Refused, TundishError, redis.RedisError) as error:
        return f'<p class="problem">{escape(str(error))}</p>'
    if not found["results"]:
        return "<p>Nothing was found.</p>"
    items = "".join(
        f'<li><p class="place"><b>{escape(hit["key"])}</b> <span>{escape(hit["bucket"])}</span> '
        f'<span class="score">{hit["score"]:.3f}</span></p><p>{escape(hit["text"][:400])}</p></li>'
        for hit in found["results"]
    )
    return f"<ol>{items}</ol><p class=note>Index version {escape(str(found['version']))}</p>"


def _function_row(found: Any) -> str:
    spec = found.spec
    kinds = [kind for kind, there in (("http", spec.http), ("cron", spec.crons), ("bucket", spec.buckets)) if there]
    note = f'<p class="problem">{escape(found.error)}</p>' if found.error else ""
    summary = escape(found.doc.strip().partition("\n")[0])
    return (
        f'<tr><th scope="row"><a href="/docs#{escape(spec.name)}">{escape(spec.name)}</a></th>'
        f"<td>{summary}{note}</td><td>{escape(spec.queue)}</td><td>{', '.join(kinds)}</td></tr>"
    )


def _queue_row(name: str, depth: int | None) -> str:
    shown = "?" if depth is None else depth
    return f'<tr><th scope="row">{escape(name)}</th><td data-queue="{escape(name, quote=True)}">{shown}</td></tr>'


def _index_row(gateway: state.Gateway, name: str) -> str:
    version = gateway.indexes.versions().get(name)
    vectors = f"{version.vectors:,}" if version else "0"
    label = f"{version.version} (generation {version.generation})" if version else "none yet"
    trouble = gateway.indexes.trouble(name)
    note = f'<p class="problem">{escape(trouble)}</p>' if trouble else ""
    return f'<tr><th scope="row">{escape(name)}</th><td>{escape(label)}{note}</td><td>{vectors}</td></tr>'


def _function_card(found: Any, only: str | None) -> str:
    told = functions_api.seen_by(functions_api.describe(found), only)
    schema = escape(json.dumps(found.schema, indent=2, ensure_ascii=False))
    triggers = escape(json.dumps(told["triggers"], indent=2, ensure_ascii=False))
    return (
        f'<section id="{escape(found.spec.name)}"><h3>{escape(found.spec.name)}</h3>'
        f"<p class=doc>{escape(found.doc.strip())}</p>"
        f"<details><summary>Arguments</summary><pre>{schema}</pre></details>"
        f"<details><summary>Triggers</summary><pre>{triggers}</pre></details></section>"
    )
