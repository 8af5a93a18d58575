"""Rules of the keys that sign tokens: whence they come, how long each holds, and what is refused under their names."""

import hmac
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from configs.settings import Settings
from pipelines.errors import Unauthenticated, Unavailable
from serve_app.shared import credentials
from serve_app.shared.credentials import AHEAD_S, TokenIssuer, TokenPair
from serve_app.shared.token_keys import ACCESS, HELD, REFRESH, KeyRing, Kind, TokenKey, public_jwk, thumbprint
from serve_app.store.protocols_token_keys import KeyGeneration
from serve_app.store.records import Principal

SECRET = b"k" * 64
SETTINGS = Settings(secret_key=SECRET.decode(), _env_file=None)
CALLER = Principal(3, 7, "ann", "engineer", 2)


def generations(*ages: timedelta) -> list[KeyGeneration]:
    """Return generations that began so long ago, the oldest first."""
    now = datetime.now(UTC)
    return [KeyGeneration(number, now - age) for number, age in enumerate(ages, 1)]


def issuer(*ages: timedelta) -> TokenIssuer:
    """Return an issuer that knows those generations."""
    made = TokenIssuer(SETTINGS)
    made.hold(generations(*ages))
    return made


def claims_of(kind: Kind, **changes: Any) -> dict[str, Any]:
    """Return the claims of a token that lives for a year."""
    now = datetime.now(UTC)
    said = {"iss": "hdx", "aud": "hdx-api", "sub": "7", "iat": now, "exp": now + timedelta(days=365), "gen": 2}
    rights = {"tenant": 3, "name": "ann", "role": "engineer", "family": str(uuid4())}
    return said | rights | {"jti": str(uuid4()), "typ": kind} | changes


def signed(ring: KeyRing, number: int, kind: Kind) -> str:
    """Return such a token by the key of a generation."""
    key = (ring.access if kind == ACCESS else ring.own)[number]
    return jwt.encode(claims_of(kind), key.signing, key.algorithm, headers={"kid": key.kid})


def readers(reader: TokenIssuer) -> dict[Kind, Callable[[str], object]]:
    """Return what reads each kind."""
    return {"access": reader.read_access, "refresh": reader.read_refresh, "device": reader.read_device}


def believed(reader: TokenIssuer, kind: Kind, token: str) -> bool:
    """Tell whether a token holds."""
    try:
        return readers(reader)[kind](token) is not None
    except Unauthenticated as error:
        assert "key that is not known" in str(error)
        return False


# --- whence keys come


def test_keys_follow_from_secret_and_number() -> None:
    """The ids are kept: another derivation would log everybody out. No two keys of all are one."""
    ring = KeyRing(SECRET, generations(HELD, HELD))
    assert ring.access[1].kid == "bARASIuoHfsRL-2dLGGlngGczm78CM71chWH1EleR98"
    assert ring.own[1].kid == "338cf244ab87b867"
    others = KeyRing(b"o" * 64, generations(HELD, HELD))
    kids = [key.kid for each in (ring, others) for keys in (each.access, each.own) for key in keys.values()]
    assert len(set(kids)) == len(kids) == 12


