"""Who may call what, and how credentials come and go."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from statistics import median
from typing import Any, cast

import jwt
import pytest
from fastapi.testclient import TestClient
from limits import RateLimitItemPerMinute

from pipelines.errors import Unavailable
from serve_app.api.app import create_app
from serve_app.api.auth import WITHDRAWN, WITHDRAWN_S
from serve_app.api.schemas.auth import TokenReply
from serve_app.shared import credentials, limits
from serve_app.shared.credentials import digest, hash_password
from serve_app.store.protocols import StoreParts
from tests.contract.calls import (
    DETECT,
    GUARDED,
    OF_ADMINS,
    OPEN,
    OWN_PASSWORD,
    PREDICT,
    PREDICTION,
    WINDOW,
    LogIn,
    Replied,
    assert_problem,
)
from tests.contract.stand_ins import API_KEY, ML_KEY, PASSWORD, RAG_KEY, Bench

# What a log-in asks of accounts and audit; who was withdrawn is looked up beside it.
ASKED = {"accounts.by_login", "accounts.folded", "accounts.get", "audit.note"}
EDITING = [row for row in GUARDED if "systems" in row[1] and "readings" not in row[1]]


class Overheard:
    """A store, or a part of one, that lists what it is asked."""

    def __init__(self, inner: Any, asked: list[str], name: str = "") -> None:
        self._inner, self._asked, self._name = inner, asked, name

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not self._name and not callable(found):
            return Overheard(found, self._asked, name)
        self._asked.append(f"{self._name}.{name}")
        return found


class TestAccess:
    """Who may call what."""

    @pytest.mark.parametrize(
        ("method", "path", "body"), [*GUARDED, *OF_ADMINS, ("POST", "/api/auth/password/", OWN_PASSWORD)]
    )
    def test_no_credential_is_unauthenticated(self, client: TestClient, method: str, path: str, body: object) -> None:
        """Without a credential every guarded route answers 401 and says how to authenticate."""
        reply = client.request(method, path, json=body)
        assert_problem(reply, 401, "unauthenticated")
        assert reply.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize(("method", "path", "body"), GUARDED)
    def test_a_viewer_reads_only(
        self, client: TestClient, headers: LogIn, method: str, path: str, body: object
    ) -> None:
        """A viewer is refused whatever stores or changes something, and nothing else."""
        reply = client.request(method, path, json=body, headers=headers("viewer"))
        if method == "GET" or path in {"/api/rag/query/", "/v1/chat/completions"}:
            assert reply.status_code in {200, 404}
        else:
            assert_problem(reply, 403, "forbidden")

    @pytest.mark.parametrize("role", ["viewer", "operator", "engineer"])
    @pytest.mark.parametrize(("method", "path", "body"), OF_ADMINS)
    def test_people_and_keys_are_for_administrators(
        self, client: TestClient, bench: Bench, headers: LogIn, method: str, path: str, body: object, role: str
    ) -> None:
        """Whoever is none reads nothing of them and changes nothing."""
        before = dict(bench.store.people)
        assert_problem(client.request(method, path, json=body, headers=headers(role)), 403, "forbidden")
        assert bench.store.people == before
        assert bench.store.listed_keys == {}

    @pytest.mark.parametrize(("method", "path", "body"), EDITING)
    def test_an_operator_does_not_edit_systems(
        self, client: TestClient, headers: LogIn, method: str, path: str, body: object
    ) -> None:
        """Systems are written by admins and engineers."""
        reply = client.request(method, path, json=body, headers=headers("operator"))
        assert reply.status_code == (200 if method == "GET" else 403)

    def test_an_api_key_serves_in_place_of_a_token(self, client: TestClient) -> None:
        """A known key acts as its principal; an unknown one is a 401."""
        assert client.post(DETECT, json=WINDOW, headers={"x-api-key": API_KEY}).status_code == 200
        assert_problem(client.post(DETECT, json=WINDOW, headers={"x-api-key": "no"}), 401, "unauthenticated")

    @pytest.mark.parametrize("path", OPEN)
    def test_health_and_contract_are_open(self, client: TestClient, path: str) -> None:
        """Probes and the contract need no credential."""
        assert client.get(path).status_code == 200

    @pytest.mark.parametrize(
        ("path", "right", "wrong"),
        [
            (PREDICT, ML_KEY, RAG_KEY),
            (PREDICT + "/batch", ML_KEY, RAG_KEY),
            ("/internal/rag/api/v1/query", RAG_KEY, ML_KEY),
            ("/metrics", ML_KEY, "other"),
            ("/metrics", RAG_KEY, ""),
        ],
    )
    def test_the_internal_face_has_its_own_keys(
        self, client: TestClient, headers: LogIn, path: str, right: str, wrong: str
    ) -> None:
        """403 without the key, with the other service's key and with a user's token; the right key passes."""
        body: dict[str, Any] = {"items": [PREDICTION]} if path.endswith("batch") else PREDICTION
        body = {"query": "why"} if "rag" in path else body
        method, send = ("GET", None) if path == "/metrics" else ("POST", body)
        assert_problem(client.request(method, path, json=send), 403, "forbidden")
        assert_problem(client.request(method, path, json=send, headers=headers("admin")), 403, "forbidden")
        assert_problem(client.request(method, path, json=send, headers={"x-internal-api-key": wrong}), 403, "forbidden")
        assert client.request(method, path, json=send, headers={"x-internal-api-key": right}).status_code == 200


class TestLogIn:
    """Log-in, refresh and log-out."""

    @pytest.mark.parametrize("name", ["operator", "operator@example.com"])
    def test_user_name_or_e_mail(self, client: TestClient, bench: Bench, name: str) -> None:
        """Both open a session, and the log-in is audited."""
        reply = client.post("/api/auth/login/", json={"username": name, "password": PASSWORD})
        assert reply.status_code == 200
        tokens = TokenReply.model_validate(reply.json())
        assert tokens.expires_in == 10 * 60
        assert (1, "operator", "login", "user 3") in bench.store.audited

    @pytest.mark.parametrize(("name", "password"), [("operator", "wrong"), ("nobody", PASSWORD), ("retired", PASSWORD)])
    def test_all_refusals_read_alike(self, client: TestClient, bench: Bench, name: str, password: str) -> None:
        """A caller does not learn whether the account exists, is inactive, or the password is wrong."""
        reply = client.post("/api/auth/login/", json={"username": name, "password": password})
        problem = assert_problem(reply, 401, "unauthenticated")
        assert problem["detail"] == "user name or password is wrong"
        failed = [note for note in bench.store.audited if note[2] == "login.failed"]
        kept = (None, "unknown") if name == "nobody" else (1, name)  # of no tenant's in the platform's audit
        assert [(tenant_id, actor) for tenant_id, actor, _, _ in failed] == [kept]

    def test_a_refusal_does_the_same_whoever_is_meant(self, bench: Bench) -> None:
        """Whether an account exists shows neither in what the store is asked nor in the processor's time."""
        asked: list[str] = []
        services = replace(bench.services, store=cast(StoreParts, Overheard(bench.store, asked)))
        did, took = defaultdict(set), defaultdict(list)
        with TestClient(create_app(services)) as client:
            for number in range(7):
                for name in ("operator", "retired", f"nobody{number}"):
                    asked.clear()
                    begun = time.process_time()
                    reply = client.post("/api/auth/login/", json={"username": name, "password": "wrong"})
                    took[name.rstrip("0123456")].append(time.process_time() - begun)
                    assert reply.status_code == 401
                    did[name.rstrip("0123456")].add(tuple(each for each in asked if each in ASKED))
        assert did["nobody"] == did["operator"] == did["retired"]
        assert len(did["nobody"]) == 1
        assert 0.7 < median(took["nobody"]) / median(took["operator"]) < 1.4

    def test_strangers_at_the_same_address_do_not_lock_the_owner_out(self, client: TestClient) -> None:
        """A device that has logged in before opens the account however often others have failed; theirs does not."""
        right, wrong = ({"username": "viewer", "password": given} for given in (PASSWORD, "wrong"))
        first = client.post("/api/auth/login/", json=right)
        cookie = first.headers["set-cookie"]
        assert all(each in cookie for each in ("HttpOnly", "SameSite=strict", "Path=/api/auth/", "Max-Age="))
        client.cookies.clear()
        for _ in range(9):
            client.post("/api/auth/login/", json=wrong)
        assert_problem(client.post("/api/auth/login/", json=right), 429, "overloaded")
        device = {"cookie": f"hdx_device={first.cookies['hdx_device']}"}
        assert client.post("/api/auth/login/", json=right, headers=device).status_code == 200
        client.cookies.clear()
        admins = client.post("/api/auth/login/", json=right | {"username": "admin"}).cookies["hdx_device"]
        other = {"cookie": f"hdx_device={admins}"}
        client.cookies.clear()
        assert_problem(client.post("/api/auth/login/", json=right, headers=other), 429, "overloaded")

    def test_a_known_device_has_no_more_attempts_than_others(self, client: TestClient) -> None:
        """Whoever took it guesses eight times, too."""
        first = client.post("/api/auth/login/", json={"username": "viewer", "password": PASSWORD})
        device = {"cookie": f"hdx_device={first.cookies['hdx_device']}"}
        wrong = {"username": "viewer", "password": "wrong"}
        outcomes = [client.post("/api/auth/login/", json=wrong, headers=device).status_code for _ in range(10)]
        assert outcomes == [401] * 8 + [429] * 2

    def test_a_new_password_makes_all_devices_strangers(self, client: TestClient, bench: Bench) -> None:
        """What was known before may be in the hands that the password was changed for."""
        first = client.post("/api/auth/login/", json={"username": "viewer", "password": PASSWORD})
        device = {"cookie": f"hdx_device={first.cookies['hdx_device']}"}
        client.cookies.clear()
        asyncio.run(bench.store.accounts.set_password(bench.store.people[4], hash_password("new password")))
        for _ in range(8):
            client.post("/api/auth/login/", json={"username": "viewer", "password": "wrong"})
        right = {"username": "viewer", "password": "new password"}
        assert_problem(client.post("/api/auth/login/", json=right, headers=device), 429, "overloaded")

    def test_a_device_opens_nothing(self, client: TestClient) -> None:
        """What it is known by is neither an access token nor a refresh token, and says nothing without the password."""
        device = client.post("/api/auth/login/", json={"username": "viewer", "password": PASSWORD}).cookies[
            "hdx_device"
        ]
        reply = client.get("/api/systems/", headers={"authorization": f"Bearer {device}"})
        assert_problem(reply, 401, "unauthenticated")
        assert_problem(client.post("/api/auth/refresh/", json={"refresh": device}), 401, "unauthenticated")

    def test_too_many_failures_must_wait(self, client: TestClient) -> None:
        """After eight failures even the right password waits, and is told how long; another account does not."""
        for _ in range(8):
            client.post("/api/auth/login/", json={"username": "viewer", "password": "wrong"})
        reply = client.post("/api/auth/login/", json={"username": "viewer", "password": PASSWORD})
        assert_problem(reply, 429, "overloaded")
        assert 0 < int(reply.headers["retry-after"]) <= 300
        other = client.post("/api/auth/login/", json={"username": "admin", "password": PASSWORD})
        assert other.status_code == 200

    def test_spellings_of_an_account_are_one_count(self, client: TestClient) -> None:
        """The name in any case, and the e-mail, are tries at one account, and so are spellings of an unknown name."""
        for logins in (["viewer", " VIEWER", "Viewer@example.com", "viewer@example.com "], ["nobody", "NoBody "]):
            for number in range(8):
                body = {"username": logins[number % len(logins)], "password": "wrong"}
                assert_problem(client.post("/api/auth/login/", json=body), 401, "unauthenticated")
            reply = client.post("/api/auth/login/", json={"username": logins[0], "password": PASSWORD})
            assert_problem(reply, 429, "overloaded")

    def test_a_flood_of_invented_names_is_refused(self, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
        """An address that tries many names waits before any password is hashed; it waits for all names."""
        monkeypatch.setattr(limits, "OF_ADDRESS", RateLimitItemPerMinute(5))
        for number in range(5):
            body = {"username": f"invented{number}", "password": "x"}
            assert_problem(client.post("/api/auth/login/", json=body), 401, "unauthenticated")
        monkeypatch.setattr(credentials, "verify_password", None)
        reply = client.post("/api/auth/login/", json={"username": "invented6", "password": "x"})
        assert_problem(reply, 429, "overloaded")
        assert 0 < int(reply.headers["retry-after"]) <= 60

    def test_refresh_rotates(self, client: TestClient) -> None:
        """A refresh token gives a new pair, and the new access token works."""
        first = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD}).json()
        second = client.post("/api/auth/refresh/", json={"refresh": first["refresh"]})
        assert second.status_code == 200
        TokenReply.model_validate(second.json())
        assert second.json()["refresh"] != first["refresh"]
        claims = [jwt.decode(each["refresh"], options={"verify_signature": False}) for each in (first, second.json())]
        assert claims[0]["family"] == claims[1]["family"]
        token = {"authorization": f"Bearer {second.json()['access']}"}
        assert client.get("/api/systems/", headers=token).status_code == 200

    def test_a_reused_refresh_token_ends_its_family(self, client: TestClient) -> None:
        """A token sent twice is refused, and so is the one that replaced it."""
        first = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD}).json()
        second = client.post("/api/auth/refresh/", json={"refresh": first["refresh"]}).json()
        assert_problem(client.post("/api/auth/refresh/", json={"refresh": first["refresh"]}), 401, "unauthenticated")
        assert_problem(client.post("/api/auth/refresh/", json={"refresh": second["refresh"]}), 401, "unauthenticated")

    def test_log_out_ends_the_session(self, client: TestClient) -> None:
        """After log-out the refresh token is worth nothing."""
        tokens = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD}).json()
        assert client.post("/api/auth/logout/", json={"refresh": tokens["refresh"]}).status_code == 204
        assert_problem(client.post("/api/auth/refresh/", json={"refresh": tokens["refresh"]}), 401, "unauthenticated")

    def test_tokens_do_not_stand_in_for_each_other(self, client: TestClient) -> None:
        """A refresh token opens no route, and an access token refreshes nothing."""
        tokens = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD}).json()
        token = {"authorization": f"Bearer {tokens['refresh']}"}
        assert_problem(client.get("/api/systems/", headers=token), 401, "unauthenticated")
        assert_problem(client.post("/api/auth/refresh/", json={"refresh": tokens["access"]}), 401, "unauthenticated")


