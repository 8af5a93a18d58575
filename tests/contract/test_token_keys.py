"""The public keys over HTTP, what other services do with them, and rotations and forgeries as callers meet them."""

import asyncio
import json
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient

from pipelines.errors import Conflict, Unavailable
from serve_app.api.app import create_app
from serve_app.api.auth import WITHDRAWN_S
from serve_app.api.schemas.auth import PublicKeysReply
from serve_app.shared.token_keys import APART, HELD, KeyRing
from serve_app.store.protocols_token_keys import KeyGeneration
from tests.contract.calls import DETECT, WINDOW, Replied, assert_problem
from tests.contract.stand_ins import PASSWORD, Bench

KEYS = "/.well-known/jwks.json"
LOG_IN = {"username": "admin", "password": PASSWORD}
# As clients send them that take the long way, through FastAPI, and as those that do not.
WAYS = [{"content-type": "application/json"}, {"content-type": "application/json; charset=utf-8"}]


def log_in(client: TestClient) -> dict[str, Any]:
    """Return a new pair of tokens."""
    reply = client.post("/api/auth/login/", json=LOG_IN)
    assert reply.status_code == 200, reply.text
    tokens: dict[str, Any] = reply.json()
    return tokens


def bearer(token: str) -> dict[str, str]:
    """Return the header of a token."""
    return {"authorization": f"Bearer {token}"}


def kids(client: TestClient) -> list[str]:
    """Return the ids of the keys that are shown."""
    return [key["kid"] for key in client.get(KEYS).json()["keys"]]


def kid_of(token: str) -> str:
    """Return which key a token names."""
    return str(jwt.get_unverified_header(token)["kid"])


def age(bench: Bench, *ages: timedelta) -> None:
    """Let the generations have begun so long ago, the oldest first."""
    now = datetime.now(UTC)
    bench.store.token_keys.generations[:] = [KeyGeneration(number, now - age) for number, age in enumerate(ages, 1)]


def rotate(bench: Bench) -> None:
    """Rotate, as the command does."""
    asyncio.run(bench.store.token_keys.rotate(APART, "ann"))


def seen(client: TestClient, shown: list[str]) -> list[str]:
    """Return the ids of the keys once they are others, or after far more time than that may take."""
    ends = time.monotonic() + 10 * WITHDRAWN_S
    while (found := kids(client)) == shown and time.monotonic() < ends:
        time.sleep(0.05)
    return found


def test_anyone_verifies_access_tokens(client: TestClient) -> None:
    """By the keys that are shown to strangers and nothing else; they have no private half, and sign nothing else."""
    reply = client.get(KEYS)
    assert reply.status_code == 200
    assert len(PublicKeysReply.model_validate(reply.json()).keys) == 2
    assert {(key["kty"], key["crv"], key["alg"], key["use"]) for key in reply.json()["keys"]} == {
        ("OKP", "Ed25519", "EdDSA", "sig")
    }
    assert all("d" not in key for key in reply.json()["keys"])
    tokens, known = log_in(client), jwt.PyJWKSet.from_dict(reply.json())
    claims = jwt.decode(tokens["access"], known[kid_of(tokens["access"])], ["EdDSA"], audience="hdx-api", issuer="hdx")
    assert (claims["name"], claims["role"], claims["tenant"]) == ("admin", "admin", 1)
    assert kid_of(tokens["refresh"]) not in kids(client)
    device = client.cookies["hdx_device"]
    assert kid_of(device) not in kids(client)


def test_a_rotation_logs_nobody_out(client: TestClient, bench: Bench) -> None:
    """Tokens of before open, refresh and are known as a device's; what is signed from then on names the next key."""
    age(bench, 2 * APART)
    before, device = log_in(client), client.cookies["hdx_device"]
    shown = kids(client)
    rotate(bench)
    assert seen(client, shown) == shown[::-1]  # the one to come signs now, and the one that signed is the former one
    after = log_in(client)
    assert (kid_of(before["access"]), kid_of(after["access"])) == (shown[0], shown[1])
    for tokens in (before, after):
        assert client.get("/api/systems/", headers=bearer(tokens["access"])).status_code == 200
        assert client.post(DETECT, json=WINDOW, headers=bearer(tokens["access"])).status_code == 200
    fresh = client.post("/api/auth/refresh/", json={"refresh": before["refresh"]})
    assert kid_of(fresh.json()["access"]) == shown[1]
    assert client.app.state.authenticator.is_device(device)  # type: ignore[attr-defined]
    assert bench.store.audited[-1][0] == 1  # the log-in; the rotation before it is the platform's
    assert (None, "ann", "token_keys.rotated", "generation 2") in bench.store.audited