def test_an_id_is_the_thumbprint_of_the_key() -> None:
    """As RFC 8037, A.3 has it."""
    public = Ed25519PublicKey.from_public_bytes(urlsafe_b64decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo="))
    assert thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_what_is_shown_signs_nothing() -> None:
    """A JWK has the public half alone, a key of HMAC has none, and a key that is printed shows neither."""
    ring = KeyRing(SECRET, generations(HELD))
    assert set(public_jwk(ring.access[1])) == {"kty", "crv", "x", "kid", "use", "alg"}
    with pytest.raises(TypeError):
        public_jwk(ring.own[1])
    key = ring.own[1].signing
    assert isinstance(key, bytes)
    assert repr(key) not in repr(ring.own[1])
    assert "signing" not in repr(ring.access[1])


# --- how long they hold


@pytest.mark.parametrize(
    ("kind", "lives"),
    [("access", timedelta(minutes=15)), ("refresh", timedelta(days=30)), ("device", timedelta(days=90))],
)
def test_a_former_key_holds_as_long_as_its_tokens_live(kind: Kind, lives: timedelta) -> None:
    """Longest life and a minute after the next key began it holds no longer, whatever the token says of its end."""
    for since, holds in ((timedelta(0), True), (lives, True), (lives + timedelta(seconds=61), False)):
        reader = issuer(timedelta(days=300), since)
        assert believed(reader, kind, signed(reader.ring, 1, kind)) == holds, since
        assert believed(reader, kind, signed(reader.ring, 2, kind))


def test_nobody_is_logged_out_by_a_rotation() -> None:
    """What was signed before it holds after it, with the same words; what is signed after it names another key."""
    reader = issuer(timedelta(days=3))
    before, device = reader.issue(CALLER), reader.issue_device(7, 2)
    reader.hold(generations(timedelta(days=3), timedelta(0)))
    after = reader.issue(CALLER)
    assert reader.read_access(before.access) == reader.read_access(after.access) == CALLER
    assert reader.read_refresh(before.refresh).token_id == before.token_id
    assert reader.read_device(device) is not None
    assert kid_of(before.access) != kid_of(after.access)
    assert kid_of(before.refresh) != kid_of(after.refresh)


def test_the_next_keys_are_known_ahead() -> None:
    """A replica believes what another one signs that has seen a rotation before it; of two it knows nothing."""
    slow = issuer(timedelta(days=3))
    rings = KeyRing(SECRET, generations(*[timedelta(days=3)] * 3))
    for kind in readers(slow):
        assert [believed(slow, kind, signed(rings, number, kind)) for number in (2, 3)] == [True, False]


def test_tokens_of_before_generations_hold_until_they_end() -> None:
    """After the upgrade, as if they were of a generation before the first; no key of theirs is shown."""
    fresh, later = issuer(timedelta(0)), issuer(timedelta(minutes=17))
    kinds: tuple[Kind, ...] = ("access", "refresh", "device")
    assert [believed(fresh, kind, of_before(kind)) for kind in kinds] == [True, True, True]
    assert [believed(later, kind, of_before(kind)) for kind in kinds] == [False, True, True]
    assert not any(believed(issuer(HELD), kind, of_before(kind)) for kind in kinds)
    assert not any(believed(issuer(timedelta(days=3), timedelta(0)), kind, of_before(kind)) for kind in kinds[:1])


def of_before(kind: Kind) -> str:
    """Return a token as it was signed before there were generations."""
    key = hmac.new(SECRET, b"hdx access and refresh tokens", sha256).digest()
    return jwt.encode(claims_of(kind), key, "HS256", headers={"kid": sha256(key).hexdigest()[:16]})


def test_a_generation_far_beyond_ends_the_one_before_it() -> None:
    """As after a restore: what signed before is former, however far the numbers lie apart, and shown as such."""
    now = datetime.now(UTC)
    numbers = (1, now - HELD), (29_000_000, now - timedelta(minutes=5))
    reader = TokenIssuer(SETTINGS)
    reader.hold([KeyGeneration(*each) for each in numbers])
    first = reader.ring.access[1]
    assert first.former_since == numbers[1][1]
    assert reader.ring.shown() == (reader.ring.access[29_000_000], first)
    assert reader.ring.signer(REFRESH) == reader.ring.own[29_000_000]
    assert reader.ring.get(KeyRing(SECRET, generations(HELD, HELD)).access[2].kid) is None


def test_two_keys_are_shown() -> None:
    """The one that signs, and the former one; once that has ended, the one to come."""
    first, second, third = (KeyRing(SECRET, generations(*[HELD] * 3)).access[number].kid for number in (1, 2, 3))
    shown = [[key["kid"] for key in issuer(*ages).public_keys()] for ages in ((HELD,), (HELD, timedelta(minutes=15)))]
    assert shown == [[first, second], [second, first]]
    assert [key["kid"] for key in issuer(HELD, timedelta(minutes=17)).public_keys()] == [second, third]


def test_without_generations_the_first_signs() -> None:
    """A table that somebody has emptied shuts nobody out."""
    assert issuer().read_access(issuer().issue(CALLER).access) == CALLER


# --- what is refused


def kid_of(token: str) -> str:
    """Return which key a token names."""
    return str(jwt.get_unverified_header(token)["kid"])


def encoded(part: bytes | dict[str, Any]) -> str:
    """Return a part of a token as it is sent."""
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return urlsafe_b64encode(content).decode().rstrip("=")


def by_hmac(header: dict[str, Any], secret: bytes, pair: TokenPair) -> str:
    """Return an access token that HMAC signs, as PyJWT would not with such a secret."""
    begin = f"{encoded(header)}.{pair.access.split('.')[1]}"
    return f"{begin}.{encoded(hmac.new(secret, begin.encode(), sha256).digest())}"


def test_a_public_key_is_no_secret() -> None:
    """HS256 under the id of a public key, with that key in any writing as the secret, is refused."""
    reader = issuer(HELD)
    key, pair = reader.ring.signer(ACCESS), reader.issue(CALLER)
    public = key.verifying
    assert isinstance(public, Ed25519PublicKey)
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    x = public_jwk(key)["x"].encode()
    for secret in (pem, pem.strip(), der, public.public_bytes_raw(), x, json.dumps(public_jwk(key)).encode()):
        for kid in (key.kid, reader.ring.signer(REFRESH).kid):
            with pytest.raises(Unauthenticated, match="does not hold"):
                reader.read_access(by_hmac({"alg": "HS256", "typ": "JWT", "kid": kid}, secret, pair))


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "", "HS256", "HS512", "ES256", "RS256", "eddsa", "Ed448", None]
)
def test_a_token_does_not_choose_its_algorithm(alg: str | None) -> None:
    """The real signature, and none, under another algorithm than the key's own."""
    reader = issuer(HELD)
    _, payload, signature = reader.issue(CALLER).access.split(".")
    header = encoded({"alg": alg, "typ": "JWT", "kid": reader.ring.signer(ACCESS).kid})
    for end in (signature, ""):
        with pytest.raises(Unauthenticated, match="does not hold"):
            reader.read_access(f"{header}.{payload}.{end}")