class TestWithdrawal:
    """Credentials that no longer hold."""

    def test_a_disabled_account_is_out_within_seconds(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """Its access token, used all the while, its refresh token and its password end; others' go on."""
        tokens = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD}).json()
        token, other = {"authorization": f"Bearer {tokens['access']}"}, headers("viewer")
        assert client.get("/api/systems/", headers=token).status_code == 200
        asyncio.run(bench.store.accounts.set_active(bench.store.people[3], False))
        assert_problem(within_seconds(client, token), 401, "unauthenticated")
        for path, send in (("/api/systems/", "GET"), (DETECT, "POST")):  # by FastAPI, and by the fast path
            reply = client.request(send, path, json=WINDOW if send == "POST" else None, headers=token)
            assert assert_problem(reply, 401, "unauthenticated")["detail"] == WITHDRAWN
        reply = client.post("/api/auth/refresh/", json={"refresh": tokens["refresh"]})
        assert_problem(reply, 401, "unauthenticated")
        reply = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD})
        assert_problem(reply, 401, "unauthenticated")
        assert client.get("/api/systems/", headers=other).status_code == 200

    def test_an_account_that_is_gone_gets_no_new_token(self, client: TestClient, bench: Bench) -> None:
        """Its refresh token is refused as a disabled account's is."""
        tokens = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD}).json()
        del bench.store.people[3]
        reply = client.post("/api/auth/refresh/", json={"refresh": tokens["refresh"]})
        assert assert_problem(reply, 401, "unauthenticated")["detail"] == "the account is gone"

    def test_enabled_again_only_new_tokens_hold(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """What was withdrawn stays so; a new log-in works at once."""
        old = headers("operator")
        asyncio.run(bench.store.accounts.set_active(bench.store.people[3], False))
        asyncio.run(bench.store.accounts.set_active(bench.store.people[3], True))
        assert_problem(within_seconds(client, old), 401, "unauthenticated")
        assert client.get("/api/systems/", headers=headers("operator")).status_code == 200

    def test_a_new_password_ends_what_the_old_one_opened(self, client: TestClient, bench: Bench) -> None:
        """Access and refresh tokens of before end, the old password is wrong, the new one is right."""
        first = client.post("/api/auth/login/", json={"username": "admin", "password": PASSWORD}).json()
        asyncio.run(bench.store.accounts.set_password(bench.store.people[1], hash_password("new password")))
        assert_problem(within_seconds(client, {"authorization": f"Bearer {first['access']}"}), 401, "unauthenticated")
        reply = client.post("/api/auth/refresh/", json={"refresh": first["refresh"]})
        assert_problem(reply, 401, "unauthenticated")
        for password, status in ((PASSWORD, 401), ("new password", 200)):
            reply = client.post("/api/auth/login/", json={"username": "admin", "password": password})
            assert reply.status_code == status

    def test_a_refresh_that_slips_past_the_revocation_opens_nothing(self, client: TestClient, bench: Bench) -> None:
        """A refresh token that is no longer of the account's generation is refused though its row still holds."""
        first = client.post("/api/auth/login/", json={"username": "admin", "password": PASSWORD}).json()
        asyncio.run(bench.store.accounts.set_password(bench.store.people[1], hash_password(PASSWORD)))
        bench.store.ended_families.clear()
        reply = client.post("/api/auth/refresh/", json={"refresh": first["refresh"]})
        assert assert_problem(reply, 401, "unauthenticated")["detail"] == WITHDRAWN

    def test_a_revoked_key_is_refused_at_once(self, client: TestClient, bench: Bench) -> None:
        """Its next request is a 401."""
        asyncio.run(bench.store.keys.add(1, "line 5", "operator", digest("hdx_of_line_5")))
        key = {"x-api-key": "hdx_of_line_5"}
        assert client.get("/api/systems/", headers=key).status_code == 200
        ((number, _),) = [(key.key_id, key) for key in asyncio.run(bench.store.keys.page(1)) if key.name == "line 5"]
        asyncio.run(bench.store.keys.revoke(1, number))
        assert_problem(client.get("/api/systems/", headers=key), 401, "unauthenticated")

    def test_a_database_that_is_away_lets_nobody_back_in(
        self, client: TestClient, bench: Bench, headers: LogIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who was withdrawn stays so while nobody can be asked, and the looks go on when somebody can."""
        out, later = headers("operator"), headers("viewer")
        asyncio.run(bench.store.accounts.set_active(bench.store.people[3], False))
        assert_problem(within_seconds(client, out), 401, "unauthenticated")
        asked = bench.store.accounts.withdrawn
        monkeypatch.setattr(bench.store.accounts, "withdrawn", away)
        time.sleep(WITHDRAWN_S + 0.2)
        assert_problem(client.get("/api/systems/", headers=out), 401, "unauthenticated")
        monkeypatch.setattr(bench.store.accounts, "withdrawn", asked)
        asyncio.run(bench.store.accounts.set_active(bench.store.people[4], False))
        assert_problem(within_seconds(client, later), 401, "unauthenticated")


def within_seconds(client: TestClient, headers: dict[str, str]) -> Replied:
    """Return the first refusal, or the answer after far more time than a withdrawal may take, on a busy machine."""
    ends = time.monotonic() + 10 * WITHDRAWN_S
    while True:
        reply = client.get("/api/systems/", headers=headers)
        if reply.status_code != 200 or time.monotonic() > ends:
            return reply
        time.sleep(0.05)


async def away(_: float) -> Mapping[int, int]:
    """Stand for a database that does not answer."""
    raise Unavailable("database", "does not answer")
