"""Asks a provider of OpenID Connect who somebody is, and believes nothing that it has not signed for this log-in.

Source: OpenID Connect Core 1.0, 3.1.3.7; Discovery 1.0, 4; RFC 7636 (PKCE); RFC 9700.
"""

import asyncio
import hmac
import json
import logging
import secrets
import time
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple, Self
from urllib.parse import quote_plus, urlencode, urlsplit

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from configs.oidc import Oidc, is_safe
from pipelines.errors import Unauthenticated, Unavailable
from serve_app.shared import logs
from serve_app.shared.token_keys import OIDC_LIVES
from serve_app.store.records_identities import Identity

# Signatures alone: never `none`, and no HMAC, whose key a provider's public one could be made to be.
ALGORITHMS = ("RS256", "ES256", "EdDSA")
RSA_BITS_MIN = 2048  # source: RFC 7518, 3.3
REQUIRED = ["iss", "sub", "aud", "exp", "iat", "nonce"]
SUBJECT_MAX = 255  # source: OpenID Connect Core 1.0, 2
# One request to the provider, and its answer. Source: own choice; documents and tokens are a few kilobytes.
TIMEOUT_S, ANSWER_BYTES = 5.0, 1 << 18
CLOCK_S = 60  # by how much clocks may differ; source: own choice
# For how long what the provider says of itself is believed; a key that is not known is asked for at once.
DOCUMENT_S, KEYS_S = 3600.0, 900.0
PART = "identity provider"
REFUSED = "the log-in at the provider does not hold here; begin again at /api/auth/oidc/login/"


class Begun(NamedTuple):
    """What one log-in is told by; the person's browser holds it until it is back.

    Attributes:
        state: That the answer is to this very browser's question.
        nonce: That the token is for this very log-in.
        verifier: That the code is redeemed by whoever asked for it.
    """

    state: str
    nonce: str
    verifier: str

    @classmethod
    def fresh(cls) -> Self:
        """Return three random texts of 256 bits each."""
        return cls(*(secrets.token_urlsafe(32) for _ in range(3)))


class Endpoints(NamedTuple):
    """Where a provider is asked, by its discovery document."""

    authorization: str
    token: str
    keys: str
    by_header: bool


