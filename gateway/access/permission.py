"""Whether a request may call a function: asked on every way that leads to a call."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from starlette.requests import Request

from gateway import state
from gateway.web import principal
from runtime.config.settings import Function
from runtime.invocations.invocation import Invocation

CLI_HEADER = "X-Tundish-Cli"


def refusal(request: Request, spec: Function) -> str | None:
    """Why this request may not call this function by its name, if so.

    Without an `http:` trigger only administrators may, and they have to say that they mean it: so nobody calls by
    mistake what is there for schedules and buckets.
    """
    if told := barred(request, spec.name, spec.role):
        return told
    who, name = principal.of(request), spec.name
    if spec.http or (who.role == "admin" and request.headers.get(CLI_HEADER) == "1"):
        return None
    return (
        f"{name} has no http trigger. Add `http: {{}}` to its triggers in functions.yaml, "
        f"or call it as an administrator: tundish invoke {name} (or send {CLI_HEADER}: 1)."
    )


def barred(request: Request, function: str, role: str) -> str | None:
    """Why whoever sent this request may have nothing to do with calls of a function, however they came about."""
    who = principal.of(request)
    if role == "admin" and who.role == "admin" and who.confined:
        return (
            f"{function} works on the whole installation (`role: admin` in functions.yaml), "
            f"and the key {who.name} is of tenant {who.tenant}."
        )
    if who.may_call(function, role):
        return None
    if who.role == "read":
        return f"The key {who.name} has the role read: it may look, and call nothing."
    if who.functions is not None and function not in who.functions:
        return f"The key {who.name} may not call {function}, only {', '.join(sorted(who.functions)) or 'nothing'}."
    return f"{function} is for administrators (`role: admin` in functions.yaml); the key {who.name} is {who.role}."


def beyond(request: Request, functions: Iterable[str], does: str = "calls") -> str | None:
    """Which of these functions, that something is about to call by itself, the key of this request may not call.

    `does` says in words what would be done with them.
    """
    who = principal.of(request)
    others = [name for name in functions if who.functions is not None and name not in who.functions]
    if not others:
        return None
    mine = ", ".join(sorted(who.functions or ())) or "nothing"
    return f"{does} {', '.join(others)}; the key {who.name} may call {mine}."


def barred_from(request: Request) -> Callable[[Invocation], str | None]:
    """The same for calls that are recorded, as a question that can be asked in a thread."""
    functions, who = state.of(request).project.functions, principal.of(request)

    def ask(record: Invocation) -> str | None:
        if not who.sees(record.tenant):
            return "it is not recorded"  # as what is not there
        spec = functions.get(record.function)
        return barred(request, record.function, spec.role if spec else "invoke")

    return ask
