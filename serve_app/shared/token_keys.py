"""Keys that tokens are signed by, generation by generation; each follows from the secret and the generation's number.

So the database holds none, and every replica has them all. Access tokens are signed by Ed25519, whose public keys
anyone may have. What HDX alone reads is signed by HMAC under keys of its own, so that no other service takes a refresh
token for an access token.
"""

import json
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import digest as hmac_digest
from itertools import pairwise
from typing import Final, Literal

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from jwt.algorithms import OKPAlgorithm

from configs.settings import ACCESS_MINUTES_MAX, REFRESH_DAYS_MAX
from serve_app.store.protocols_token_keys import KeyGeneration
from serve_app.store.records import EPOCH

Kind = Literal["access", "refresh", "device", "oidc"]
ACCESS: Final = "access"
REFRESH: Final = "refresh"
DEVICE: Final = "device"
OIDC: Final = "oidc"
# How long a device is known after it has logged in. Source: own choice; who was away for longer is a stranger again.
DEVICE_LIVES = timedelta(days=90)
# How long a person may take to log in at a provider. Source: own choice.
OIDC_LIVES = timedelta(minutes=10)
# A former key holds for tokens of a kind as long as any of them may live, whatever the settings said when it signed,
# and for clocks that differ. Source of the minute: own choice.
LIVES: dict[Kind, timedelta] = {
    ACCESS: timedelta(minutes=ACCESS_MINUTES_MAX),
    REFRESH: timedelta(days=REFRESH_DAYS_MAX),
    DEVICE: DEVICE_LIVES,
    OIDC: OIDC_LIVES,
}
MARGIN = timedelta(minutes=1)
HELD = max(LIVES.values()) + MARGIN
# Between two rotations at least. Source: own choice; by then no access token of the former key is left, and whoever
# keeps public keys for three quarters of an hour has the next one before it signs.
APART = timedelta(hours=1)
NEVER = datetime.max.replace(tzinfo=UTC)
EDDSA, HS256 = "EdDSA", "HS256"
# Until the database has been asked.
FIRST = (KeyGeneration(1, EPOCH),)


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key with the one algorithm that it signs by.

    Attributes:
        kid: Its id, in the header of what it signs.
        kinds: Of tokens that it signs.
        former_since: When the next one began to sign in its place; None while there is none.
    """

    kid: str
    algorithm: str
    kinds: tuple[Kind, ...]
    signing: Ed25519PrivateKey | bytes = field(repr=False)
    verifying: Ed25519PublicKey | bytes = field(repr=False)
    former_since: datetime | None

    def ends(self, kind: Kind) -> datetime:
        """Return when it no longer holds for tokens of a kind."""
        if kind not in self.kinds:
            return EPOCH
        return self.former_since + LIVES[kind] + MARGIN if self.former_since else NEVER

    def holds(self, kind: Kind) -> bool:
        """Tell whether it holds for tokens of a kind."""
        return datetime.now(UTC) < self.ends(kind)


class KeyRing:
    """The keys of all generations that may hold, and those of the next one.

    As a replica knows the next keys ahead, it believes what another one signs that has seen a rotation before it.

    Args:
        secret: That all keys follow from.
        generations: In their order.

    Attributes:
        access: By generation, what signs access tokens.
        own: The same for what HDX alone reads.
    """

    def __init__(self, secret: bytes, generations: Sequence[KeyGeneration]) -> None:
        self.generations = tuple(generations) or FIRST
        numbers = sorted(each.number for each in self.generations)
        begun = {each.number: each.begun_at for each in self.generations}
        self._newest = numbers[-1]
        self._former = numbers[-2] if numbers[1:] else None
        # By generation, when the next one began; after a restore its number is far beyond.
        ended = {number: begun[after] for number, after in pairwise(numbers)}
        self.access: dict[int, TokenKey] = {}
        self.own: dict[int, TokenKey] = {}
        for number in (*numbers, self._newest + 1):
            self.access[number] = _access_key(secret, number, ended.get(number))
            self.own[number] = _own_key(secret, number, ended.get(number))
        # Where generations of before are left out it has ended, as they have.
        first = _first_key(secret, begun[numbers[0]])
        self._by_kid = {key.kid: key for key in (first, *self.access.values(), *self.own.values())}

    def signer(self, kind: Kind) -> TokenKey:
        """Return the key that signs tokens of a kind."""
        return (self.access if kind == ACCESS else self.own)[self._newest]

    def get(self, kid: object) -> TokenKey | None:
        """Return the key of an id, which may hold no longer; None where there is none."""
        return self._by_kid.get(kid) if isinstance(kid, str) else None

    def shown(self) -> tuple[TokenKey, TokenKey]:
        """Return two keys of access tokens: the one that signs, and the former one while it holds, else the next."""
        former = None if self._former is None else self.access[self._former]
        other = former if former is not None and former.holds(ACCESS) else self.access[self._newest + 1]
        return self.access[self._newest], other


def public_jwk(key: TokenKey) -> dict[str, str]:
    """Return the public half of an access token's key as RFC 7517 and RFC 8037 write it."""
    if not isinstance(key.verifying, Ed25519PublicKey):
        raise TypeError("has no public half")
    return _members(key.verifying) | {"kid": key.kid, "use": "sig", "alg": key.algorithm}


def thumbprint(public: Ed25519PublicKey) -> str:
    """Return the id of a public key, as RFC 7638 makes it."""
    members = json.dumps(_members(public), sort_keys=True, separators=(",", ":"))
    return urlsafe_b64encode(sha256(members.encode()).digest()).decode().rstrip("=")


def _members(public: Ed25519PublicKey) -> dict[str, str]:
    members: dict[str, str] = OKPAlgorithm.to_jwk(public, as_dict=True)
    return members


def _access_key(secret: bytes, number: int, former_since: datetime | None) -> TokenKey:
    private = Ed25519PrivateKey.from_private_bytes(_derived(secret, "access tokens", number))
    public = private.public_key()
    return TokenKey(thumbprint(public), EDDSA, (ACCESS,), private, public, former_since)


def _own_key(secret: bytes, number: int, former_since: datetime | None) -> TokenKey:
    key = _derived(secret, "refresh tokens and devices", number)
    return TokenKey(_hash_of(key), HS256, (REFRESH, DEVICE, OIDC), key, key, former_since)


def _first_key(secret: bytes, former_since: datetime) -> TokenKey:
    """Return the one key of before generations, of tokens of all kinds."""
    key = hmac_digest(secret, b"hdx access and refresh tokens", "sha256")
    return TokenKey(_hash_of(key), HS256, (ACCESS, REFRESH, DEVICE), key, key, former_since)


def _derived(secret: bytes, purpose: str, number: int) -> bytes:
    return HKDF(SHA256(), 32, None, f"hdx {purpose}, generation {number}".encode()).derive(secret)


def _hash_of(key: bytes) -> str:
    return sha256(key).hexdigest()[:16]
