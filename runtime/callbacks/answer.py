"""What is posted to a callback URL: an ended invocation as JSON."""

from __future__ import annotations

import json

from runtime.file_document import shown
from runtime.invocations.invocation import Invocation
from runtime.values import trace_context


def message(record: Invocation) -> tuple[bytes, dict[str, str]]:
    """The body and the headers, without the signature. The bytes of the result are passed on as they are.

    A file, and a result that is in the store, is not posted: `result_url` says where the gateway has it.
    """
    error = record.error
    told = {
        "task_id": record.id,
        "status": record.celery_status,
        "state": record.state,
        "function": record.function,
        "error": {name: error[name] for name in ("type", "message", "fields") if error.get(name)} if error else None,
        "attempts": record.attempts,
        "created": record.created,
        "started": record.started,
        "ended": record.ended,
        "duration_seconds": record.seconds,
        "tenant": record.tenant,
        "root_id": record.root,
        "parent_id": record.parent,
        "result_url": f"/api/v1/tasks/task/{record.id}/result" if record.result_ref or record.result_type else None,
    }
    result = record.result_json or b"null"
    if record.result_type is not None:
        result = json.dumps(shown(json.loads(result))).encode()
    body = b'%s,"result":%s}' % (json.dumps(told).encode()[:-1], result)
    headers = {"Content-Type": "application/json", "User-Agent": "Tundish"}
    return body, headers | trace_context.headers(record.trace)
