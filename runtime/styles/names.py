"""Words that the gateway and the adapters share."""

from __future__ import annotations

REQUEST = "http_request"
"""The argument in which the gateway hands a request over: {method, path, query, headers, body | body_base64}."""
