"""Rules of passwords, tokens and keys."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest

from configs.settings import Settings
from pipelines.errors import Unauthenticated
from serve_app.credentials import TokenIssuer, digest, hash_password, new_api_key, same_key, verify_password
from serve_app.store.records import Principal

SETTINGS = Settings(secret_key="k" * 64, _env_file=None)
ISSUER = TokenIssuer(SETTINGS)
CALLER = Principal(3, 7, "ann", "engineer")


def forged(key: bytes | None, kid: str | None = None, algorithm: str = "HS256", **changes: Any) -> str:
    """Return a token that is right but for what is changed."""
    now = datetime.now(UTC)
    claims: dict[str, Any] = {
        "iss": "hdx", "aud": "hdx-api", "sub": "7", "iat": now, "exp": now + timedelta(minutes=5), "jti": str(uuid4()),
        "typ": "access", "tenant": 3, "name": "ann", "role": "admin",
    }  # fmt: skip
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid or ISSUER.kid})  # type: ignore[arg-type]


def test_tokens_say_who_they_were_issued_for() -> None:
    """An access token gives the principal back, a refresh token its user, family and id."""
    pair = ISSUER.issue(CALLER)
    assert ISSUER.read_access(pair.access) == CALLER
    claims = ISSUER.read_refresh(pair.refresh)
    assert (claims.user_id, claims.token_id, claims.family) == (7, pair.token_id, pair.family)
    assert pair.expires_in == 15 * 60
    assert ISSUER.issue(CALLER, pair.family).family == pair.family


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        forged(b"another key of sufficient length 32"),
        forged(ISSUER._key, kid="other"),
        forged(None, algorithm="none"),
        forged(ISSUER._key, algorithm="HS512"),
        forged(ISSUER._key, iss="elsewhere"),
        forged(ISSUER._key, aud="elsewhere"),
        forged(ISSUER._key, exp=datetime.now(UTC) - timedelta(seconds=1)),
        forged(ISSUER._key, typ="refresh"),
        *(
            forged(ISSUER._key, **dict[str, Any]({name: None}))
            for name in ("exp", "jti", "typ", "sub", "tenant", "role", "iss", "aud")
        ),
    ],
)
def test_tokens_that_do_not_hold_are_refused(token: str) -> None:
    """Another key, algorithm, issuer, audience, kind or age, or a missing claim: none of them gets in."""
    with pytest.raises(Unauthenticated):
        ISSUER.read_access(token)


def test_an_access_token_does_not_refresh() -> None:
    """Each token serves its own purpose only."""
    with pytest.raises(Unauthenticated):
        ISSUER.read_refresh(ISSUER.issue(CALLER).access)


def test_passwords_are_hashed_as_owasp_asks() -> None:
    """Argon2id with at least 19 MiB, two passes and one lane; only the right password verifies."""
    hashed = hash_password("correct horse")
    assert hashed.startswith("$argon2id$")
    assert "m=19456,t=2,p=1" in hashed
    assert verify_password(hashed, "correct horse")
    assert not verify_password(hashed, "wrong horse")
    assert not verify_password("no hash", "correct horse")


def test_keys_compare_whole() -> None:
    """A key equals itself and nothing else; two fresh ones differ."""
    key = new_api_key()
    assert key != new_api_key()
    assert same_key(key, key)
    assert not same_key(key, key[:-1])
    assert digest(key) != digest(key[:-1])
