"""A handler's parameters: their JSON Schema for the edge, their full validation for the worker."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NotRequired, Required  # typing's own lacks what pydantic needs on 3.11

import pydantic
from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from runtime.deployment.upload_hints import parameter_hint, result_schema
from runtime.errors import FieldError, HandlerError, InvalidArguments

if TYPE_CHECKING:
    from runtime.invocations.blobs import Blobs

CONTEXT = "context"
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature:
    """What a handler accepts. `names` are the parameters in order, without `context`."""

    def __init__(self, handler: Callable[..., Any]) -> None:
        """Raises HandlerError where a parameter cannot be given by name or has no meaning in JSON."""
        label, parameters, hints = inspected(handler)
        self.takes_context = CONTEXT in parameters
        self.open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        fields: dict[str, Any] = {}
        self._defaults: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if name == CONTEXT or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            if parameter.kind not in _BY_NAME:
                message = f"parameter {name} of {label} is positional-only; arguments come by name: remove the /"
                raise HandlerError(message)
            hint = parameter_hint(hints.get(name, Any))
            required = parameter.default is parameter.empty
            fields[name] = Required[hint] if required else NotRequired[hint]
            if not required:
                self._defaults[name] = parameter.default
        self.names = tuple(fields)
        self._adapter = self._build(label, fields)
        self._handler, self._returns = handler, hints.get("return")

    def _build(self, label: str, fields: dict[str, Any]) -> TypeAdapter[Any]:
        # Built at run time from a signature, which is why it cannot be written as a class.
        shape = TypedDict("Arguments", fields)  # type: ignore[operator, misc, unused-ignore]
        config = pydantic.with_config(ConfigDict(extra="allow" if self.open else "forbid"))
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(config(shape))
            adapter.json_schema()
        except (pydantic.errors.PydanticUserError, NameError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise HandlerError(f"a type hint of {label} has no meaning in JSON: {reason}") from error
        return adapter

    def schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of the keyword arguments, with the defaults that JSON can say."""
        schema = self._adapter.json_schema()
        schema.pop("title", None)
        for name, value in self._defaults.items():
            if value is None or isinstance(value, bool | int | float | str):
                schema["properties"][name]["default"] = value
        return schema

    def returns(self) -> dict[str, Any] | None:
        """JSON Schema of the result, where there is a hint that has one."""
        return result_schema(self._handler, self._returns, _schema_of)

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Positional arguments (other Celery programs send them) by name. Raises InvalidArguments."""
        if len(args) > len(self.names):
            message = f"{len(args)} positional arguments were given, at most {len(self.names)} fit"
            raise InvalidArguments([FieldError("arguments", message)])
        return {**dict(zip(self.names, args, strict=False)), **kwargs}

    def validate(self, arguments: Mapping[str, Any], blobs: Blobs | None = None) -> dict[str, Any]:
        """The arguments as the types that the hints name; large files among them are in `blobs`.

        Raises InvalidArguments with every bad field.
        """
        try:
            result: dict[str, Any] = self._adapter.validator.validate_python(dict(arguments), context={"blobs": blobs})
            return result
        except pydantic.ValidationError as error:
            raise invalid(error) from None


def invalid(error: pydantic.ValidationError) -> InvalidArguments:
    """Every bad field, in our words."""
    details = error.errors(include_url=False, include_context=False)
    return InvalidArguments([FieldError(_field(d["loc"]), _words(d)) for d in details])


def _hints(handler: Callable[..., Any]) -> dict[str, Any]:
    """The type hints. That of the result may name what is imported for type checkers only: then nobody knows it."""
    try:
        return typing.get_type_hints(handler, include_extras=True)
    except NameError:
        names = getattr(inspect.unwrap(handler), "__globals__", {})
        known = {name: hint for name, hint in inspect.get_annotations(handler).items() if name != "return"}
        return typing.get_type_hints(SimpleNamespace(__annotations__=known), names, include_extras=True)


def _schema_of(hint: Any) -> dict[str, Any] | None:
    try:
        return TypeAdapter(hint).json_schema(mode="serialization")
    except (pydantic.errors.PydanticUserError, NameError, TypeError):
        return None


def inspected(handler: Callable[..., Any]) -> tuple[str, Mapping[str, inspect.Parameter], dict[str, Any]]:
    """Name, parameters and type hints of a handler. Raises HandlerError where they cannot be read."""
    label = getattr(handler, "__name__", type(handler).__name__)
    try:
        return label, inspect.signature(handler).parameters, _hints(handler)
    except (NameError, TypeError, ValueError) as error:
        raise HandlerError(f"the type hints of {label} cannot be read: {error}") from error


def _field(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "arguments"


def _words(detail: Any) -> str:
    plain = {"extra_forbidden": "there is no such parameter", "missing": "is required"}
    return plain.get(detail["type"]) or str(detail["msg"]).removeprefix("Value error, ").replace(
        "Input should be", "must be"
    )
