"""What proves who is calling: passwords, tokens and keys, made and checked.

Works with the settings for secrets and lifetimes; which of them were withdrawn is the store's to say.
"""

import hmac
import secrets
import time
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import jwt
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from cachetools import TLRUCache

from configs.settings import DEFAULT_SECRET, Settings
from pipelines.errors import InvalidInput, Unauthenticated, Unavailable
from serve_app.shared.passwords import normal_form
from serve_app.shared.token_keys import (
    ACCESS,
    DEVICE,
    DEVICE_LIVES,
    FIRST,
    MARGIN,
    OIDC,
    OIDC_LIVES,
    REFRESH,
    KeyRing,
    Kind,
    TokenKey,
    public_jwk,
)
from serve_app.store.protocols_token_keys import KeyGeneration
from serve_app.store.records import Principal

REQUIRED = ["iss", "aud", "sub", "exp", "iat", "jti", "typ"]
KEY_PREFIX = "hdx_"  # of an API key; no access token begins so
SHOWN = 8  # characters of a key that lists show; own choice: its prefix and four more, and 234 bits stay unknown
LIFE_MAX = timedelta(days=3660)  # of a key that has an end; own choice: ten years
INVITATION_PREFIX = "hdxi_"
INVITATION_LIVES = timedelta(days=7)  # source: own choice
SECRET_BYTES = 32  # Source: RFC 7518, 3.2: a key of HS256 has at least the 256 bits of its hash.
# Access tokens that are verified once: each time costs a tenth of a millisecond. Source: own choice; a few megabytes.
VERIFIED_MAX = 10_000
# By which a token may say that it was issued later than now: clocks of two nodes differ. Source: own choice; the minute
# that a former key holds longer for the same reason.
AHEAD_S = MARGIN.total_seconds()
UNKNOWN_KEY = "the token was signed with a key that is not known here"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """What a log-in or a refresh hands out.

    Attributes:
        token_id: Of the refresh token.
        family: All refresh tokens that descend from one log-in.
        expires_in: Seconds the access token lives.
        expires_at: When the refresh token ends.
    """

    access: str
    refresh: str
    token_id: UUID
    family: UUID
    expires_in: int
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class RefreshClaims:
    """What a refresh token that holds says.

    Attributes:
        generation: Of the account's credentials when it was issued.
    """

    user_id: int
    token_id: UUID
    family: UUID
    generation: int


@dataclass(frozen=True, slots=True)
class Device:
    """One that has logged in to an account.

    Attributes:
        generation: Of the account's credentials then.
    """

    user_id: int
    generation: int
    name: str

    def is_of(self, user_id: int, generation: int) -> bool:
        """Tell whether an account knows it, by the credentials that the account has now."""
        return (self.user_id, self.generation) == (user_id, generation)


def webhook_secret(secret_key: str) -> str:
    """Return what MLflow signs its messages with."""
    return hmac.new(secret_key.encode(), b"mlflow webhook", sha256).hexdigest()


def storage_key(secret_key: str) -> str:
    """Return what MLflow keeps that secret encrypted with, as Fernet wants it."""
    return urlsafe_b64encode(hmac.new(secret_key.encode(), b"mlflow storage", sha256).digest()).decode()


def audit_seed(secret_key: str) -> bytes:
    """Return the seed of the key that signs the audit; no database holds it."""
    return hmac.new(secret_key.encode(), b"hdx audit checkpoints", sha256).digest()


def backup_key(secret_key: str) -> bytes:
    """Return what the manifest of a backup is sealed with."""
    return hmac.new(secret_key.encode(), b"hdx backup manifest", sha256).digest()


@cache
def _hasher() -> PasswordHasher:
    # Source: OWASP Password Storage Cheat Sheet, Argon2id with m=19 MiB, t=2, p=1.
    return PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """Return the Argon2id hash of a password, the same however its letters are composed."""
    return _hasher().hash(normal_form(password))


def verify_password(password_hash: str, password: str) -> bool:
    """Tell whether a password is the hashed one; those that were set before forms were made one still are."""
    return any(_verify(password_hash, form) for form in dict.fromkeys((normal_form(password), password)))


