"""What each route needs, beside gateway/routes.py: path → method → rule. A route without a rule is not served at all.

| rule | who may |
|---|---|
| `public` | everybody; nobody is asked. It must tell nothing of what is in the system |
| `open` | everybody; who is known is told more |
| `token` | who carries the token of notifications; the endpoint looks itself |
| `read`, `invoke`, `admin` | keys of this role and of those behind it |
| `whole admin` (or `whole read`) | such keys that are of no tenant: the route is about the whole installation |

Which functions a key may call is asked besides, by whatever calls one (gateway/access/permission.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from runtime.security.principal import Role

RANK: Mapping[Role, int] = {"read": 0, "invoke": 1, "admin": 2}
"""A role may what those before it may."""

_READ = {"GET": "read"}

RULES: Mapping[str, Mapping[str, str]] = {
    "/function/{name}": dict.fromkeys(("GET", "POST", "PUT", "PATCH", "DELETE"), "invoke"),
    "/async-function/{name}": {"POST": "invoke", "DELETE": "invoke"},
    "/search": {"GET": "read", "POST": "read"},
    "/api/v1/whoami": _READ,
    "/api/v1/keys": {"GET": "admin", "POST": "admin"},
    "/api/v1/keys/{name}": {"DELETE": "admin"},
    "/api/v1/tasks": _READ,
    "/api/v1/tasks/submit": {"POST": "invoke"},
    "/api/v1/tasks/batch": {"POST": "invoke"},
    "/api/v1/tasks/status/{id}": _READ,
    "/api/v1/tasks/task/{id}": _READ,
    "/api/v1/tasks/task/{id}/result": _READ,
    "/api/v1/tasks/task/{id}/logs": _READ,
    "/api/v1/tasks/task/{id}/events": _READ,
    "/api/v1/logs": _READ,
    "/api/v1/tasks/task/{id}/revoke": {"POST": "invoke"},
    "/api/v1/tasks/task/{id}/retry": {"POST": "invoke"},
    "/api/v1/tasks/queue/stats": _READ,
    "/api/v1/tasks/queue/{name}/purge": {"POST": "whole admin"},
    "/api/v1/tasks/workers/stats": _READ,
    "/api/v1/tasks/active": _READ,
    "/api/v1/tasks/tasks/active": _READ,
    "/api/v1/tasks/health": _READ,
    "/api/v1/tasks/summary": _READ,
    "/api/v1/tasks/history": _READ,
    "/api/v1/tasks/dead": _READ,
    "/api/v1/tasks/dead/redrive": {"POST": "invoke"},
    "/api/v1/tasks/dead/purge": {"POST": "admin"},
    "/api/v1/tasks/dead/{id}": _READ,
    "/api/v1/usage": _READ,
    "/functions": _READ,
    "/functions/{name}": _READ,
    "/buckets/{bucket}/{key:key}": {"GET": "read", "PUT": "invoke", "DELETE": "invoke"},
    "/documents": _READ,
    "/documents/{bucket}/{key:key}": _READ,
    "/events/{source}": {"POST": "token"},
    "/admin/index-version": _READ,
    "/admin/index/versions": _READ,
    "/admin/index/rollback": {"POST": "whole admin"},
    "/admin/index/release": {"POST": "whole admin"},
    "/admin/index/migration": _READ,
    "/admin/index/migrate": {"POST": "whole admin"},
    "/admin/index/migrate/cancel": {"POST": "whole admin"},
    "/admin/rebuild-embeddings": {"POST": "whole admin"},
    "/admin/trigger-rebuild": {"POST": "whole admin"},
    "/admin/events/dead": {"GET": "whole admin", "DELETE": "whole admin"},
    "/admin/buckets": _READ,
    "/admin/buckets/{bucket}/confirm": {"POST": "whole admin"},
    "/admin/schedules": _READ,
    "/admin/pause": {"GET": "read", "POST": "whole admin"},
    "/admin/resume": {"POST": "whole admin"},
    "/admin/reload": _READ,
    "/admin/replay": {"GET": "read", "POST": "admin"},
    "/admin/replay/{id}": {"GET": "read", "DELETE": "admin"},
    "/openapi.json": _READ,
    "/metrics": {"GET": "whole read"},
    "/healthz": {"GET": "public"},
    "/livez": {"GET": "public"},
    "/readyz": {"GET": "open"},
    "/signin": {"GET": "public", "POST": "public"},
    "/signout": {"POST": "public"},
    "/": {"GET": "public"},
    "/plain": _READ,
    "/docs": _READ,
    "/static/{file}": {"GET": "public"},
    "/static/dashboard/{file}": {"GET": "public"},
}


def missing(table: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Routes of the table that have no rule, as `METHOD path`."""
    return [
        f"{method} {path}" for path, methods in table.items() for method in methods if method not in RULES.get(path, {})
    ]
