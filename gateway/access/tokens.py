"""Tokens that somebody else signed (JWT): checked with public keys that are at hand, and turned into a principal."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.access import jwks
from gateway.access.auth import Unknown
from gateway.access.rules import RANK
from gateway.web.problems import refuse
from runtime.callers.api_keys import TENANT
from runtime.config.auth import JwtSpec
from runtime.security.principal import DEFAULT_TENANT, Principal, Role

LONGEST = 16 * 2**10
_NAME_LENGTH = 200


class Tokens:
    """Checks signature, issuer, audience and times; which algorithms are taken is never up to the token."""

    def __init__(self, spec: JwtSpec, root: Path) -> None:
        self._spec = spec
        self._keys = jwks.Keys(jwks.from_url(spec.jwks_url) if spec.jwks_url else jwks.from_file(root / spec.jwks_file))

    async def principal(self, token: str) -> Principal:
        """Who the token says it is. Raises Unknown; 503 while the keys of its issuer cannot be had."""
        import jwt

        try:
            header = jwt.get_unverified_header(token) if len(token) <= LONGEST else {}
            if header.get("alg") not in self._spec.algorithms:
                raise Unknown(f"The token is signed by {str(header.get('alg'))[:20]!r}, which is not taken here")
            key = await self._keys.find(header.get("kid"))
            if key is None:
                raise Unknown("The token is signed by a key that its issuer does not have")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=list(self._spec.algorithms),
                audience=list(self._spec.audience),
                issuer=self._spec.issuer,
                leeway=self._spec.leeway,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwks.NoKeys:
            refuse(503, "The keys that check tokens cannot be fetched; try again.", headers={"Retry-After": "10"})
        except (jwt.PyJWTError, ValueError, TypeError) as error:  # a key of another kind than the token says
            raise Unknown(f"The token is not valid: {error!s:.200}") from error
        return _principal(self._spec, claims)


def _principal(spec: JwtSpec, claims: Mapping[str, Any]) -> Principal:
    name = f"jwt:{str(claims['sub'])[:_NAME_LENGTH]}"
    role = _role(_claim(claims, spec.role_claim)) or spec.role
    if role is None:
        raise Unknown(f"The token has no role in its claim {spec.role_claim}: it may be one of {', '.join(RANK)}")
    if not spec.tenant_claim:
        return Principal(name, role, confined=role != "admin")
    tenant = _claim(claims, spec.tenant_claim)
    if not isinstance(tenant, str) or not TENANT.fullmatch(tenant):
        raise Unknown(f"The token names no tenant in its claim {spec.tenant_claim}")
    return Principal(name, role, tenant or DEFAULT_TENANT)


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by its name, which may itself have dots (`https://example.com/role`), or by the way to it."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def _role(given: Any) -> Role | None:
    """The strongest of the roles that are named: one, several, or several in one string."""
    words = given.split() if isinstance(given, str) else given if isinstance(given, list) else []
    return max((role for role in RANK if role in words), key=RANK.__getitem__, default=None)
