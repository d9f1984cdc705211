"""Who sends a request, and whether it may: asked before any endpoint runs, by the table in gateway/access/rules.py.

A key or token comes as `Authorization: Bearer …`, or in the cookie that the dashboard's sign-in sets. Where no
authentication is asked for, nothing is looked at, and everybody is this machine's administrator.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, NoReturn

import redis
import redis.asyncio
from starlette.requests import Request

from gateway.access import credentials
from gateway.access.admin_file import AdminFile
from gateway.access.failures import MOST, Failures
from gateway.access.known_keys import KnownKeys
from gateway.access.refusals import Refusals
from gateway.access.rules import RANK
from gateway.web.principal import SCOPE_KEY
from gateway.web.problems import Refused, refuse
from runtime.callers import access, admin_key, api_keys
from runtime.config.settings import Settings
from runtime.security.principal import Principal

if TYPE_CHECKING:
    from gateway.access.tokens import Tokens

ANONYMOUS = Principal("anonymous", "read", tenant="", functions=frozenset())
"""Who said nothing of themselves, on a route that is open to everybody: it sees nothing and may nothing."""

ADMIN = Principal(api_keys.ADMIN, "admin", confined=False)
"""Whoever has the key of the file."""

_GOOD = 10_000
log = logging.getLogger("tundish.auth")


class Unknown(Exception):
    """Nobody is known by this credential: why, for the log and for whoever sent it. It never holds the secret."""


class Auth:
    """The door of one gateway."""

    def __init__(self, settings: Settings, client: redis.asyncio.Redis) -> None:
        self.required = access.required(settings)
        self.failures = Failures()
        self.refusals = Refusals()
        self._keys = KnownKeys(client)
        self._admin = AdminFile(admin_key.place(settings))
        self._jwt, self._root = settings.project.auth.jwt, settings.root
        self._tokens: Tokens | None = None
        self._good: OrderedDict[str, None] = OrderedDict()
        """Hashes of what was right before: these may try again, whoever else fails at their address."""

    async def admit(self, request: Request, rule: str) -> None:
        """Let a request pass, with its principal in the scope. 401, 403, 429; 303 to the sign-in for pages."""
        if not self.required:
            return
        request.scope[SCOPE_KEY] = ANONYMOUS
        if rule in ("public", "token"):
            return
        credential = credentials.of(request)
        if rule == "open":
            await self._try(request, credential)
            return
        if credential is None:
            self.refusals.counts["no_key"] += 1
            self._ask(request, "This needs a key")
        who = await self.known(request, credential)
        self._adopt(request, who)
        whole, role = rule.startswith("whole "), rule.removeprefix("whole ")
        if RANK[who.role] < _rank(role):
            refuse(403, f"The key {who.name} has the role {who.role}; this needs {role}.")
        if whole and who.confined:
            refuse(403, f"This is about the whole installation, and the key {who.name} is of tenant {who.tenant}.")

    async def known(self, request: Request, credential: str) -> Principal:
        """Whose credential it is. 401, and 429 for an address that has failed too often."""
        digest = hashlib.sha256(credential.encode()).hexdigest()
        if digest not in self._good:
            self.hold_back(request)
        try:
            who = await self._identify(credential)
        except Unknown as error:
            self._good.pop(digest, None)
            self.failed(request, str(error))
            self._ask(request, str(error))
        self._good[digest] = None
        self._good.move_to_end(digest)
        if len(self._good) > _GOOD:
            self._good.popitem(last=False)
        return who

    async def still(self, request: Request) -> bool:
        """Whether the credential of a request that was admitted is still good: for answers that stay open."""
        if not self.required:
            return True
        try:
            return bool(await self._identify(credentials.of(request) or "") == request.scope[SCOPE_KEY])
        except Unknown:
            return False
        except (redis.RedisError, Refused):  # nobody can tell now, and it was good
            return True

    def hold_back(self, request: Request) -> None:
        """429 for an address that has failed too often in this minute."""
        address = _address(request)
        if seconds := self.failures.wait(address):
            self.refusals.counts["too_often"] += 1
            headers = {"Retry-After": str(math.ceil(seconds))}
            refuse(429, f"Too many attempts with a wrong key came from {address}; wait.", headers=headers)

    def failed(self, request: Request, why: str) -> None:
        """Count and log an attempt that failed; of each address only the first ones of a minute."""
        address = _address(request)
        self.refusals.counts["wrong_key"] += 1
        count = self.failures.add(address)
        if count <= MOST:
            more = " (the further ones of this minute are refused unseen)" if count == MOST else ""
            # as it came, with its percent signs: nothing in it can begin a line of the log
            path = request.scope.get("raw_path", b"").decode("ascii", "backslashreplace")
            log.warning("refused %s %s from %s: %s%s", request.method, path, address, why, more)

    async def _try(self, request: Request, credential: str | None) -> None:
        if credential is None:
            return
        try:
            self._adopt(request, await self._identify(credential))
        except (Unknown, redis.RedisError):
            return

    async def _identify(self, credential: str) -> Principal:
        """Raises Unknown, and redis.RedisError where the broker would have to be asked."""
        if self._admin.fits(credential):
            return ADMIN
        parts = api_keys.split(credential)
        if parts is not None:
            name, secret = parts
            key = await self._keys.find(name)
            if key is None or not key.fits(secret):
                raise Unknown(f"The key {name} is not known: it was revoked, or never made")
            if key.expired(time.time()):
                raise Unknown(f"The key {name} has expired")
            await self._keys.note_use(name)
            return key.principal()
        if self._jwt is not None and credential.count(".") == 2:
            if self._tokens is None:
                from gateway.access.tokens import Tokens

                self._tokens = Tokens(self._jwt, self._root)
            return await self._tokens.principal(credential)
        raise Unknown("What was sent is no key of this system")

    def _adopt(self, request: Request, who: Principal) -> None:
        request.scope[SCOPE_KEY] = who
        request.state.caller = who.name  # whose idempotency keys these are

    def _ask(self, request: Request, why: str) -> NoReturn:
        """401; a browser that wants a page is sent to the sign-in."""
        if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
            from gateway.access.signin import place

            refuse(303, "Sign in first.", headers={"Location": place(_wanted(request))})
        how = "Send it as `Authorization: Bearer KEY`; commands take it from TUNDISH_API_KEY, pages from /signin."
        error = "" if why.startswith("This needs") else ', error="invalid_token"'
        refuse(401, f"{why}. {how}", headers={"WWW-Authenticate": f'Bearer realm="tundish"{error}'})


def _address(request: Request) -> str:
    return request.client.host if request.client else "unknown"


def _rank(role: str) -> int:
    return next(rank for name, rank in RANK.items() if name == role)


def _wanted(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
