"""Rules of passwords, tokens and keys."""

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from configs.settings import DEFAULT_SECRET, Models, Settings
from pipelines.errors import Unauthenticated
from serve_app.local.bootstrap import mlflow_environment
from serve_app.shared.credentials import (
    TokenIssuer,
    digest,
    hash_password,
    new_api_key,
    same_key,
    storage_key,
    verify_password,
    webhook_secret,
)
from serve_app.shared.registry_access import access_of, signer_of
from serve_app.shared.token_keys import ACCESS, REFRESH
from serve_app.store.records import Principal

SETTINGS = Settings(secret_key="k" * 64, _env_file=None)
ISSUER = TokenIssuer(SETTINGS)
KEY, OWN = ISSUER.ring.signer(ACCESS), ISSUER.ring.signer(REFRESH)
CALLER = Principal(3, 7, "ann", "engineer")


def forged(key: Any = KEY.signing, kid: str = KEY.kid, algorithm: str = "EdDSA", **changes: Any) -> str:
    """Return a token that is right but for what is changed; it outlives the test run, which forges when it collects."""
    now = datetime.now(UTC)
    claims: dict[str, Any] = {
        "iss": "hdx", "aud": "hdx-api", "sub": "7", "iat": now, "exp": now + timedelta(days=1), "jti": str(uuid4()),
        "typ": "access", "tenant": 3, "name": "ann", "role": "admin",
    }  # fmt: skip
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid})


def own(**changes: Any) -> str:
    """Return the same of a refresh token."""
    return forged(OWN.signing, OWN.kid, OWN.algorithm, **{"typ": "refresh", "family": str(uuid4())} | changes)


def test_tokens_say_who_they_were_issued_for() -> None:
    """An access token gives the principal back, a refresh token its user, family and id."""
    pair = ISSUER.issue(CALLER)
    assert ISSUER.read_access(pair.access) == CALLER
    claims = ISSUER.read_refresh(pair.refresh)
    assert (claims.user_id, claims.token_id, claims.family) == (7, pair.token_id, pair.family)
    assert pair.expires_in == 10 * 60
    assert ISSUER.issue(CALLER, pair.family).family == pair.family


def test_tokens_end_when_they_say() -> None:
    """The access token lives minutes, the refresh token days; each has an id of its own and names its key."""
    before = datetime.now(UTC)
    pair = ISSUER.issue(CALLER)
    whom = SETTINGS.tokens.audience
    access = jwt.decode(pair.access, KEY.verifying, ["EdDSA"], audience=whom)
    refresh = jwt.decode(pair.refresh, OWN.verifying, ["HS256"], audience=whom)
    assert access["exp"] - access["iat"] == 10 * 60
    assert refresh["exp"] - refresh["iat"] == SETTINGS.tokens.refresh_days * 24 * 3600
    assert pair.expires_at.timestamp() == pytest.approx(refresh["exp"], abs=1.0)
    assert abs(access["iat"] - before.timestamp()) < 5
    assert len({access["jti"], refresh["jti"], ISSUER.issue(CALLER).token_id}) == 3
    assert UUID(access["jti"]).version == 4
    assert jwt.get_unverified_header(pair.access) == {"alg": "EdDSA", "typ": "JWT", "kid": KEY.kid}
    assert jwt.get_unverified_header(pair.refresh) == {"alg": "HS256", "typ": "JWT", "kid": OWN.kid}


def test_tokens_of_before_generations_are_of_the_first() -> None:
    """A token that names no generation of credentials counts as older than any withdrawal."""
    assert ISSUER.read_access(forged()).generation == 0
    assert ISSUER.read_refresh(own()).generation == 0


def test_mlflow_has_secrets_of_its_own() -> None:
    """What MLflow signs with and what it encrypts with follow from the secret, differ, and tell nothing of it.

    The values are kept: another one would break the webhooks that are registered already.
    """
    secret = "k" * 64
    assert webhook_secret(secret) == "f80ab7196f895254243a6de5362c5c5fde0c51846fc25578c67f0efa98433aa7"
    assert storage_key(secret) == "jF1G5e3MPu6rTPz75tNs9HlZOq2abBeDFbeXbKk3Q3w="


def test_versions_are_signed_by_a_key_of_its_own() -> None:
    """It follows from the secret, and who reaches the registry is given its public half and no other secret.

    The value is kept: another one would have every version signed anew.
    """
    signer, access = signer_of(SETTINGS), access_of(SETTINGS)
    assert access.signers == (signer.public,)
    assert signer.public.hex() == "b575e07bfdc6e6de3e00e0cc0cbc588a35250199332dc761188716b2935b0acc"
    assert signer_of(Settings(secret_key="o" * 64, _env_file=None)).public != signer.public
    named = Models(signers=("ab" * 32,))
    assert access_of(SETTINGS.model_copy(update={"models": named})).signers == (signer.public, bytes.fromhex("ab" * 32))
    assert access.login[1] not in repr(access)
    with pytest.raises(ValueError, match="signers"):
        Models(signers=("not hex",))


