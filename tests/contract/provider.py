"""A provider of OpenID Connect in memory: it does what the standard asks, or whatever else a test wants of it."""

import asyncio
import json
from base64 import b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

ISSUER, CLIENT_ID, CLIENT_SECRET = "https://id.example", "hdx", "a secret of: both"
Handler = Callable[[httpx.Request], httpx.Response]


def private_key(kid: str, algorithm: str = "RS256", bits: int = 2048) -> Any:
    """Return a key of an id, the same whenever it is asked for."""
    return _made(kid, algorithm, bits)


@cache
def _made(_: str, algorithm: str, bits: int) -> Any:
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate() if algorithm == "EdDSA" else rsa.generate_private_key(65537, bits)


def jwk(kid: str, algorithm: str = "RS256", bits: int = 2048) -> dict[str, Any]:
    """Return its public half."""
    kinds: dict[str, Any] = {"ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
    public = private_key(kid, algorithm, bits).public_key()
    shown: dict[str, Any] = kinds.get(algorithm, RSAAlgorithm).to_jwk(public, as_dict=True)
    return shown | {"kid": kid, "use": "sig", "alg": algorithm}


@dataclass
class StandInProvider(httpx.AsyncBaseTransport):
    """The network with one provider in it.

    Attributes:
        claims: What its tokens say otherwise; None leaves a claim out.
        sign: Makes a token of claims, where it is to be made otherwise.
        answers: By path, what it answers otherwise.
        asked: What it was asked for.
        by_header: Whether it takes the client's secret in a header.
    """

    keys: list[dict[str, Any]] = field(default_factory=lambda: [jwk("first")])
    kid: str = "first"
    algorithm: str = "RS256"
    claims: dict[str, Any] = field(default_factory=dict)
    sign: Callable[[dict[str, Any]], str] | None = None
    answers: dict[str, Handler] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    by_header: bool = True
    secret: str | None = CLIENT_SECRET
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def log_in(self, address: str, subject: str = "a-2-c") -> dict[str, str]:
        """Log somebody in who was sent to an address; return what the browser is sent back with."""
        parts = urlsplit(address)
        asked = {name: values[0] for name, values in parse_qs(parts.query, strict_parsing=True).items()}
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{ISSUER}/authorize"
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        assert "openid" in asked["scope"].split()
        code = uuid4().hex
        self.codes[code] = asked | {"subject": subject}
        return {"code": code, "state": asked["state"], "iss": ISSUER}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        await request.aread()
        reply = self._answer(request, path)
        if not reply.is_stream_consumed:
            return reply
        # As it comes from a network: not read yet.
        return httpx.Response(reply.status_code, headers=reply.headers, stream=httpx.ByteStream(reply.content))

    def _answer(self, request: httpx.Request, path: str) -> httpx.Response:
        if path in self.answers:
            return self.answers[path](request)
        if path == "/.well-known/openid-configuration":
            return httpx.Response(200, json=self.document())
        if path == "/keys":
            return httpx.Response(200, json={"keys": self.keys})
        assert (path, request.method) == ("/token", "POST")
        return self._exchanged(request)

    def document(self) -> dict[str, Any]:
        methods = ["client_secret_basic"] if self.by_header else ["client_secret_post", "none"]
        endpoints = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        named = {name: f"{ISSUER}/{path}" for name, path in endpoints.items()}
        return {"issuer": ISSUER, "token_endpoint_auth_methods_supported": methods} | named

    def _exchanged(self, request: httpx.Request) -> httpx.Response:
        form = {name: values[0] for name, values in parse_qs(request.content.decode()).items()}
        begun = self.codes.pop(form["code"], None)
        challenge = urlsafe_b64encode(sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        if not self._knows(request, form):
            return httpx.Response(401, json={"error": "invalid_client"})
        if not begun or (begun["code_challenge"], begun["redirect_uri"]) != (challenge, form["redirect_uri"]):
            return httpx.Response(400, json={"error": "invalid_grant"})
        now = datetime.now(UTC)
        said = {"iss": ISSUER, "aud": CLIENT_ID, "sub": begun["subject"], "nonce": begun["nonce"]}
        said |= {"iat": now, "exp": now + timedelta(minutes=5), **self.claims}  # type: ignore[dict-item]
        kept = {name: value for name, value in said.items() if value is not None}
        return httpx.Response(200, json={"access_token": "x", "token_type": "Bearer", "id_token": self.signed(kept)})

    def signed(self, claims: dict[str, Any]) -> str:
        if self.sign is not None:
            return self.sign(claims)
        return jwt.encode(claims, private_key(self.kid, self.algorithm), self.algorithm, headers={"kid": self.kid})

    def _knows(self, request: httpx.Request, form: dict[str, str]) -> bool:
        if self.secret is None:
            return form.get("client_id") == CLIENT_ID and "client_secret" not in form
        if not self.by_header:
            return (form.get("client_id"), form.get("client_secret")) == (CLIENT_ID, self.secret)
        given = b64decode(request.headers["authorization"].removeprefix("Basic ")).decode()
        return given == f"{CLIENT_ID}:a+secret+of%3A+both" and "client_secret" not in form


class Endless(httpx.AsyncByteStream):
    """An answer that does not end."""

    def __init__(self) -> None:
        self.chunks = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.chunks += 1
            yield b" " * 65_536


class Silent(httpx.AsyncByteStream):
    """An answer that never begins."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""


def unsigned(claims: dict[str, Any]) -> str:
    """Return a token without a signature."""
    return jwt.encode(claims, "", "none", headers={"kid": "first"})


def signed_by_the_public_key(claims: dict[str, Any]) -> str:
    """Return a token signed by HMAC, with what everybody knows of the provider as the key."""
    times = {name: int(claims[name].timestamp()) for name in ("iat", "exp")}
    shown = json.dumps(jwk("first")).encode()
    parts = [json.dumps(each).encode() for each in ({"alg": "HS256", "kid": "first"}, claims | times)]
    head = ".".join(urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(head.encode(), shown)
    return f"{head}.{urlsafe_b64encode(mac).decode().rstrip('=')}"


NOW = datetime.now(UTC)
HOURS = timedelta(hours=2)
# What is wrong with a token of the provider's.
TOKENS: dict[str, dict[str, Any]] = {
    "nonce of another log-in": {"nonce": "x" * 43},
    "no nonce": {"nonce": None},
    "foreign issuer": {"iss": "https://evil.example"},
    "issuer in another spelling": {"iss": f"{ISSUER}/"},
    "wrong audience": {"aud": "another"},
    "no audience": {"aud": None},
    "for another one, too": {"aud": [CLIENT_ID, "another"]},
    "for another party": {"aud": [CLIENT_ID, "another"], "azp": "another"},
    "azp of another": {"azp": "another"},
    "expired": {"exp": NOW - HOURS},
    "without end": {"exp": None},
    "from the future": {"iat": NOW + HOURS},
    "old": {"iat": NOW - HOURS},
    "without time": {"iat": None},
    "not yet": {"nbf": NOW + HOURS},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "long subject": {"sub": "x" * 256},
    "subject with NUL": {"sub": "a-2-c\x00"},
}
# What a provider may answer that answers as none.
AWAY: dict[str, Handler] = {
    "fails": lambda _: httpx.Response(500),
    "redirects": lambda _: httpx.Response(302, headers={"location": "http://127.0.0.1:1/"}, json={}),
    "no JSON": lambda _: httpx.Response(200, text="<html>"),
    "an array": lambda _: httpx.Response(200, json=[]),
    "nested": lambda _: httpx.Response(200, content=b"[" * 100_000),
    "no UTF-8": lambda _: httpx.Response(200, content=b"\xff\xfe{"),
    "10 MB": lambda _: httpx.Response(200, content=b" " * 10_000_000),
}
