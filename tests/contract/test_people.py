"""People over REST: what administrators do to accounts and sessions, and everybody to his own password."""

import asyncio
import threading
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from pipelines.errors import PasswordRefused
from serve_app.api.schemas.auth import TokenReply
from serve_app.api.schemas.people import SessionsReply, UserReply, UsersReply
from serve_app.local.demo import make_admin
from serve_app.shared import credentials, password_checks
from serve_app.shared.credentials import verify_password
from tests.contract.calls import NEW_USER, UNKNOWN, LogIn, assert_problem
from tests.contract.memory_store import MemoryStore
from tests.contract.stand_ins import API_KEY, PASSWORD, Bench, settings_for
from tests.contract.test_access import within_seconds

USERS, OWN = "/api/users/", "/api/auth/password/"
FRESH = "a lamp for the cellar"
OPERATOR = "/api/users/3/"
# Of another tenant, and of nobody: the same to whoever asks.
NOT_HERS = [5, 999]


def log_in(client: TestClient, username: str, password: str = PASSWORD) -> dict[str, Any]:
    """Return a pair of tokens."""
    reply = client.post("/api/auth/login/", json={"username": username, "password": password})
    tokens: dict[str, Any] = reply.json()
    assert reply.status_code == 200, tokens
    return tokens


def bearer(tokens: dict[str, Any]) -> dict[str, str]:
    return {"authorization": f"Bearer {tokens['access']}"}


def notes(bench: Bench) -> list[tuple[str, str, str]]:
    """What administrators and people did, without log-ins: by whom and to whom."""
    return [(actor, action, subject) for _, actor, action, subject in bench.store.audited if action != "login"]


class TestAccounts:
    """Accounts of a tenant."""

    def test_a_list_has_own_people_by_pages(self, client: TestClient, headers: LogIn) -> None:
        """In order of the id, the disabled ones too, none of another tenant, and no word of a password."""
        admin = headers("admin")
        first = client.get(USERS, params={"limit": 3}, headers=admin)
        page = UsersReply.model_validate(first.json())
        rest = UsersReply.model_validate(client.get(USERS, params={"after": page.next}, headers=admin).json())
        assert [(each.user_id, each.active) for each in page.users + rest.users] == [
            *((number, True) for number in (1, 2, 3, 4)),
            (6, False),
        ]
        assert rest.next is None
        assert set(first.json()["users"][0]) == set(UserReply.model_fields)
        assert "argon2" not in first.text

    def test_a_person_is_added_and_logs_in(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """To the tenant of whoever adds it, under the name without blanks around it, and the audit says so."""
        reply = client.post(USERS, json=NEW_USER | {"username": " bob "}, headers=headers("admin"))
        assert reply.status_code == 201
        made = UserReply.model_validate(reply.json())
        assert (made.username, made.role, made.active) == ("bob", "viewer", True)
        assert client.get(reply.headers["location"], headers=headers("admin")).json() == reply.json()
        assert bench.store.people[made.user_id].tenant_id == 1
        assert notes(bench) == [("admin", "user.added", f"user {made.user_id}")]
        assert client.get("/api/systems/", headers=bearer(log_in(client, "bob", FRESH))).status_code == 200

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"username": "OPERATOR"}, "username"),
            ({"email": "stranger@example.com"}, "email"),
        ],
    )
    def test_a_name_is_taken_once(
        self, client: TestClient, headers: LogIn, changes: dict[str, str], field: str
    ) -> None:
        """In whatever case, and whoever's it is: one log-in never means two people."""
        problem = assert_problem(client.post(USERS, json=NEW_USER | changes, headers=headers("admin")), 409, "conflict")
        assert problem["field"] == field

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"role": "owner"}, "role"),
            ({"role": None}, "role"),
            ({"username": "  "}, "username"),
            ({"username": "a\x00b"}, "username"),
            ({"username": "x" * 255}, "username"),
            ({"tenant_id": 2}, "tenant_id"),
            ({"active": False}, "active"),
            ({"password": ""}, "password"),
            ({"password": "short secret"}, "password"),
            ({"password": "secretsecret2026"}, "password"),
            ({"password": "my name is bobbin", "username": "Bobbin"}, "password"),
            ({"password": "secret" * 200}, "password"),
            ({"password": 123456789012345}, "password"),
            ({"pasword": "a secret mistyped"}, "pasword"),
        ],
    )
    def test_a_bad_account_is_named(
        self, client: TestClient, bench: Bench, headers: LogIn, changes: dict[str, Any], field: str
    ) -> None:
        """Field and rule, and never the value: it could be a password. Nothing is made."""
        before = dict(bench.store.people)
        reply = client.post(USERS, json=NEW_USER | changes, headers=headers("admin"))
        problem = assert_problem(reply, 422, "invalid-input")
        assert problem["field"] == field
        assert problem["rule"]
        assert "secret" not in reply.text
        assert "value" not in problem
        assert bench.store.people == before

    @pytest.mark.parametrize("number", NOT_HERS)
    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("GET", "", None),
            ("PATCH", "", {"active": False}),
            ("POST", "password/", {"password": FRESH}),
            ("GET", "sessions/", None),
            ("DELETE", "sessions/", None),
            ("DELETE", f"sessions/{UNKNOWN}/", None),
        ],
    )
    def test_what_is_not_hers_is_not_there(
        self, client: TestClient, bench: Bench, headers: LogIn, method: str, path: str, body: object, number: int
    ) -> None:
        """Another tenant's account and none at all read alike, and nothing of either changes."""
        before, tokens = dict(bench.store.people), log_in(client, "stranger")
        reply = client.request(method, f"{USERS}{number}/{path}", json=body, headers=headers("admin"))
        problem = assert_problem(reply, 404, "not-found")
        assert (problem["field"], problem["value"]) == ("user", str(number))
        assert bench.store.people == before
        assert client.post("/api/auth/refresh/", json={"refresh": tokens["refresh"]}).status_code == 200
        assert notes(bench) == []


