"""Log-in at a provider of OpenID Connect, and what hostile browsers and providers get by it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from configs.oidc import Oidc
from serve_app.api.app import create_app
from serve_app.api.oidc import EXCHANGED_MAX, OidcLogIn
from serve_app.api.schemas.auth import TokenReply
from serve_app.shared.limits import OF_ADDRESS
from serve_app.shared.oidc import ANSWER_BYTES, Provider
from serve_app.store.records_identities import Identity
from tests.contract.calls import assert_problem
from tests.contract.provider import (
    AWAY,
    CLIENT_ID,
    CLIENT_SECRET,
    ISSUER,
    TOKENS,
    Endless,
    Silent,
    StandInProvider,
    jwk,
    private_key,
    signed_by_the_public_key,
    unsigned,
)
from tests.contract.stand_ins import Bench, make_bench

LOGIN, CALLBACK = "/api/auth/oidc/login/", "/api/auth/oidc/callback/"


@pytest.fixture
def provider() -> StandInProvider:
    """A provider that does as the standard says."""
    return StandInProvider()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """The services of a gateway that knows the provider; `operator` is linked to somebody there."""
    settings = Oidc(issuer=ISSUER, client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))
    made = make_bench(tmp_path, oidc=settings)
    made.store.identities.linked[Identity(ISSUER, "a-2-c")] = 3
    return made


def client_of(bench: Bench, provider: StandInProvider, timeout_s: float = 5.0) -> TestClient:
    """Return a browser before the application, whose network is the provider."""
    app = create_app(bench.services)
    asked = Provider(bench.services.settings.oidc, provider, timeout_s)
    app.state.oidc = OidcLogIn.of(bench.services, app.state.authenticator, asked)
    return TestClient(app, follow_redirects=False)


@pytest.fixture
def client(bench: Bench, provider: StandInProvider) -> Iterator[TestClient]:
    """The same, and the application runs."""
    with client_of(bench, provider) as client:
        yield client


def begin(client: TestClient) -> str:
    """Return where the browser is sent."""
    reply = client.get(LOGIN)
    assert reply.status_code == 302, reply.text
    return reply.headers["location"]


def come_back(client: TestClient, provider: StandInProvider, subject: str = "a-2-c", **changes: str) -> Any:
    """Log in at the provider, and return the answer to the browser that comes back."""
    return client.get(CALLBACK, params=provider.log_in(begin(client), subject) | changes)


def actions(bench: Bench) -> list[tuple[int | None, str, str]]:
    """Return what the audit has: whose, who, what."""
    return [(tenant, actor, action) for tenant, actor, action, _ in bench.store.audited]


class TestLogIn:
    """The way there and back."""

    def test_an_identity_logs_in(self, client: TestClient, provider: StandInProvider, bench: Bench) -> None:
        """It gets what a password gets: tokens that hold, a refresh, a device; and the audit has the log-in."""
        reply = come_back(client, provider)
        assert reply.status_code == 200, reply.text
        tokens = TokenReply.model_validate(reply.json())
        assert client.get("/api/systems/", headers={"authorization": f"Bearer {tokens.access}"}).status_code == 200
        assert client.post("/api/auth/refresh/", json={"refresh": tokens.refresh}).status_code == 200
        assert "hdx_device" in reply.cookies
        assert actions(bench) == [(1, "operator", "login")]
        assert reply.headers["cache-control"] == "no-store"

    def test_the_cookie_is_the_browsers_alone(self, client: TestClient) -> None:
        """No script reads it, no other site sends it but by a link, it is short, and is gone after the log-in."""
        reply = client.get(LOGIN)
        (cookie,) = reply.headers.get_list("set-cookie")
        for part in ("hdx_oidc=", "HttpOnly", "SameSite=lax", "Path=/api/auth/oidc/", "Max-Age=600"):
            assert part in cookie
        assert "Secure" not in cookie
        assert reply.headers["cache-control"] == "no-store"

    def test_the_cookie_is_gone_after(self, client: TestClient, provider: StandInProvider) -> None:
        """Once it is used the browser forgets it."""
        assert come_back(client, provider).status_code == 200
        assert "hdx_oidc" not in client.cookies

    def test_no_caller_says_where_to(self, client: TestClient) -> None:
        """Whatever stands in the query, the browser goes to the provider, and back to HDX."""
        query = {"redirect_uri": "https://evil.example", "next": "https://evil.example", "return_to": "//evil.example"}
        location = client.get(LOGIN, params=query).headers["location"]
        assert location.startswith(f"{ISSUER}/authorize?")
        assert "evil" not in location

    def test_the_way_back_is_the_one_that_is_set(self, tmp_path: Path, provider: StandInProvider) -> None:
        """Behind a proxy the address that callers see is a setting, and no header of theirs changes it."""
        back = "https://hdx.example/api/auth/oidc/callback/"
        settings = Oidc(issuer=ISSUER, client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET), redirect_uri=back)
        with client_of(make_bench(tmp_path, oidc=settings), provider) as client:
            location = client.get(LOGIN, headers={"host": "evil.example"}).headers["location"]
        assert httpx.URL(location).params["redirect_uri"] == back

    @pytest.mark.parametrize("secret", [CLIENT_SECRET, None])
    def test_a_client_proves_itself_as_the_provider_wants(
        self, tmp_path: Path, provider: StandInProvider, secret: str | None
    ) -> None:
        """By a form where it takes no header; a public client by PKCE alone."""
        provider.by_header, provider.secret = False, secret
        settings = Oidc(issuer=ISSUER, client_id=CLIENT_ID, client_secret=secret and SecretStr(secret))
        bench = make_bench(tmp_path, oidc=settings)
        bench.store.identities.linked[Identity(ISSUER, "a-2-c")] = 3
        with client_of(bench, provider) as client:
            assert come_back(client, provider).status_code == 200

    @pytest.mark.parametrize("algorithm", ["ES256", "EdDSA"])
    def test_other_signatures_hold(self, client: TestClient, provider: StandInProvider, algorithm: str) -> None:
        """Elliptic curves are as good as RSA."""
        provider.keys, provider.kid, provider.algorithm = [jwk("curve", algorithm)], "curve", algorithm
        assert come_back(client, provider).status_code == 200

    def test_keys_are_rotated(self, client: TestClient, provider: StandInProvider) -> None:
        """A token by a key that is not known yet has the keys read again; one by a known key does not."""
        for _ in range(2):
            assert come_back(client, provider).status_code == 200
        provider.keys, provider.kid = [jwk("first"), jwk("second")], "second"
        assert come_back(client, provider).status_code == 200
        assert provider.asked.count("/keys") == 2
        provider.kid = "never shown"
        assert_problem(come_back(client, provider), 401, "unauthenticated")

    def test_it_is_off_without_an_issuer(self, tmp_path: Path) -> None:
        """Then there are no such paths."""
        with TestClient(create_app(make_bench(tmp_path).services)) as client:
            for path in (LOGIN, CALLBACK):
                assert_problem(client.get(path), 404, "not-found")


class TestAccounts:
    """Whom an identity opens."""

    def test_an_unknown_identity_is_refused(self, client: TestClient, provider: StandInProvider, bench: Bench) -> None:
        """Though its e-mail and name are those of an account; the platform's audit has it."""
        provider.claims = {"email": "admin@example.com", "email_verified": True, "preferred_username": "admin"}
        for subject in ("nobody", "admin", "admin@example.com", "3"):
            problem = assert_problem(come_back(client, provider, subject), 403, "forbidden")
            assert "administrator" in problem["detail"]
        assert actions(bench) == [(None, "unknown", "login.oidc.failed")] * 4

    def test_a_disabled_account_stays_shut(self, client: TestClient, provider: StandInProvider, bench: Bench) -> None:
        """Whoever vouches for its owner; its tenant's audit has it."""
        bench.store.identities.linked[Identity(ISSUER, "gone")] = 6
        assert "disabled" in assert_problem(come_back(client, provider, "gone"), 403, "forbidden")["detail"]
        assert actions(bench) == [(1, "retired", "login.oidc.failed")]

    def test_failures_of_an_address_are_counted(self, client: TestClient, provider: StandInProvider) -> None:
        """As those of passwords are, together with them; then the provider is asked no more."""
        for _ in range(OF_ADDRESS.amount):
            assert client.get(CALLBACK).status_code == 401
        asked = len(provider.asked)
        assert_problem(client.get(LOGIN), 429, "overloaded")
        assert_problem(client.get(CALLBACK), 429, "overloaded")
        assert len(provider.asked) == asked