@pytest.mark.parametrize("kid", [None, 7, "", "../../dev/null", "' OR 1=1", "0" * 43, ["a"], {"kid": "a"}])
def test_an_unknown_key_is_refused(kid: object) -> None:
    """The real signature under an id that is none, or without any."""
    reader = issuer(HELD)
    _, payload, signature = reader.issue(CALLER).access.split(".")
    header = {"alg": "EdDSA", "typ": "JWT"} | ({} if kid is None else {"kid": kid})
    with pytest.raises(Unauthenticated):
        reader.read_access(f"{encoded(header)}.{payload}.{signature}")


def test_a_key_that_a_token_brings_is_not_used() -> None:
    """Neither `jwk` nor `jku` in a header says by which key to verify."""
    reader, stranger = issuer(HELD), Ed25519PrivateKey.generate()
    jwk = public_jwk(reader.ring.signer(ACCESS)) | {"x": encoded(stranger.public_key().public_bytes_raw())}
    header = {"kid": jwk["kid"], "jwk": jwk, "jku": "https://example.com/jwks.json"}
    for kid in (header["kid"], thumbprint(stranger.public_key())):
        token = jwt.encode(claims_of("access"), stranger, "EdDSA", headers=header | {"kid": kid})
        with pytest.raises(Unauthenticated):
            reader.read_access(token)


def test_a_key_signs_tokens_of_its_kinds_alone() -> None:
    """An access token by the key of refresh tokens, and the other way round, are refused."""
    reader = issuer(HELD)
    access, own = reader.ring.access[1], reader.ring.own[1]
    wrong: tuple[tuple[TokenKey, Kind], ...] = ((own, "access"), (access, "refresh"), (access, "device"))
    for key, kind in wrong:
        token = jwt.encode(claims_of(kind), key.signing, key.algorithm, headers={"kid": key.kid})
        assert not believed(reader, kind, token)