def test_log_ins_sign_by_a_new_key_at_once(bench: Bench) -> None:
    """Whoever logs in or refreshes gets a token of the newest key, also from a replica that never looks by itself."""
    age(bench, 2 * APART)
    client = TestClient(create_app(bench.services))
    before = log_in(client)
    rotate(bench)
    fresh = client.post("/api/auth/refresh/", json={"refresh": before["refresh"]}).json()
    assert kid_of(fresh["access"]) == kid_of(log_in(client)["access"]) != kid_of(before["access"])


def test_rotations_are_an_hour_apart(bench: Bench) -> None:
    """Else a key would be gone before what it signed has ended; the error says when the next one may be."""
    age(bench, APART - timedelta(minutes=1))
    with pytest.raises(Conflict, match=r"generation: signs since .* can begin from .* on"):
        rotate(bench)


@pytest.mark.parametrize("way", WAYS)
def test_a_retired_key_opens_nothing(client: TestClient, bench: Bench, way: dict[str, str]) -> None:
    """Its tokens are refused once the last honest one has ended, whatever they say of their own end."""
    age(bench, HELD, timedelta(minutes=5))
    log_in(client)  # so that the generations are read
    ring = KeyRing(bench.services.settings.secret_key.get_secret_value().encode(), bench.store.token_keys.generations)
    now = datetime.now(UTC)
    claims = {"iss": "hdx", "aud": "hdx-api", "sub": "1", "iat": now, "exp": now + timedelta(days=365), "jti": "x"}
    claims |= {"typ": "access", "tenant": 1, "name": "admin", "role": "admin", "gen": 0}
    key = ring.access[1]
    old = jwt.encode(claims, key.signing, key.algorithm, headers={"kid": key.kid})
    assert post_window(client, old, way).status_code == 200
    age(bench, HELD, timedelta(minutes=17))
    log_in(client)
    assert "not known" in assert_problem(post_window(client, old, way), 401, "unauthenticated")["detail"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "header",
    [{"alg": "none"}, {"alg": "HS256"}, {"alg": "EdDSA", "kid": "0" * 43}, {"alg": "EdDSA", "kid": ""}, {"kid": None}],
    ids=json.dumps,
)
def test_forged_headers_open_nothing(client: TestClient, way: dict[str, str], header: dict[str, Any]) -> None:
    """No signature, HMAC by the public key, an unknown id and none: 401 on both ways, also right after a real one."""
    token = log_in(client)["access"]
    assert post_window(client, token, way).status_code == 200
    key = next(key for key in client.get(KEYS).json()["keys"] if key["kid"] == kid_of(token))
    claims = jwt.decode(token, options={"verify_signature": False})
    secret = urlsafe_b64decode(f"{key['x']}=")
    if header.get("alg") == "HS256":
        forged = jwt.encode(claims, secret, "HS256", headers={"kid": key["kid"]})
    elif header.get("alg") == "none":
        forged = jwt.encode(claims, "", "none", headers={"kid": key["kid"]})
    else:
        said = {name: value for name, value in ({"alg": "EdDSA", "typ": "JWT"} | header).items() if value is not None}
        begin = urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")
        forged = ".".join((begin, *token.split(".")[1:]))
    problem = assert_problem(post_window(client, forged, way), 401, "unauthenticated")
    assert forged not in json.dumps(problem)


def test_keys_are_not_told_before_they_are_known(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica that has not reached the database yet says so, and shows no keys that may have ended; later it does."""

    async def away(_: timedelta) -> list[KeyGeneration]:
        raise Unavailable("database", "does not answer")

    held = bench.store.token_keys.held
    monkeypatch.setattr(bench.store.token_keys, "held", away)
    client = TestClient(create_app(bench.services))
    assert_problem(client.get(KEYS), 503, "unavailable")
    monkeypatch.setattr(bench.store.token_keys, "held", held)
    assert len(kids(client)) == 2


def post_window(client: TestClient, token: str, way: dict[str, str]) -> Replied:
    """Have a window judged."""
    return client.post(DETECT, content=json.dumps(WINDOW), headers=bearer(token) | way)
