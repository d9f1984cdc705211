"""Calls that bring files: `multipart/form-data`, or one file as the whole body with the other arguments in the query.

Small files lie in the record; others go to the store while they come (a form's parts by way of the disk), and the
function fetches them from there. Nothing large is held in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO, Never

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from gateway.calls.incoming import Incoming, too_large
from gateway.calls.upload_fields import Upload, of_body, uploads, value_of
from gateway.web.form_parser import FormParser
from gateway.web.problems import refuse
from runtime.errors import FieldError, InvalidArguments
from runtime.file import File
from runtime.file_document import document
from runtime.invocations.blobs import arguments_name
from runtime.values.units import format_size

if TYPE_CHECKING:
    from gateway.state import Gateway
    from runtime.deployment.deployment import Deployed

MULTIPART = "multipart/form-data"
INLINE_BYTES = 32 * 2**10
"""All files of a call together that its record holds."""
_CHUNK = 2**20


async def arguments(
    request: Request, gateway: Gateway, deployed: Deployed, task_id: str, kind: str
) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The arguments that a body of another type than JSON brings, and what they are known by (hashes, not files).

    None where the function takes no such body. 400, 413, 415, 422, 503.
    """
    found = uploads(deployed.schema)
    if not found:
        return None
    bag = _Bag(request, gateway, deployed, task_id)
    if kind == MULTIPART:
        return await bag.form(found)
    target = of_body(found)
    if target is None:
        _refuse_type(f"The body is {kind or 'of no type'}; {deployed.spec.name} takes several files", MULTIPART)
    if not target.takes(kind):
        _refuse_type(f"The body is {kind}; {target.name} takes {', '.join(target.kinds)}", *target.kinds, MULTIPART)
    return await bag.body(target, kind)


