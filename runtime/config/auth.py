"""Who may use a gateway: `auth:` of functions.yaml, and what the environment says of it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from runtime.config.model import Model, Words
from runtime.security.principal import Role
from runtime.values.units import Duration

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Those with a public key only: with a shared secret, everybody who can check a token could make one."""

_LOCAL = ("localhost", "127.0.0.1", "::1")


class JwtSpec(Model):
    """Tokens that somebody else signs (OpenID Connect): by which keys, from whom, for whom, and what they say.

    `jwks_file` is relative to functions.yaml. A claim within a claim is written with dots: `realm_access.roles`.
    """

    jwks_url: str = ""
    jwks_file: str = ""
    issuer: Annotated[str, Field(min_length=1)]
    audience: Annotated[Words, Field(min_length=1)]
    role_claim: Annotated[str, Field(min_length=1)] = "role"
    role: Role | None = None
    """Of tokens without that claim; None: they are refused."""
    tenant_claim: str = ""
    """Empty: tokens are of the default tenant."""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "PS256", "ES256", "EdDSA")
    leeway: Annotated[Duration, Field(le=300)] = 30.0
    """How much the clocks of both sides may differ."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if bool(self.jwks_url) == bool(self.jwks_file):
            raise ValueError("give either jwks_url or jwks_file")
        if self.jwks_url:
            parts = urlsplit(self.jwks_url)
            if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
                raise ValueError(f"jwks_url {self.jwks_url!r} must begin with https://: these keys decide who gets in")
        return self


class AuthSpec(Model):
    """`required`: every request needs a key or token (None: where the gateway listens beyond this machine).

    `hosts`: further names by which the gateway may be called.
    """

    required: bool | None = None
    hosts: Words = ()
    jwt: JwtSpec | None = None


class Access(Model):
    """What the environment says of a gateway's front."""

    auth: Literal["required", "off"] | None = None
    admin_key_file: Path | None = None
    """Where the first administrator's key is; None: in the state folder."""
    public_url: str = ""
    """How people reach the gateway, where something stands before it."""
    hosts: tuple[str, ...] = ()
    proxies: str = ""
    """Addresses and networks of proxies whose X-Forwarded-For and X-Forwarded-Proto are believed."""


def check_auth(auth: AuthSpec, root: Path, report: Callable[[tuple[str | int, ...], str], None]) -> None:
    """Report tokens that could not be checked: the library is missing, or the file of keys."""
    if auth.jwt is None:
        return
    if find_spec("jwt") is None or find_spec("cryptography") is None:
        report(("auth", "jwt"), "needs the library PyJWT, which is not installed here: pip install 'tundish[jwt]'")
    if auth.jwt.jwks_file and not (root / auth.jwt.jwks_file).is_file():
        report(("auth", "jwt", "jwks_file"), f"there is no file {auth.jwt.jwks_file}; it holds the public keys (JWKS)")
