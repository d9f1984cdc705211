"""Tokens that somebody else signs: what is taken, what is not, and how seldom their keys are asked for."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
import redis
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.testclient import TestClient

from gateway.access import jwks
from runtime.config.auth import AuthSpec, JwtSpec
from runtime.config.load import load_settings
from runtime.config.settings import Settings
from runtime.errors import ConfigError
from tests import authing
from tests.gatewaying import problem

ISSUER, AUDIENCE = "https://issuer.example", "tundish"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())


def public(key: Any, kid: str) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if key is RSA else jwt.algorithms.ECAlgorithm
    told: dict[str, Any] = json.loads(algorithm.to_jwk(key.public_key()))
    return told | {"kid": kid, "use": "sig"}


def document(**keys: Any) -> str:
    secret = {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"}  # never taken, whoever lists it
    return json.dumps({"keys": [secret, *(public(key, kid) for kid, key in keys.items())]})


def token(key: Any = RSA, kid: str | None = "r", algorithm: str = "RS256", **claims: Any) -> str:
    now = int(time.time())
    base = {"iss": ISSUER, "aud": AUDIENCE, "sub": "ada", "exp": now + 60, "role": "invoke"}
    said = {name: value for name, value in {**base, **claims}.items() if value is not None}
    return jwt.encode(said, key, algorithm, {"kid": kid} if kid else {})


@pytest.fixture
def made(broker_url: str, redis_client: redis.Redis, tmp_path: Path) -> Settings:
    (tmp_path / "keys.json").write_text(document(r=RSA, e=EC))
    return with_jwt(authing.settings(broker_url, tmp_path), jwks_file="keys.json")


def with_jwt(made: Settings, **spec: Any) -> Settings:
    auth = AuthSpec(jwt=JwtSpec(issuer=ISSUER, audience=(AUDIENCE,), **spec))
    return made.model_copy(update={"project": made.project.model_copy(update={"auth": auth})})


@pytest.fixture
def web(made: Settings) -> Iterator[TestClient]:
    with authing.serving(made) as client:
        yield client


def who(web: TestClient, text: str) -> Any:
    return web.get("/api/v1/whoami", headers=authing.bearer(text))


def test_a_good_token_beside_keys(web: TestClient, redis_client: redis.Redis) -> None:
    for good in (token(), token(EC, "e", "ES256"), token(algorithm="PS256"), token(aud=["other", AUDIENCE])):
        told = who(web, good).json()
        assert (told["name"], told["role"], told["tenant"], told["confined"]) == ("jwt:ada", "invoke", "default", True)
    assert web.post("/async-function/add", json={"a": 1}, headers=authing.bearer(token())).status_code == 202
    problem(web.post("/async-function/tidy", headers=authing.bearer(token())), 403)
    assert web.post("/signin", data={"key": token(role="admin")}).status_code == 303
    assert web.get("/api/v1/whoami").json()["role"] == "admin"
    assert who(web, authing.key(redis_client, "k", "read")["Authorization"].split()[1]).json()["name"] == "k"


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forged() -> dict[str, str]:
    """Tokens that a careless checker would take."""
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "exp": now + 60, "role": "admin"}
    pem = RSA.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT', 'kid': 'r'})}.{part(claims)}"
    confused = base64.urlsafe_b64encode(hmac.digest(pem, signed.encode(), "sha256")).decode().rstrip("=")
    good = token(role="read")
    head, _, signature = good.split(".")
    return {
        "unsigned": f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}.",
        "public key as secret": f"{signed}.{confused}",
        "shared secret": jwt.encode(claims, b"secret" * 8, "HS256", {"kid": "shared"}),
        "other key": token(OTHER, "e", "ES256"),
        "key of another kind": token(EC, "r", "ES256"),
        "unknown key": token(OTHER, "nobody", "ES256"),
        "no key id": token(kid=None),
        "changed": f"{head}.{part(claims)}.{signature}",
        "over": token(exp=now - 31),
        "not yet": token(nbf=now + 60),
        "without end": token(exp=None),
        "other issuer": token(iss="https://other.example"),
        "other audience": token(aud="other"),
        "no audience": token(aud=None),
        "nobody": token(sub=None),
        "role nobody knows": token(role="root"),
        "no role": token(role=None),
        "no token": "a.b.c",
        "long": token(more="x" * 20_000),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "unsigned",
        "public key as secret",
        "shared secret",
        "other key",
        "key of another kind",
        "unknown key",
        "no key id",
        "changed",
        "over",
        "not yet",
        "without end",
        "other issuer",
        "other audience",
        "no audience",
        "nobody",
        "role nobody knows",
        "no role",
        "no token",
        "long",
    ],
)
def test_what_is_not_taken(web: TestClient, kind: str) -> None:
    found = forged()
    told = problem(who(web, found[kind]), 401)
    assert found[kind] not in told["detail"]


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"realm_access": {"roles": ["offline", "read", "admin"]}}, "admin"),
        ({"realm_access": {"roles": "read invoke"}}, "invoke"),
        ({"realm_access": {"roles": []}}, "read"),
        ({"realm_access.roles": ["invoke"]}, "invoke"),
        ({}, "read"),
    ],
    ids=["nested", "words", "none-of-ours", "dotted", "absent"],
)
def test_roles_in_nested_claims_and_by_default(made: Settings, claims: dict[str, Any], role: str) -> None:
    its = with_jwt(made, jwks_file="keys.json", role_claim="realm_access.roles", role="read")
    with authing.serving(its) as web:
        assert who(web, token(role=None, **claims)).json()["role"] == role


def test_tenants_in_a_claim(made: Settings) -> None:
    with authing.serving(with_jwt(made, jwks_file="keys.json", tenant_claim="org")) as web:
        told = who(web, token(org="acme", role="admin")).json()
        assert (told["tenant"], told["confined"]) == ("acme", True)
        for wrong in (None, "", "a/b", 7):
            assert "no tenant" in problem(who(web, token(org=wrong)), 401)["detail"]


class Server:
    """A JWK set at a URL, and how often it was asked for."""

    def __init__(self) -> None:
        self.document, self.status, self.asked = document(r=RSA), 200, 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                self.send_response(outer.status)
                self.end_headers()
                self.wfile.write(outer.document.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


def test_keys_at_a_url_are_fetched_once_for_many_tokens(made: Settings, server: Server) -> None:
    with authing.serving(with_jwt(made, jwks_url=server.url)) as web:
        for _ in range(5):
            assert who(web, token()).status_code == 200
        assert server.asked == 1
        for number in range(5):  # invented key ids do not become requests to somebody else
            problem(who(web, token(OTHER, f"x{number}", "ES256")), 401)
        assert server.asked == 1


def test_keys_that_cannot_be_had(made: Settings, server: Server) -> None:
    server.status = 500
    with authing.serving(with_jwt(made, jwks_url=server.url)) as web:
        answer = who(web, token())
        problem(answer, 503)
        assert answer.headers["retry-after"]
        assert web.get("/functions", headers=authing.admin(made)).status_code == 200


def test_keys_come_and_go() -> None:
    asyncio.run(_keys_come_and_go())


async def _keys_come_and_go() -> None:
    now, documents = [0.0], [document(a=EC)]

    def fetch() -> bytes:
        if not documents[-1]:
            raise OSError("away")
        return documents[-1].encode()

    keys = jwks.Keys(fetch, lambda: now[0])
    assert await keys.find("a")
    assert await keys.find(None)  # the only one there is
    documents.append(document(a=EC, b=OTHER))
    assert await keys.find("b") is None  # asked for a moment ago
    now[0] += jwks.AGAIN_SECONDS
    assert await keys.find("b")
    assert await keys.find(None) is None
    documents.append("")
    now[0] += jwks.FRESH_SECONDS
    assert await keys.find("a")  # what is known holds while the issuer is away
    assert keys._behind
    await keys._behind
    documents.append(document(b=OTHER))
    now[0] += jwks.FRESH_SECONDS
    assert await keys.find("a")
    await keys._behind
    assert await keys.find("a") is None
    assert not [key for key in jwks.parse(document(a=EC).encode()) if key == "shared"]
    with pytest.raises(ValueError, match="no public key"):
        jwks.parse(document().encode())


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("jwt: {issuer: x, audience: y}", "either jwks_url or jwks_file"),
        ("jwt: {issuer: x, audience: y, jwks_file: none.json}", "there is no file none.json"),
        ("jwt: {issuer: x, audience: y, jwks_url: 'http://keys.example/'}", "must begin with https://"),
        ("jwt: {issuer: x, audience: y, jwks_file: functions.yaml, algorithms: [HS256]}", "algorithms"),
        ("jwt: {audience: y, jwks_file: functions.yaml}", "issuer"),
        ("jwt: {issuer: x, audience: y, jwks_file: functions.yaml, role_clam: r}", "did you mean role_claim?"),
        ("requierd: true", "did you mean required?"),
    ],
    ids=["neither", "no-file", "plain-http", "shared-secret", "no-issuer", "unknown", "unknown-above"],
)
def test_what_is_wrong_in_functions_yaml(tmp_path: Path, written: str, words: str) -> None:
    file = tmp_path / "functions.yaml"
    file.write_text(f"version: 1\nfunctions: {{}}\nauth: {{{written}}}\n")
    with pytest.raises(ConfigError) as error:
        load_settings({}, file=file)
    assert words in str(error.value)
    assert "auth" in str(error.value)