class TestHostileBrowsers:
    """What nobody gets by sending something else than he was given."""

    @pytest.mark.parametrize(
        "changes", [{"state": "x" * 43}, {"state": ""}, {"state": "ы"}, {"iss": "https://evil.example"}]
    )
    def test_a_wrong_state_opens_nothing(
        self, client: TestClient, provider: StandInProvider, changes: dict[str, str]
    ) -> None:
        """Nor does another provider's answer; the code is not sent anywhere."""
        assert_problem(come_back(client, provider, **changes), 401, "unauthenticated")
        assert "/token" not in provider.asked

    def test_another_browsers_answer_opens_nothing(
        self, client: TestClient, bench: Bench, provider: StandInProvider
    ) -> None:
        """Whoever is sent a link to come back with has not begun it: no log-in as somebody else."""
        answer = provider.log_in(begin(client))
        with client_of(bench, provider) as victim:
            assert_problem(victim.get(CALLBACK, params=answer), 401, "unauthenticated")
            begin(victim)
            assert_problem(victim.get(CALLBACK, params=answer), 401, "unauthenticated")

    @pytest.mark.parametrize("fresh_code", [False, True])
    def test_nothing_is_used_twice(self, client: TestClient, provider: StandInProvider, fresh_code: bool) -> None:
        """Neither code nor state, though somebody has kept the cookie, and though the provider gives another code."""
        address = begin(client)
        kept = client.cookies["hdx_oidc"]
        answer = provider.log_in(address)
        assert client.get(CALLBACK, params=answer).status_code == 200
        again = provider.log_in(address) if fresh_code else answer
        reply = client.get(CALLBACK, params=again, headers={"cookie": f"hdx_oidc={kept}"})
        assert_problem(reply, 401, "unauthenticated")
        assert provider.asked.count("/token") == 1

    def test_a_cookie_is_signed(self, client: TestClient, provider: StandInProvider) -> None:
        """One of another kind, a changed one and none open nothing."""
        tokens = come_back(client, provider).json()
        answer = provider.log_in(begin(client))
        cookie = client.cookies["hdx_oidc"]
        client.cookies.clear()
        for forged in (tokens["access"], tokens["refresh"], cookie[:-2], unsigned({"state": answer["state"]}), "x"):
            reply = client.get(CALLBACK, params=answer, headers={"cookie": f"hdx_oidc={forged}"})
            assert_problem(reply, 401, "unauthenticated")

    def test_a_cookie_opens_nothing_else(self, client: TestClient) -> None:
        """It is neither access nor refresh token."""
        begin(client)
        cookie = client.cookies["hdx_oidc"]
        assert client.get("/api/systems/", headers={"authorization": f"Bearer {cookie}"}).status_code == 401
        assert client.post("/api/auth/refresh/", json={"refresh": cookie}).status_code == 401

    def test_a_person_who_refuses_is_refused(self, client: TestClient, provider: StandInProvider) -> None:
        """The provider's error comes back in no word of the answer."""
        state = provider.log_in(begin(client))["state"]
        query = {"error": "access_denied", "error_description": "<b>bad</b>", "state": state}
        assert "bad" not in client.get(CALLBACK, params=query).text