class Provider:
    """The provider of the settings.

    Args:
        settings: Its address, and as what HDX is registered there.
        transport: In place of the network.
        timeout_s: For each request to it.
    """

    def __init__(
        self, settings: Oidc, transport: httpx.AsyncBaseTransport | None = None, timeout_s: float = TIMEOUT_S
    ) -> None:
        self._settings, self._transport, self._timeout_s = settings, transport, timeout_s
        self._verify = httpx.create_ssl_context() if transport is None else True
        self._endpoints: tuple[float, Endpoints] | None = None
        self._keys: tuple[float, tuple[jwt.PyJWK, ...]] | None = None

    @property
    def issuer(self) -> str:
        """Address of the provider, as its tokens name it."""
        return self._settings.issuer

    async def authorization_url(self, begun: Begun, redirect_uri: str) -> str:
        """Return where a browser is sent to log in.

        Raises:
            Unavailable: The provider does not say.
        """
        endpoint = (await self._discovered()).authorization
        challenge = urlsafe_b64encode(sha256(begun.verifier.encode()).digest()).decode().rstrip("=")
        asked = {
            "response_type": "code",
            "client_id": self._settings.client_id,
            "redirect_uri": redirect_uri,
            "scope": self._settings.scopes,
            "state": begun.state,
            "nonce": begun.nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{urlencode(asked)}"

    async def identify(self, code: str, begun: Begun, redirect_uri: str) -> Identity:
        """Exchange a code for who has logged in.

        Raises:
            Unauthenticated: The provider refuses the code, or its token does not hold.
            Unavailable: The provider does not answer as one.
        """
        token = await self._exchanged(code, begun, redirect_uri)
        try:
            return self._identity(await self._claims(token), begun)
        except (jwt.PyJWTError, TypeError, ValueError, AttributeError, OverflowError) as error:
            logs.write("oidc.token_refused", logging.WARNING, kind=type(error).__name__)
            raise Unauthenticated(REFUSED) from None

    async def _exchanged(self, code: str, begun: Begun, redirect_uri: str) -> str:
        """Return the token that a code stands for, unread."""
        endpoints, secret = await self._discovered(), self._settings.client_secret
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri}
        form |= {"code_verifier": begun.verifier}
        headers = {}
        if secret is not None and endpoints.by_header:
            both = f"{quote_plus(self._settings.client_id)}:{quote_plus(secret.get_secret_value())}"
            headers["authorization"] = f"Basic {b64encode(both.encode()).decode()}"
        else:
            form["client_id"] = self._settings.client_id
            if secret is not None:
                form["client_secret"] = secret.get_secret_value()
        status, answer = await self._ask("POST", endpoints.token, data=form, headers=headers)
        if status == 400:
            logs.write("oidc.code_refused", logging.WARNING, code=str(answer.get("error"))[:80])
            raise Unauthenticated(REFUSED)
        token = answer.get("id_token")
        if status != 200 or not isinstance(token, str):
            raise self._away(f"answers {status} to a code")
        return token

    async def _claims(self, token: str) -> dict[str, Any]:
        """Return what a token says that a key of the provider has signed, for HDX, and not too long ago."""
        header = jwt.get_unverified_header(token)
        algorithm = header.get("alg")
        if algorithm not in ALGORITHMS:
            raise jwt.InvalidAlgorithmError
        key = await self._key(algorithm, header.get("kid"))
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=self._settings.client_id,
            issuer=self._settings.issuer,
            leeway=CLOCK_S,
            options={"require": REQUIRED},
        )
        return claims

    def _identity(self, claims: dict[str, Any], begun: Begun) -> Identity:
        """Return whom a signed token names, where it is of this very log-in.

        Raises:
            InvalidTokenError: It is of another, or for another.
        """
        if not hmac.compare_digest(str(claims["nonce"]).encode(), begun.nonce.encode()):
            raise jwt.InvalidTokenError("nonce")
        audience, party = claims["aud"], claims.get("azp")
        is_shared = isinstance(audience, list) and len(audience) > 1
        if (is_shared or party is not None) and party != self._settings.client_id:
            raise jwt.InvalidAudienceError("azp")
        if float(claims["iat"]) < time.time() - OIDC_LIVES.total_seconds() - CLOCK_S:
            raise jwt.InvalidIssuedAtError("old")
        subject = claims["sub"]
        if not (0 < len(subject) <= SUBJECT_MAX and subject.isascii() and subject.isprintable()):
            raise jwt.InvalidTokenError("sub")
        return Identity(self._settings.issuer, subject)

    async def _key(self, algorithm: str, kid: str | None) -> jwt.PyJWK:
        """Return the key that a token names; one that is not known is asked for, as providers rotate theirs."""
        if self._keys is not None and time.monotonic() < self._keys[0] + KEYS_S:
            fitting = _fitting(self._keys[1], algorithm, kid)
            if fitting is not None:
                return fitting
        status, answer = await self._ask("GET", (await self._discovered()).keys)
        if status != 200:
            raise self._away(f"answers {status} for its keys")
        self._keys = time.monotonic(), tuple(jwt.PyJWKSet.from_dict(answer).keys)
        fitting = _fitting(self._keys[1], algorithm, kid)
        if fitting is None:
            raise jwt.InvalidKeyError
        return fitting

    async def _discovered(self) -> Endpoints:
        """Return where the provider is asked, by a document that must be its own."""
        if self._endpoints is not None and time.monotonic() < self._endpoints[0] + DOCUMENT_S:
            return self._endpoints[1]
        address = f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration"
        status, answer = await self._ask("GET", address)
        named = [answer.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")]
        whole = all(isinstance(each, str) and is_safe(each.partition("?")[0]) for each in named)
        if status != 200 or answer.get("issuer") != self._settings.issuer or not whole:
            raise self._away(f"answers {status} with a document that is not its own")
        # Source: Discovery 1.0, 3: where it names no methods, it takes the header.
        methods = answer.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        authorization, token, keys = map(str, named)
        found = Endpoints(authorization, token, keys, "client_secret_basic" in methods)
        self._endpoints = time.monotonic(), found
        return found

    async def _ask(self, method: str, address: str, **sent: Any) -> tuple[int, dict[str, Any]]:
        """Return status and object of an answer, which has bounds of time and size; no redirect is followed."""
        headers = {"accept": "application/json", "accept-encoding": "identity", **sent.pop("headers", {})}
        body = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                httpx.AsyncClient(transport=self._transport, verify=self._verify, timeout=self._timeout_s) as client,
                client.stream(method, address, headers=headers, **sent) as reply,
            ):
                async for chunk in reply.aiter_raw():
                    body += chunk
                    if len(body) > ANSWER_BYTES:
                        raise self._away("answers more than is read")
            answer = json.loads(body)
        except (
            httpx.HTTPError,
            httpx.InvalidURL,
            OSError,
            ValueError,
            RecursionError,
        ) as error:  # a time-out is OSError
            raise self._away(type(error).__name__) from None
        if not isinstance(answer, dict):
            raise self._away("answers with no object")
        return reply.status_code, answer

    def _away(self, reason: str) -> Unavailable:
        """Return what a caller is told, and tell the log why."""
        logs.write("oidc.unavailable", logging.WARNING, reason=reason)
        return Unavailable(PART, "does not answer as it should")


def _fitting(keys: Iterable[jwt.PyJWK], algorithm: str, kid: str | None) -> jwt.PyJWK | None:
    """Return the key of an id for an algorithm; a token that names none is signed by the only one there is."""
    fitting = [key for key in keys if key.algorithm_name == algorithm and key.public_key_use in (None, "sig")]
    fitting = [key for key in fitting if not isinstance(key.key, RSAPublicKey) or key.key.key_size >= RSA_BITS_MIN]
    named = [key for key in fitting if kid is None or key.key_id == kid]
    return named[0] if len(named) == 1 else None