class _Bag:
    """The files and texts of one request."""

    def __init__(self, request: Request, gateway: Gateway, deployed: Deployed, task_id: str) -> None:
        self._request, self._gateway, self._deployed, self._task_id = request, gateway, deployed, task_id
        self._limit = gateway.project.limits.upload
        self._inline = self._held = self._count = 0
        self._hashed = "idempotency-key" in request.headers
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._limit:
            too_large(self._limit)

    async def body(self, target: Upload, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The whole body is one file."""
        named = File(b"", _file_name(self._request.headers.get("content-disposition", "")), _media_type(kind))
        query = self._request.query_params
        texts = {name: self._text(name, query.getlist(name)) for name in query}
        self._check({**texts, target.name: target.stand_in})
        stream = self._request.stream()
        head = b""
        async for part in stream:
            head += part
            if len(head) > INLINE_BYTES:
                break
        if len(head) <= INLINE_BYTES:
            told = self._inlined(named, head)
        else:
            data = Incoming(_chained(head, stream), self._limit)
            told = await self._put(named, data, None)
        return {**texts, target.name: told}, {**texts, target.name: _identity(told)}

    async def form(self, found: Mapping[str, Upload]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Files and texts by the names of parameters."""
        limited = self._limited(self._request.stream())
        parser = FormParser(self._request.headers, limited, self._gateway.project.limits.body)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            refuse(400, f"The body is no form that can be read: {error.message}")
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(form.close)
            return await self._filled(form, found)

    async def _filled(self, form: FormData, found: Mapping[str, Upload]) -> tuple[dict[str, Any], dict[str, Any]]:
        names = list(dict.fromkeys(form.keys()))
        texts: dict[str, Any] = {}
        wrong = []
        for name in names:
            parts = form.getlist(name)
            if name in found:
                wrong += _wrong(found[name], parts)
            elif any(isinstance(part, UploadFile) for part in parts):
                wrong.append(FieldError(name, f"is a file; the function takes files as {', '.join(found)}"))
            else:
                texts[name] = self._text(name, [str(part) for part in parts])
        if wrong:
            raise InvalidArguments(wrong)
        given = [one for name, one in found.items() if name in names]
        stood = {one.name: [one.stand_in] * len(form.getlist(one.name)) if one.many else one.stand_in for one in given}
        self._check({**texts, **stood})
        files: dict[str, Any] = {}
        for one in given:
            told = [await self._part(part) for part in form.getlist(one.name)]
            files[one.name] = told if one.many else told[0]
        known = {
            name: list(map(_identity, value)) if isinstance(value, list) else _identity(value)
            for name, value in files.items()
        }
        return {**texts, **files}, {**texts, **known}

    async def _part(self, part: UploadFile | str) -> dict[str, Any]:
        if isinstance(part, str):
            data, named = part.encode(), File(b"", content_type="text/plain")
            if self._inline + len(data) <= INLINE_BYTES:
                return self._inlined(named, data)
            return await self._put(named, io.BytesIO(data), len(data))
        named = File(b"", part.filename, _media_type(part.content_type))
        size = part.size or 0
        if self._inline + size <= INLINE_BYTES:
            return self._inlined(named, await part.read())
        return await self._put(named, part.file, size)

    def _inlined(self, named: File, data: bytes) -> dict[str, Any]:
        self._inline += len(data)
        digest = {"sha256": hashlib.sha256(data).hexdigest()} if self._hashed else {}
        return document(named, data=data, **digest) | {"size": len(data)}

    async def _put(self, named: File, data: Any, size: int | None) -> dict[str, Any]:
        """A file on its way to the store. Without a store it stays in the call, where all are small enough for that."""
        hashed = _Hashed(data) if self._hashed else None
        if not self._gateway.settings.store.endpoint:
            most = self._gateway.project.limits.body
            held = await self._gateway.in_thread(_read_up_to, hashed or data, most - self._held)
            if held is None:
                refuse(413, f"Files over {format_size(most)} (limits.body) need a store, and none is configured.")
            self._held += len(held)
            return document(named, data=held, **_digest(hashed)) | {"size": len(held)}
        self._count += 1
        place = f"{arguments_name(self._task_id)}/{self._count}"
        blobs = self._gateway.blobs
        size = await self._gateway.in_thread(blobs.put_file, place, hashed or data, size, named.content_type)
        return document(named, ref=place, **_digest(hashed)) | {"size": size}

    def _text(self, name: str, texts: list[str]) -> Any:
        return value_of(texts, self._deployed.schema.get("properties", {}).get(name))

    def _check(self, shown: Mapping[str, Any]) -> None:
        self._gateway.schemas.check(self._deployed.spec.name, shown)

    async def _limited(self, stream: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        size = 0
        async for part in stream:
            size += len(part)
            if size > self._limit:
                too_large(self._limit)
            yield part


class _Hashed:
    """A readable that hashes what is read."""

    def __init__(self, data: BinaryIO) -> None:
        self._data, self.hash = data, hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        data = self._data.read(size)
        self.hash.update(data)
        return data


def _digest(hashed: _Hashed | None) -> dict[str, str]:
    return {"sha256": hashed.hash.hexdigest()} if hashed else {}


def _identity(told: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a file the same as another one."""
    return {name: told.get(name) for name in ("name", "content_type", "size", "sha256")}


def _wrong(one: Upload, parts: list[Any]) -> list[FieldError]:
    if len(parts) > 1 and not one.many:
        return [FieldError(one.name, f"takes one file, and {len(parts)} were sent")]
    kinds = [_media_type(part.content_type) for part in parts if isinstance(part, UploadFile)]
    bad = [kind for kind in kinds if not one.takes(kind.partition(";")[0].strip().lower())]
    return [FieldError(one.name, f"takes {', '.join(one.kinds)}; a part is {kind}") for kind in bad]


def _media_type(given: str | None) -> str:
    try:
        return File(b"", content_type=given or "").content_type
    except ValueError as error:
        refuse(400, f"A Content-Type cannot be read: {error}")


def _file_name(disposition: str) -> str | None:
    """The name in a Content-Disposition header."""
    from python_multipart.multipart import parse_options_header

    name = parse_options_header(disposition)[1].get(b"filename")
    return name.decode("utf-8", "replace") if name else None


def _read_up_to(data: Any, most: int) -> bytes | None:
    parts, size = [], 0
    while part := data.read(_CHUNK):
        size += len(part)
        if size > most:
            return None
        parts.append(part)
    return b"".join(parts)


async def _chained(head: bytes, rest: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield head
    async for part in rest:
        yield part


def _refuse_type(sentence: str, *kinds: str) -> Never:
    refuse(415, f"{sentence}. Send {' or '.join(kinds)}.", headers={"Accept-Post": ", ".join(kinds)})