class TestHostileTokens:
    """What no token gets that the provider has not signed for this log-in."""

    @pytest.mark.parametrize("claims", TOKENS.values(), ids=TOKENS)
    def test_a_claim_that_is_wrong(
        self, client: TestClient, provider: StandInProvider, bench: Bench, claims: dict[str, Any]
    ) -> None:
        """Each is refused alike, and kept in the audit."""
        provider.claims = claims
        problem = assert_problem(come_back(client, provider), 401, "unauthenticated")
        assert "begin again" in problem["detail"]
        assert actions(bench) == [(None, "unknown", "login.oidc.failed")]

    def test_a_party_that_is_right(self, client: TestClient, provider: StandInProvider) -> None:
        """A token for several audiences holds where it names HDX as who asked for it."""
        provider.claims = {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID}
        assert come_back(client, provider).status_code == 200

    @pytest.mark.parametrize(
        "sign",
        [
            unsigned,
            signed_by_the_public_key,
            lambda claims: jwt.encode(claims, private_key("evil"), "RS256", headers={"kid": "first"}),
            lambda claims: jwt.encode(claims, private_key("first"), "RS512", headers={"kid": "first"}),
            lambda claims: jwt.encode(claims, private_key("first"), "PS256", headers={"kid": "first"}),
            lambda claims: jwt.encode(claims, "s" * 64, "HS256", headers={"kid": "first"}),
            lambda claims: jwt.encode(claims, private_key("first"), "RS256", headers={"kid": "first"})[:-3],
            lambda claims: jwt.encode(
                claims, private_key("evil"), "RS256", headers={"kid": "evil", "jku": "https://evil.example/keys"}
            ),
            lambda claims: jwt.encode(claims, private_key("evil"), "RS256", headers={"jwk": jwk("evil")}),
            lambda _: "no token",
            lambda _: "e30.e30.e30",
        ],
    )
    def test_a_signature_that_is_wrong(
        self, client: TestClient, provider: StandInProvider, sign: Callable[[dict[str, Any]], str]
    ) -> None:
        """None, another's, by an algorithm that is not taken, by a key that it brings along; nobody else is asked."""
        provider.sign = sign
        assert_problem(come_back(client, provider), 401, "unauthenticated")
        assert set(provider.asked) <= {"/.well-known/openid-configuration", "/token", "/keys"}

    @pytest.mark.parametrize(
        "keys",
        [
            [],
            [jwk("first", "RS256", 1024)],
            [jwk("first") | {"use": "enc"}],
            [{"kty": "oct", "k": "AAAA", "kid": "first", "alg": "RS256"}],
            [jwk("first"), jwk("first")],
            [{"kty": "RSA"}, "x", None],
        ],
    )
    def test_keys_that_are_none(self, client: TestClient, provider: StandInProvider, keys: list[Any]) -> None:
        """Short ones, those for something else, two of one id, and what is no key."""
        provider.keys = keys
        if keys and isinstance(keys[0], dict) and keys[0].get("n") == jwk("first", "RS256", 1024)["n"]:
            provider.sign = lambda claims: jwt.encode(
                claims, private_key("first", "RS256", 1024), "RS256", headers={"kid": "first"}
            )
        assert_problem(come_back(client, provider), 401, "unauthenticated")


