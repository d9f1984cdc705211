"""CloudEvents 1.0 over HTTP: structured, batched and binary ones become the arguments and the `event` of a call.

Data that is a JSON object is the arguments. Any other data is one argument: `data`, or `data_base64` for bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Never
from urllib.parse import unquote_to_bytes

from pydantic_core import to_json
from starlette.datastructures import Headers

from gateway.web import body
from gateway.web.problems import field_errors, refuse
from runtime.errors import FieldError

KINDS = "application/cloudevents"
STRUCTURED = "application/cloudevents+json"
BATCH = "application/cloudevents-batch+json"
MOST_EVENTS = 1000
MOST_BYTES = 32 * 2**10
"""Of an event's attributes together. They stay in the record; only data is put into the store."""

REQUIRED = ("specversion", "id", "source", "type")
_PREFIX = "ce-"
_MARKS = frozenset(f"{_PREFIX}{name}".encode() for name in REQUIRED)
_NAME = re.compile(r"[a-z0-9]+")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_DATA = ("data", "data_base64")
_TEXTS = ("datacontenttype", "dataschema", "subject")


@dataclass(frozen=True, slots=True)
class Event:
    """The attributes, and what the function is called with."""

    attributes: Mapping[str, Any]
    arguments: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        """Source and id name an event: one that comes again is the same."""
        return "cloudevent", str(self.attributes["source"]), str(self.attributes["id"])


class Malformed(Exception):
    """What is wrong with an event."""

    def __init__(self, errors: list[FieldError]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in errors))
        self.errors = errors


def is_binary(headers: Headers) -> bool:
    """Whether a request is an event in binary mode: one of the required attributes is a header."""
    return not _MARKS.isdisjoint(name for name, _ in headers.raw)


def binary(headers: Headers, kind: str, data: bytes) -> Event:
    """An event whose attributes are headers (percent-encoded) and whose data is the body. 400, 422."""
    attributes: dict[str, Any] = {}
    errors = []
    for name in sorted({name for name in headers if name.startswith(_PREFIX)}):
        try:
            [value] = headers.getlist(name)
            attributes[name.removeprefix(_PREFIX)] = unquote_to_bytes(value.strip().strip('"')).decode()
        except ValueError:
            errors.append(FieldError(name, "is given once, as percent-encoded UTF-8"))
    if "content-type" in headers:
        attributes["datacontenttype"] = headers["content-type"]
    errors += [FieldError(f"{_PREFIX}{error.field}", error.message) for error in _wrong(attributes)]
    if errors:
        _refuse(errors)
    return Event(attributes, _from_bytes(kind, data))


def structured(data: bytes) -> Event:
    """An event as one JSON object. 400, 422."""
    try:
        return _event(body.parse(data))
    except Malformed as error:
        _refuse(error.errors)


def batch(data: bytes) -> list[Event]:
    """Events as a JSON array, all of them or none. 400, 413, 422."""
    values = body.parse(data)
    if not isinstance(values, list):
        refuse(400, f"A batch of CloudEvents is a JSON array, found {body.kind_of(values)}.")
    if len(values) > MOST_EVENTS:
        refuse(413, f"The batch has {len(values)} events; {MOST_EVENTS} are taken at a time.")
    events, errors = list[Event](), list[FieldError]()
    for position, value in enumerate(values):
        try:
            events.append(_event(value))
        except Malformed as error:
            errors += [FieldError(f"[{position}].{one.field}", one.message) for one in error.errors]
    if errors:
        _refuse(errors[:100])
    return events


def _event(value: Any) -> Event:
    if not isinstance(value, dict):
        raise Malformed([FieldError("event", f"is a JSON object, found {body.kind_of(value)}")])
    data, encoded = value.get("data"), value.get("data_base64")
    # The JSON format takes null for an attribute that is not set.
    attributes = {name: item for name, item in value.items() if name not in _DATA and item is not None}
    errors = _wrong(attributes)
    if encoded is not None:
        if data is not None:
            errors.append(FieldError("data_base64", "stands beside data; an event has one of them"))
        elif not isinstance(encoded, str) or not _is_base64(encoded):
            errors.append(FieldError("data_base64", "is not base64"))
    if errors:
        raise Malformed(errors)
    if encoded is not None:
        return Event(attributes, {"data_base64": encoded})
    return Event(attributes, _from_value(data))


def _from_value(data: Any) -> Mapping[str, Any]:
    if data is None:
        return {}
    return data if isinstance(data, dict) else {"data": data}


def _from_bytes(kind: str, data: bytes) -> Mapping[str, Any]:
    if not data:
        return {}
    if body.is_json(kind):
        value = body.parse(data)
        return {"data": None} if value is None else _from_value(value)
    if kind.startswith("text/"):
        try:
            return {"data": data.decode()}
        except UnicodeDecodeError as error:
            refuse(400, f"The data is {kind}, but not UTF-8 (byte {error.start}).")
    return {"data_base64": base64.b64encode(data).decode()}


def _wrong(attributes: Mapping[str, Any]) -> list[FieldError]:
    """Everything that is wrong with the attributes."""
    errors = [FieldError(name, "is missing") for name in REQUIRED if name not in attributes]
    for name, value in attributes.items():
        if not _NAME.fullmatch(name):
            errors.append(FieldError(name[:50], "is no name of an attribute: those are lower-case letters and digits"))
        elif name == "specversion" and value != "1.0":
            errors.append(FieldError(name, f"is {str(value)[:20]!r}; this gateway understands 1.0"))
        elif name in REQUIRED and not (isinstance(value, str) and value):
            errors.append(FieldError(name, "is a string that is not empty"))
        elif name in _TEXTS and not (isinstance(value, str) and value):
            errors.append(FieldError(name, "is a string that is not empty, where it is given"))
        elif name == "time" and not (isinstance(value, str) and _TIME.fullmatch(value)):
            errors.append(FieldError(name, "is no instant like 2026-03-01T12:00:00Z (RFC 3339)"))
        elif not isinstance(value, str | int | bool):
            errors.append(FieldError(name, "is neither a string, nor a whole number, nor a boolean"))
    size = len(to_json(attributes))
    if size > MOST_BYTES:
        errors.append(FieldError("attributes", f"have {size} bytes together; {MOST_BYTES} are taken"))
    return errors


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _refuse(errors: list[FieldError]) -> Never:
    """400 with everything that is wrong."""
    detail = "; ".join(f"{error.field}: {error.message}" for error in errors)
    refuse(400, f"This is not a CloudEvent of version 1.0: {detail}.", errors=field_errors(errors))
