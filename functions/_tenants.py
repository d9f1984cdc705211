"""Whose a document is, and what a caller of one tenant may have embedded or removed.

Texts that come in a call have no bucket whose owner could be asked. Those of a tenant other than the default one are
called `@TENANT/ID` in the index, so that the same id can be used by each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runtime.context import Context, Document, ObjectEvent
from runtime.errors import BadInput

from ._members import Member, text_key

DEFAULT = "default"


def named(
    documents: Sequence[Document], objects: Sequence[ObjectEvent], context: Context
) -> tuple[list[Document], list[ObjectEvent]]:
    """The same, under the names that texts have in the index. Raises BadInput for what is another tenant's."""
    if context.tenant == DEFAULT and not context.confined:
        return list(documents), list(objects)
    if context.confined:
        for event in objects:
            if event.bucket and context.owner(event.bucket, event.key) != context.tenant:
                raise BadInput(f"There is no object {event.key} in the bucket {event.bucket}. Check both names.")
    return (
        [replace(one, id=_name(text_key(one), context)) for one in documents],
        [one if one.bucket else replace(one, key=_name(one.key, context)) for one in objects],
    )


def tenant_of(member: Member, context: Context) -> str:
    """Whose its rows are: an object's owner's, whoever has it embedded; what came in a call is the caller's."""
    return context.owner(member.bucket, member.key) if member.bucket else context.tenant


def _name(key: str, context: Context) -> str:
    if context.tenant != DEFAULT:
        mine = f"@{context.tenant}/"
        return key if key.startswith(mine) else f"{mine}{key}"
    if context.confined and key.startswith("@"):
        raise BadInput(f"{key[:100]!r} cannot be the id of a document: those that begin with @ are of other tenants.")
    return key