PATHS = ["/.well-known/openid-configuration", "/token", "/keys"]


class TestProviderAway:
    """A provider that does not answer as one costs a bounded time and memory, and is a problem of its own."""

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("answer", AWAY.values(), ids=AWAY)
    def test_an_answer_that_is_none(
        self,
        client: TestClient,
        provider: StandInProvider,
        path: str,
        answer: Callable[..., httpx.Response],
        bench: Bench,
    ) -> None:
        """Is 503, tells nothing of the inside, and counts against nobody."""
        provider.answers[path] = answer
        reply = client.get(LOGIN) if path == PATHS[0] else come_back(client, provider)
        problem = assert_problem(reply, 503, "unavailable")
        assert problem["detail"] == "identity provider: does not answer as it should"
        assert actions(bench) == []

    @pytest.mark.parametrize("path", PATHS)
    def test_it_hangs(self, bench: Bench, provider: StandInProvider, path: str) -> None:
        """Its time is bounded, whether its answer has begun or not."""
        provider.answers[path] = lambda _: httpx.Response(200, stream=Silent())
        with client_of(bench, provider, 0.05) as client:
            reply = client.get(LOGIN) if path == PATHS[0] else come_back(client, provider)
        assert_problem(reply, 503, "unavailable")

    def test_an_answer_without_end_is_read_no_further(self, client: TestClient, provider: StandInProvider) -> None:
        """Than the bound, and one piece."""
        endless = Endless()
        provider.answers[PATHS[0]] = lambda _: httpx.Response(200, stream=endless)
        assert_problem(client.get(LOGIN), 503, "unavailable")
        assert endless.chunks <= ANSWER_BYTES // 65_536 + 1

    @pytest.mark.parametrize(
        "changes",
        [
            {"issuer": "https://evil.example"},
            {"issuer": None},
            {"token_endpoint": "http://id.example/token"},
            {"jwks_uri": "file:///etc/passwd"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"jwks_uri": 7},
        ],
    )
    def test_a_document_that_is_not_its_own(
        self, client: TestClient, provider: StandInProvider, changes: dict[str, Any]
    ) -> None:
        """Names another issuer, or addresses in the clear: nobody is sent there."""
        document = provider.document() | changes
        provider.answers[PATHS[0]] = lambda _: httpx.Response(200, json=document)
        assert_problem(client.get(LOGIN), 503, "unavailable")

    def test_it_comes_back(self, client: TestClient, provider: StandInProvider) -> None:
        """A failure is kept no longer than it lasts."""
        provider.answers[PATHS[0]] = AWAY["fails"]
        assert_problem(client.get(LOGIN), 503, "unavailable")
        del provider.answers[PATHS[0]]
        assert come_back(client, provider).status_code == 200

    def test_few_wait_for_it(self, client: TestClient, provider: StandInProvider) -> None:
        """While so many codes are being exchanged, the next one is told to come again."""
        client.app.state.oidc._in_hand = EXCHANGED_MAX  # type: ignore[attr-defined]
        assert_problem(come_back(client, provider), 429, "overloaded")