def test_until_somebody_has_asked_no_token_is_called_wrong() -> None:
    """A replica that starts while the database is away does not know which keys hold, and says that."""
    reader, later = TokenIssuer(SETTINGS, asked=False), issuer(*[timedelta(days=3)] * 5)
    tokens = later.issue(CALLER)
    with pytest.raises(Unavailable):
        reader.read_access(tokens.access)
    with pytest.raises(Unavailable):
        reader.read_refresh(tokens.refresh)
    assert reader.read_device(later.issue_device(7, 2)) is None
    reader.hold(later.ring.generations)
    assert reader.read_access(tokens.access) == CALLER


def test_nodes_whose_clocks_differ_believe_each_other() -> None:
    """By a minute; a token of later than that, or of no moment, is refused, and none lives longer for it."""
    reader = issuer(HELD)
    key, now = reader.ring.signer(ACCESS), time.time()
    for changes, holds in (
        ({"iat": now + AHEAD_S - 30}, True),
        ({"iat": now + AHEAD_S + 3600}, False),
        ({"iat": "yesterday"}, False),
        ({"iat": float("nan")}, False),
        ({"iat": now - 60, "exp": now - 1}, False),
    ):
        token = jwt.encode(claims_of(ACCESS) | changes, key.signing, key.algorithm, headers={"kid": key.kid})
        try:
            assert reader.read_access(token) == CALLER
            assert holds, changes
        except Unauthenticated:
            assert not holds, changes


# --- what is verified once


def refuse(*_: object, **__: object) -> None:
    """Stand for a signature that does not hold."""
    raise jwt.InvalidTokenError


def test_a_token_is_verified_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its signature costs more than all else; another token is another one."""
    reader = issuer(HELD)
    first, second = reader.issue(CALLER).access, reader.issue(CALLER).access
    assert reader.read_access(first) == CALLER
    monkeypatch.setattr(jwt, "decode", refuse)
    assert reader.read_access(first) == CALLER
    for token in (second, first + "x", first[:-1]):
        with pytest.raises(Unauthenticated):
            reader.read_access(token)


@pytest.mark.parametrize(
    ("ages", "lives_s"),
    [((HELD,), 365 * 86_400), ((HELD, timedelta(minutes=6)), 10 * 60)],
    ids=["its own end", "the end of its key"],
)
def test_a_verified_token_is_believed_no_longer_than_it_lives(
    monkeypatch: pytest.MonkeyPatch, ages: tuple[timedelta, ...], lives_s: float
) -> None:
    """Up to its end, and to that of its key, and no second longer; the test moves the clock."""
    now = [time.time()]
    monkeypatch.setattr(time, "time", lambda: now[0])
    reader = issuer(*ages)
    token = signed(reader.ring, 1, ACCESS)
    assert reader.read_access(token) == CALLER
    monkeypatch.setattr(jwt, "decode", refuse)
    now[0] += lives_s - 60  # as the machine may be slow
    assert reader.read_access(token) == CALLER
    now[0] += 60 + 1
    with pytest.raises(Unauthenticated):
        reader.read_access(token)


def test_a_verified_token_ends_with_the_key_that_a_rotation_ends() -> None:
    """What was believed under the generations of before is asked for anew."""
    reader = issuer(HELD)
    token = signed(reader.ring, 1, ACCESS)
    assert reader.read_access(token) == CALLER
    reader.hold(generations(HELD, timedelta(minutes=17)))
    assert not believed(reader, ACCESS, token)


def test_few_verified_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a flood of them takes has a bound."""
    monkeypatch.setattr(credentials, "VERIFIED_MAX", 3)
    reader = issuer(HELD)
    for _ in range(10):
        reader.read_access(reader.issue(CALLER).access)
    assert len(reader._verified) == 3