class TestChanges:
    """Roles, and who may log in at all."""

    def test_a_new_role_holds_within_seconds(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """What was opened in the old role ends, and the next log-in is in the new one."""
        tokens = log_in(client, "operator")
        reply = client.patch(OPERATOR, json={"role": "viewer"}, headers=headers("admin"))
        assert UserReply.model_validate(reply.json()).role == "viewer"
        assert_problem(within_seconds(client, bearer(tokens)), 401, "unauthenticated")
        reply = client.post("/api/auth/refresh/", json={"refresh": tokens["refresh"]})
        assert_problem(reply, 401, "unauthenticated")
        body = {"name": "Press 9", "family": "generic"}
        assert client.post("/api/systems/", json=body, headers=headers("operator")).status_code == 403
        assert notes(bench) == [("admin", "user.role", "user 3")]
        assert bench.store.notes[-2][1].detail == "operator, operator to viewer"

    def test_disabled_and_enabled(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """Access ends within seconds, log-in is refused, and both come back; what changes nothing is not noted."""
        tokens, admin = log_in(client, "operator"), headers("admin")
        for active in (False, False):
            reply = client.patch(OPERATOR, json={"active": active}, headers=admin)
            assert reply.json()["active"] is active
        assert_problem(within_seconds(client, bearer(tokens)), 401, "unauthenticated")
        reply = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD})
        assert_problem(reply, 401, "unauthenticated")
        client.patch(OPERATOR, json={"active": True, "role": "operator"}, headers=admin)
        log_in(client, "operator")
        assert [action for _, action, _ in notes(bench)] == ["user.disabled", "login.failed", "user.enabled"]

    @pytest.mark.parametrize(
        ("body", "field"), [({"active": False}, "active"), ({"role": "engineer"}, "role"), ({"role": "viewer"}, "role")]
    )
    def test_a_tenant_keeps_an_administrator(
        self, client: TestClient, bench: Bench, headers: LogIn, body: dict[str, Any], field: str
    ) -> None:
        """The last active one stays what he is, a disabled one beside him or not; with a second one he may go."""
        admin = headers("admin")
        problem = assert_problem(client.patch("/api/users/1/", json=body, headers=admin), 409, "conflict")
        assert problem["field"] == field
        assert notes(bench) == []
        assert client.patch("/api/users/2/", json={"role": "admin"}, headers=admin).status_code == 200
        assert client.patch("/api/users/1/", json=body, headers=admin).status_code == 200
        problem = assert_problem(client.patch("/api/users/2/", json=body, headers=headers("engineer")), 409, "conflict")
        assert "another one first" in problem["rule"]

    @pytest.mark.parametrize("body", [{"active": "no"}, {"role": "owner"}, {"username": "x"}, {"tenant_id": 2}])
    def test_a_bad_change_is_named(self, client: TestClient, headers: LogIn, body: dict[str, Any]) -> None:
        """What is no role, no truth value, or cannot be changed at all."""
        problem = assert_problem(client.patch(OPERATOR, json=body, headers=headers("admin")), 422, "invalid-input")
        assert problem["field"] == next(iter(body))

    def test_an_administrator_sets_a_password(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """Sessions and access of the account end, the old password too; the rules are those of all passwords."""
        tokens, admin = log_in(client, "operator"), headers("admin")
        refused = client.post(f"{OPERATOR}password/", json={"password": "short secret"}, headers=admin)
        assert "secret" not in refused.text
        assert assert_problem(refused, 422, "invalid-input")["field"] == "password"
        assert client.post(f"{OPERATOR}password/", json={"password": FRESH}, headers=admin).status_code == 204
        assert_problem(within_seconds(client, bearer(tokens)), 401, "unauthenticated")
        log_in(client, "operator", FRESH)
        assert notes(bench) == [("admin", "user.password", "user 3")]
        assert FRESH not in (bench.services.settings.home / "logs" / "hdx.jsonl").read_text()
        assert not any(FRESH in note.detail for _, note in bench.store.notes)


class TestSessions:
    """What grew from log-ins."""

    def test_open_sessions_are_listed(self, client: TestClient, headers: LogIn) -> None:
        """Each with when it began, was refreshed and ends; those that ended, or are another's, are not."""
        kept, refreshed, ended = (log_in(client, "operator") for _ in range(3))
        log_in(client, "viewer")
        client.post("/api/auth/refresh/", json={"refresh": refreshed["refresh"]})
        client.post("/api/auth/logout/", json={"refresh": ended["refresh"]})
        reply = client.get(f"{OPERATOR}sessions/", headers=headers("admin"))
        listed = SessionsReply.model_validate(reply.json()).sessions
        assert [each.used_at is None for each in listed] == [False, True]
        assert listed[0].begun_at >= listed[1].begun_at
        assert all(each.begun_at < each.expires_at for each in listed)
        assert kept["refresh"] not in reply.text

    def test_one_session_is_ended(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """It is refreshed no more, the other one is, and a second end finds nothing."""
        first, second = log_in(client, "operator"), log_in(client, "operator")
        admin = headers("admin")
        newest, _ = client.get(f"{OPERATOR}sessions/", headers=admin).json()["sessions"]
        path = f"{OPERATOR}sessions/{newest['session_id']}/"
        theirs = path.replace("/3/", "/4/")
        assert assert_problem(client.delete(theirs, headers=admin), 404, "not-found")["field"] == "session"
        assert client.delete(path, headers=admin).status_code == 204
        assert assert_problem(client.delete(path, headers=admin), 404, "not-found")["field"] == "session"
        for tokens, status in ((second, 401), (first, 200)):
            reply = client.post("/api/auth/refresh/", json={"refresh": tokens["refresh"]})
            assert reply.status_code == status
        assert notes(bench) == [("admin", "user.session.ended", "user 3")]

    def test_all_sessions_are_ended(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """With their access, within seconds; the same password logs in again."""
        tokens, admin = [log_in(client, "operator") for _ in range(2)], headers("admin")
        assert client.delete(f"{OPERATOR}sessions/", headers=admin).status_code == 204
        assert client.get(f"{OPERATOR}sessions/", headers=admin).json() == {"sessions": []}
        for each in tokens:
            assert_problem(within_seconds(client, bearer(each)), 401, "unauthenticated")
            reply = client.post("/api/auth/refresh/", json={"refresh": each["refresh"]})
            assert_problem(reply, 401, "unauthenticated")
        assert client.get("/api/systems/", headers=headers("operator")).status_code == 200
        assert notes(bench) == [("admin", "user.sessions.ended", "user 3")]


def test_new_passwords_are_hashed_in_turn(client: TestClient, headers: LogIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the thread that checks those of log-in; where a tenant's places are taken the next is told to come later."""
    admin, threads, hash_password = headers("admin"), set(), credentials.hash_password

    def hashed(password: str) -> str:
        threads.add(threading.current_thread().name)
        return hash_password(password)

    monkeypatch.setattr(credentials, "hash_password", hashed)
    assert client.post(USERS, json=NEW_USER, headers=admin).status_code == 201
    assert client.post(f"{OPERATOR}password/", json={"password": FRESH}, headers=admin).status_code == 204
    assert threads == {"passwords_0"}
    monkeypatch.setattr(password_checks, "OF_TENANT_MAX", 0)
    reply = client.post(f"{OPERATOR}password/", json={"password": f"not {FRESH}"}, headers=admin)
    assert_problem(reply, 429, "overloaded")
    assert reply.headers["retry-after"] == "2"
    assert log_in(client, "operator", FRESH)


class TestOwnPassword:
    """Whoever has an account changes his own password."""

    @pytest.mark.parametrize("role", ["admin", "engineer", "operator", "viewer"])
    def test_it_is_changed_by_whoever_knows_it(
        self, client: TestClient, bench: Bench, headers: LogIn, role: str
    ) -> None:
        """Every session of before ends, the one that is returned holds, and so does the new password alone."""
        old = log_in(client, role)
        body = {"current_password": PASSWORD, "new_password": FRESH}
        reply = client.post(OWN, json=body, headers=headers(role))
        new = TokenReply.model_validate(reply.json()).model_dump()
        assert_problem(within_seconds(client, bearer(old)), 401, "unauthenticated")
        assert client.get("/api/systems/", headers=bearer(new)).status_code == 200
        assert client.post("/api/auth/refresh/", json={"refresh": new["refresh"]}).status_code == 200
        refused = client.post("/api/auth/login/", json={"username": role, "password": PASSWORD})
        assert_problem(refused, 401, "unauthenticated")
        log_in(client, role, FRESH)
        assert notes(bench)[0][:2] == (role, "user.password")

    def test_a_wrong_one_changes_nothing(self, client: TestClient, bench: Bench, headers: LogIn) -> None:
        """It is refused without a word of either password, noted, and the token still holds."""
        token = headers("operator")
        body = {"current_password": "a wrong secret", "new_password": "a new secret, longer"}
        reply = client.post(OWN, json=body, headers=token)
        assert "current_password" in assert_problem(reply, 403, "forbidden")["detail"]
        assert "secret" not in reply.text
        assert notes(bench) == [("operator", "user.password.failed", "user 3")]
        assert client.get("/api/systems/", headers=token).status_code == 200
        assert bench.store.people[3].generation == 0

    @pytest.mark.parametrize("new", ["short secret", "secretsecret2026", "the operator's secret"])
    def test_a_weak_one_is_refused(self, client: TestClient, bench: Bench, headers: LogIn, new: str) -> None:
        """By the rules of all passwords, before the current one is asked about."""
        body = {"current_password": PASSWORD, "new_password": new}
        reply = client.post(OWN, json=body, headers=headers("operator"))
        assert assert_problem(reply, 422, "invalid-input")["field"] == "new_password"
        assert "secret" not in reply.text
        assert bench.store.people[3].generation == 0

    def test_guesses_count_as_those_of_log_in(self, client: TestClient, headers: LogIn) -> None:
        """After eight wrong ones the right one waits, here and at log-in, and is told how long."""
        token = headers("operator")
        body = {"current_password": "a wrong guess", "new_password": FRESH}
        for _ in range(8):
            assert client.post(OWN, json=body, headers=token).status_code == 403
        right = client.post(OWN, json=body | {"current_password": PASSWORD}, headers=token)
        assert_problem(right, 429, "overloaded")
        assert 0 < int(right.headers["retry-after"]) <= 300
        login = client.post("/api/auth/login/", json={"username": "operator", "password": PASSWORD})
        assert_problem(login, 429, "overloaded")

    def test_the_owner_waits_with_no_strangers(
        self, client: TestClient, headers: LogIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where they have all places of log-in, whoever is logged in changes his password, and his device is known."""
        token = headers("operator")
        client.cookies.clear()
        monkeypatch.setattr(password_checks, "STRANGERS_MAX", 0)
        right = {"username": "operator", "password": FRESH}
        assert_problem(client.post("/api/auth/login/", json=right), 429, "overloaded")
        reply = client.post(OWN, json={"current_password": PASSWORD, "new_password": FRESH}, headers=token)
        assert reply.status_code == 200
        assert client.post("/api/auth/login/", json=right).status_code == 200

    def test_a_key_has_none(self, client: TestClient) -> None:
        """A program that calls has nobody's password to change."""
        body = {"current_password": PASSWORD, "new_password": FRESH}
        reply = client.post(OWN, json=body, headers={"x-api-key": API_KEY})
        assert "no password" in assert_problem(reply, 403, "forbidden")["detail"]

    def test_what_an_administrator_sets_meanwhile_stays(
        self, client: TestClient, bench: Bench, headers: LogIn, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever knew the old password cannot overtake a new one that is set while his own change is on its way."""
        token, accounts = headers("operator"), bench.store.accounts
        set_password = accounts.set_password

        async def overtaken(account: Any, hashed: str, actor: str, checked: bool = False) -> Any:
            await set_password(account, "another hash", "admin")
            return await set_password(account, hashed, actor, checked)

        monkeypatch.setattr(accounts, "set_password", overtaken)
        body = {"current_password": PASSWORD, "new_password": FRESH}
        assert_problem(client.post(OWN, json=body, headers=token), 409, "conflict")
        assert asyncio.run(accounts.own(1, 3)).password_hash == "another hash"


async def test_the_first_administrator_is_held_to_the_rules(tmp_path: Path) -> None:
    """A weak `HDX_ADMIN_PASSWORD` stops the first start with its name, and is not asked about once there is one."""
    store = MemoryStore()
    weak, strong = (settings_for(tmp_path, admin_password=SecretStr(each)) for each in ("short secret", FRESH))
    with pytest.raises(PasswordRefused, match="HDX_ADMIN_PASSWORD"):
        await make_admin(weak, cast(Any, store), 1)
    assert store.people == {}
    for settings in (strong, weak):
        assert (await make_admin(settings, cast(Any, store), 1)).password is None
    (admin,) = store.people.values()
    assert verify_password(admin.password_hash, FRESH)