def _verify(password_hash: str, password: str) -> bool:
    try:
        return _hasher().verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False


def new_api_key() -> str:
    """Return a fresh key; only its digest is ever stored."""
    return f"{KEY_PREFIX}{secrets.token_urlsafe(32)}"


def new_invitation() -> str:
    """Return a fresh invitation; only its digest is ever stored."""
    return f"{INVITATION_PREFIX}{secrets.token_urlsafe(32)}"


def check_end(expires_at: datetime | None) -> None:
    """Refuse an end of a new key that has passed, or that nobody will see.

    Raises:
        InvalidInput: It is one.
    """
    now = datetime.now(UTC)
    if expires_at is not None and not now < expires_at <= now + LIFE_MAX:
        rule = f"must be in the future, and within {LIFE_MAX.days} days"
        raise InvalidInput("expires_at", expires_at.isoformat(), rule)


def digest(key: str) -> bytes:
    """Return what is stored of a key; it is random enough that no salt is needed."""
    return sha256(key.encode()).digest()


def is_issued(at: object) -> bool:
    """Tell whether a token's `iat`, in seconds since 1970, is a moment that has come on some node's clock."""
    return isinstance(at, int | float) and not isinstance(at, bool) and at <= time.time() + AHEAD_S


def same_key(given: str, expected: str) -> bool:
    """Compare two keys in constant time."""
    return hmac.compare_digest(digest(given), digest(expected))


class _Verified(NamedTuple):
    caller: Principal
    ends: float


def _ends(_: bytes, known: _Verified, __: float) -> float:
    return known.ends