def test_mlflow_is_started_without_what_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment holds no secret of HDX but that of its own door, and its command line none at all."""
    secrets = {name: f"{name}-secret" for name in ("HDX_SECRET_KEY", "HDX_RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN")}
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    settings = SETTINGS.model_copy(update={"mlflow_password": SecretStr("door")})
    given = mlflow_environment(settings, "postgresql://hdx:hidden@db/mlflow")
    assert not {*secrets.values(), "k" * 64} & set(given.values())
    assert (given["HDX_MLFLOW_PASSWORD"], given["HDX_MLFLOW_USERNAME"]) == ("door", "hdx")
    assert [name for name in given if name.startswith("HDX_")] == ["HDX_MLFLOW_USERNAME", "HDX_MLFLOW_PASSWORD"]


def test_mlflow_tells_nobody_of_its_use() -> None:
    """It would speak to its makers: neither the server nor a training does."""
    assert mlflow_environment(SETTINGS, "")["MLFLOW_DISABLE_TELEMETRY"] == "true"
    said = (
        "from pipelines.promotion.mlflow_client import Access; from pipelines.training.publish import logged_in\n"
        "with logged_in(Access('http://127.0.0.1:9', 'live', ('', ''), ())):\n"
        "    from mlflow.telemetry.utils import is_telemetry_disabled as off; print(off())"
    )
    clean = {name: value for name, value in os.environ.items() if name not in {"CI", "MLFLOW_DISABLE_TELEMETRY"}}
    done = subprocess.run([sys.executable, "-c", said], env=clean, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        forged(Ed25519PrivateKey.generate()),
        forged(kid="other"),
        forged(None, algorithm="none"),
        forged(OWN.signing, OWN.kid, "HS256"),
        forged(OWN.signing, OWN.kid, "HS512"),
        forged(iss="elsewhere"),
        forged(aud="elsewhere"),
        forged(exp=datetime.now(UTC) - timedelta(seconds=1)),
        forged(typ="refresh"),
        *(
            forged(**dict[str, Any]({name: None}))
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
    assert key.startswith("hdx_")
    assert len(key) == len("hdx_") + 43
    assert len(digest(key)) == 32


def test_a_short_secret_is_refused() -> None:
    """A secret under 32 bytes signs nothing; only the marked default of the local profile does."""
    with pytest.raises(ValueError, match="at least 32 bytes"):
        TokenIssuer(Settings(secret_key="k" * 31, _env_file=None))
    TokenIssuer(Settings(secret_key="k" * 32, _env_file=None))
    TokenIssuer(Settings(secret_key=DEFAULT_SECRET, _env_file=None))


def test_the_secret_itself_signs_nothing() -> None:
    """The signing key is bound to its purpose: a token signed with the bare secret does not hold."""
    with pytest.raises(Unauthenticated):
        ISSUER.read_refresh(forged(b"k" * 64, OWN.kid, "HS256", typ="refresh", family=str(uuid4())))
    with pytest.raises(Unauthenticated):
        ISSUER.read_access(forged(Ed25519PrivateKey.from_private_bytes(b"k" * 32)))


def test_a_token_without_flaw_holds() -> None:
    """The forgeries above fail for their one flaw alone."""
    assert ISSUER.read_access(forged()).name == "ann"


def test_an_unsigned_token_is_refused() -> None:
    """`alg: none` under our own key id, with and without a signature, and our header without one: none gets in."""
    header, payload, signature = forged().split(".")
    none = encoded({"alg": "none", "kid": KEY.kid})
    for token in (f"{none}.{payload}.", f"{none}.{payload}.{signature}", f"{header}.{payload}."):
        with pytest.raises(Unauthenticated):
            ISSUER.read_access(token)


def test_a_changed_payload_is_refused() -> None:
    """Another role under the same signature does not hold."""
    header, payload, signature = ISSUER.issue(CALLER).access.split(".")
    claims = json.loads(base64.urlsafe_b64decode(f"{payload}=="))
    with pytest.raises(Unauthenticated, match="does not hold"):
        ISSUER.read_access(f"{header}.{encoded(claims | {'role': 'admin'})}.{signature}")


def encoded(part: dict[str, Any]) -> str:
    """Return a part of a token as it is sent."""
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


@pytest.mark.parametrize("token", [".", "..", "Bearer x", "\x00", "токен", "e30.e30.e30", "x" * 5000])
def test_garbage_is_refused_without_error(token: str) -> None:
    """What is no token is a refusal for both kinds."""
    with pytest.raises(Unauthenticated):
        ISSUER.read_access(token)
    with pytest.raises(Unauthenticated):
        ISSUER.read_refresh(token)


def test_refusals_name_what_a_caller_can_mend() -> None:
    """An expired token, one of another key and one of the wrong kind say so; a refresh token needs ids."""
    expired = forged(exp=datetime.now(UTC) - timedelta(seconds=1))
    other = TokenIssuer(Settings(secret_key="o" * 64, _env_file=None))
    reasons = {
        expired: "expired",
        other.issue(CALLER).access: "key that is not known",
        ISSUER.issue(CALLER).refresh: "send an access token",
        forged(tenant=None): "the access token lacks a claim",
        forged(iss="elsewhere"): "does not hold",
        forged(iss=None): "does not hold",
    }
    for token, reason in reasons.items():
        with pytest.raises(Unauthenticated, match=reason):
            ISSUER.read_access(token)
    with pytest.raises(Unauthenticated, match="send a refresh token"):
        ISSUER.read_refresh(ISSUER.issue(CALLER).access)
    for changes in ({"jti": "7"}, {"family": "x"}):
        with pytest.raises(Unauthenticated, match="lacks a claim"):
            ISSUER.read_refresh(own(**changes))
