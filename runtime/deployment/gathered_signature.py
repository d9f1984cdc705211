"""The parameters of a handler that takes a list: each call of the function gives one item of it."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic
from pydantic import TypeAdapter

from runtime.deployment.signature import CONTEXT, Signature, inspected, invalid
from runtime.deployment.upload_hints import parameter_hint
from runtime.errors import HandlerError
from runtime.file_document import UPLOAD

if TYPE_CHECKING:
    from runtime.invocations.blobs import Blobs

ITEM = "item"
"""The argument of a call whose item is no object: `{"item": 3}`."""


class GatheredSignature(Signature):
    """What one call of a gathered function accepts.

    For `def score(orders: list[Order], *, context)` a call's arguments are the fields of an Order; for
    `list[str]` they are `{"item": "text"}`.
    """

    def __init__(self, handler: Callable[..., Any]) -> None:
        """Raises HandlerError where the handler does not take exactly one list."""
        label, parameters, hints = inspected(handler)
        required = [
            name for name, one in parameters.items() if name != CONTEXT and one.default is inspect.Parameter.empty
        ]
        origin = typing.get_origin(hints.get(required[0])) if len(required) == 1 else None
        if origin not in (list, Sequence):
            raise HandlerError(
                f"{label} is gathered, so it takes one list of items, like `def {label}(items: list[Item], *, context)`"
            )
        self.parameter = required[0]
        self.takes_context = CONTEXT in parameters
        self.open = False
        (item,) = typing.get_args(hints[self.parameter])
        try:
            self._item: TypeAdapter[Any] = TypeAdapter(parameter_hint(item))
            shape = self._resolved()
            self._whole = UPLOAD not in shape and (shape.get("type") == "object" or "properties" in shape)
        except pydantic.errors.PydanticUserError as error:
            raise HandlerError(f"the items of {label} have no meaning in JSON: {str(error).splitlines()[0]}") from error
        self._handler, shown = handler, hints.get("return")
        self._returns = typing.get_args(shown)[0] if typing.get_origin(shown) in (list, Sequence) else None
        self.names = tuple(self._resolved().get("properties", ())) if self._whole else (ITEM,)

    def schema(self) -> dict[str, Any]:
        """JSON Schema of one call's arguments."""
        schema = self._item.json_schema()
        if self._whole:
            return self._resolved() | ({"$defs": schema["$defs"]} if "$defs" in schema else {})
        definitions = schema.pop("$defs", None)
        made: dict[str, Any] = {
            "type": "object",
            "properties": {ITEM: schema},
            "required": [ITEM],
            "additionalProperties": False,
        }
        return made | ({"$defs": definitions} if definitions else {})

    def validate(self, arguments: Mapping[str, Any], blobs: Blobs | None = None) -> dict[str, Any]:
        """`{ITEM: the item}`, as the type that the hint names. Raises InvalidArguments."""
        given = dict(arguments) if self._whole else arguments.get(ITEM)
        try:
            return {ITEM: self._item.validate_python(given, context={"blobs": blobs})}
        except pydantic.ValidationError as error:
            raise invalid(error) from None

    def call(self, handler: Callable[..., Any], items: Sequence[Any], context: Any) -> Any:
        """Call the handler with a list of items."""
        extra = {CONTEXT: context} if self.takes_context else {}
        return handler(**{self.parameter: list(items)}, **extra)

    def _resolved(self) -> dict[str, Any]:
        schema = self._item.json_schema()
        reference = schema.get("$ref", "").removeprefix("#/$defs/")
        return dict(schema["$defs"][reference]) if reference else schema