class TokenIssuer:
    """Issues and reads JSON Web Tokens by RFC 8725: one algorithm a key, every claim checked.

    Args:
        settings: With the secret that all keys follow from.
        asked: As the attribute, before the first `hold`; without it the first generation holds.

    Attributes:
        ring: The keys.
        asked: Whether somebody knows which generations hold.

    Raises:
        ValueError: The secret key is too short to sign with.
    """

    def __init__(self, settings: Settings, *, asked: bool = True) -> None:
        self._secret = settings.secret_key.get_secret_value().encode()
        marked = settings.profile == "local" and self._secret == DEFAULT_SECRET.encode()
        if len(self._secret) < SECRET_BYTES and not marked:
            raise ValueError(f"HDX_SECRET_KEY must hold at least {SECRET_BYTES} bytes; `hdx keys` prints a new one")
        # Each key is bound to its purpose, so that the secret itself signs nothing.
        self.ring = KeyRing(self._secret, FIRST)
        self.asked, self._tokens = asked, settings.tokens
        # By digest, so that how long a token is does not matter.
        self._verified: TLRUCache[bytes, _Verified] = TLRUCache(VERIFIED_MAX, _ends, time.time)

    def hold(self, generations: Sequence[KeyGeneration]) -> None:
        """Sign by the newest of these generations from now on, and believe what any of them has signed that holds."""
        self.asked = True
        if tuple(generations) != self.ring.generations:
            self.ring = KeyRing(self._secret, generations)
            self._verified.clear()

    def public_keys(self) -> list[dict[str, str]]:
        """Return the public keys of access tokens, that of the key that signs first."""
        return [public_jwk(key) for key in self.ring.shown()]

    def issue(self, principal: Principal, family: UUID | None = None) -> TokenPair:
        """Return a pair for a principal, of a new family unless one is given."""
        now, lives = datetime.now(UTC), timedelta(minutes=self._tokens.access_minutes)
        token_id, family = uuid4(), family or uuid4()
        ends = now + timedelta(days=self._tokens.refresh_days)
        user = {"sub": str(principal.user_id), "gen": principal.generation}
        rights = {"tenant": principal.tenant_id, "name": principal.name, "role": principal.role}
        access = self._sign(ACCESS, now, now + lives, uuid4(), user | rights)
        refresh = self._sign(REFRESH, now, ends, token_id, user | {"family": str(family)})
        return TokenPair(access, refresh, token_id, family, int(lives.total_seconds()), ends)

    def issue_device(self, user_id: int, generation: int) -> str:
        """Return what a device proves with that it has logged in to an account; it opens nothing by itself.

        Source: OWASP, "Slow Down Online Guessing Attacks with Device Cookies".
        """
        now = datetime.now(UTC)
        return self._sign(DEVICE, now, now + DEVICE_LIVES, uuid4(), {"sub": str(user_id), "gen": generation})

    def read_device(self, token: str) -> Device | None:
        """Return which device it is; None where it is none."""
        try:
            _, claims = self._read(token, DEVICE)
            return Device(int(claims["sub"]), int(claims["gen"]), str(claims["jti"]))
        except (Unauthenticated, Unavailable, KeyError, TypeError, ValueError):
            return None

    def issue_log_in(self, claims: dict[str, Any]) -> str:
        """Return what a browser holds of a log-in at a provider until it is back; signed, and not secret from it."""
        now = datetime.now(UTC)
        return self._sign(OIDC, now, now + OIDC_LIVES, uuid4(), {"sub": ""} | claims)

    def read_log_in(self, token: str) -> dict[str, Any] | None:
        """Return what was signed so; None where that does not hold."""
        try:
            return self._read(token, OIDC)[1]
        except Unauthenticated:
            return None

    def _sign(self, kind: Kind, now: datetime, ends: datetime, token_id: UUID, more: dict[str, Any]) -> str:
        claims = {"iss": self._tokens.issuer, "aud": self._tokens.audience, "iat": now, "exp": ends}
        claims |= {"jti": str(token_id), "typ": kind} | more
        key = self.ring.signer(kind)
        return jwt.encode(claims, key.signing, key.algorithm, headers={"kid": key.kid})

    def read_access(self, token: str) -> Principal:
        """Return whom an access token stands for.

        Raises:
            Unauthenticated: It does not hold.
            Unavailable: Nobody has said yet which keys hold.
        """
        sha256_of_token = digest(token)
        known = self._verified.get(sha256_of_token)
        if known is not None:
            return known.caller
        key, claims = self._read(token, ACCESS)
        try:
            rights = int(claims["tenant"]), int(claims["sub"]), str(claims["name"]), claims["role"]
            caller = Principal(*rights, int(claims.get("gen", 0)))
        except (KeyError, TypeError, ValueError):
            raise Unauthenticated("the access token lacks a claim") from None
        self._verified[sha256_of_token] = _Verified(caller, min(claims["exp"], key.ends(ACCESS).timestamp()))
        return caller

    def read_refresh(self, token: str) -> RefreshClaims:
        """Return what a refresh token says.

        Raises:
            Unauthenticated: It does not hold.
        """
        _, claims = self._read(token, REFRESH)
        try:
            ids = int(claims["sub"]), UUID(claims["jti"]), UUID(claims["family"])
            return RefreshClaims(*ids, int(claims.get("gen", 0)))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Unauthenticated("the refresh token lacks a claim") from None

    def _read(self, token: str, kind: Kind) -> tuple[TokenKey, dict[str, Any]]:
        """Return what a token says, and by which key."""
        try:
            key = self.ring.get(jwt.get_unverified_header(token).get("kid"))
            if key is None:
                raise Unauthenticated(UNKNOWN_KEY) if self.asked else Unavailable("database", "does not answer")
            claims: dict[str, Any] = jwt.decode(
                token,
                key.verifying,
                algorithms=[key.algorithm],  # its own: what the token says of it is no choice
                audience=self._tokens.audience,
                issuer=self._tokens.issuer,
                options={"require": REQUIRED, "verify_iat": False},  # PyJWT's leeway would lengthen its life, too
            )
            if not is_issued(claims["iat"]):
                raise jwt.ImmatureSignatureError
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("the token has expired; refresh it or log in again") from None
        except jwt.InvalidTokenError:
            raise Unauthenticated("the token does not hold") from None
        if claims["typ"] != kind:
            raise Unauthenticated(f"send an {kind} token" if kind == ACCESS else "send a refresh token")
        if not key.holds(kind):
            raise Unauthenticated(UNKNOWN_KEY)
        return key, claims
