"""Tenants that are made by invitation, with a password or by an identity."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from configs.oidc import Oidc
from serve_app.api.schemas.auth import TokenReply
from serve_app.shared.credentials import INVITATION_LIVES, digest, new_invitation
from serve_app.shared.limits import FROM_ADDRESS, OF_ADDRESS
from serve_app.store.records_identities import Identity
from tests.contract.calls import assert_problem
from tests.contract.provider import CLIENT_ID, CLIENT_SECRET, ISSUER, StandInProvider
from tests.contract.stand_ins import Bench, make_bench
from tests.contract.test_oidc import CALLBACK, client_of
from tests.contract.test_people import bearer, log_in

INVITATIONS = "/api/auth/invitations/"
FRESH = "a lamp for the cellar"
NEW = {"username": "founder", "email": "founder@example.com", "password": FRESH}
BY_PROVIDER = {"username": "founder", "email": "founder@example.com"}


@pytest.fixture
def provider() -> StandInProvider:
    return StandInProvider()


@pytest.fixture
def federated(tmp_path: Path, provider: StandInProvider) -> Iterator[tuple[TestClient, Bench]]:
    """A browser before a gateway that knows the provider."""
    settings = Oidc(issuer=ISSUER, client_id=CLIENT_ID, client_secret=SecretStr(CLIENT_SECRET))
    bench = make_bench(tmp_path, oidc=settings)
    with client_of(bench, provider) as client:
        yield client, bench


def invite(bench: Bench, tenant: str = "acme", lives: timedelta = INVITATION_LIVES) -> str:
    """Return an invitation."""
    token = new_invitation()
    asyncio.run(bench.store.invitations.add(tenant, digest(token), lives, "root"))
    return token


def redeem(client: TestClient, token: str, **changes: Any) -> Any:
    return client.post(INVITATIONS, json={"invitation": token, **NEW, **changes})


def notes(bench: Bench) -> list[tuple[int | None, str]]:
    return [(tenant, action) for tenant, _, action, _ in bench.store.audited]


class TestByPassword:
    """Whoever has an invitation chooses a name and a password."""

    def test_a_tenant_is_made_once(self, client: TestClient, bench: Bench) -> None:
        """Its administrator is logged in, sees a tenant without anything, and logs in by the password from then on."""
        token = invite(bench)
        reply = redeem(client, token)
        assert reply.status_code == 201, reply.text
        tokens = TokenReply.model_validate(reply.json()).model_dump()
        assert client.get("/api/systems/", headers=bearer(tokens)).json()["systems"] == []
        assert [user["role"] for user in client.get("/api/users/", headers=bearer(tokens)).json()["users"]] == ["admin"]
        assert log_in(client, "founder", FRESH)
        assert "hdx_device" in reply.cookies
        number = bench.store.tenant_ids["acme"]
        assert notes(bench)[:4] == [
            (None, "invitation.added"),
            (number, "user.added"),
            (None, "invitation.redeemed"),
            (number, "login"),
        ]
        assert_problem(redeem(client, token, username="b", email="b@example.com"), 401, "unauthenticated")
        assert not any(token in note.detail for _, note in bench.store.notes)

    def test_what_does_not_hold_is_told_alike(self, client: TestClient, bench: Bench) -> None:
        """Used, late, revoked and unknown: one answer to the letter, and nothing is made."""
        used, late, revoked = invite(bench, "a"), invite(bench, "b", timedelta(0)), invite(bench, "c")
        assert redeem(client, used).status_code == 201
        asyncio.run(bench.store.invitations.revoke(3, "root"))
        said = []
        for token in (used, late, revoked, new_invitation(), "x"):
            problem = assert_problem(redeem(client, token, username="b", email="b@example.com"), 401, "unauthenticated")
            said.append({name: value for name, value in problem.items() if name != "trace_id"})
        assert said == said[:1] * 5
        assert set(bench.store.tenant_ids) == {"demo", "other", "a"}
        assert notes(bench).count((None, "invitation.failed")) == 5

    def test_the_rules_of_passwords_hold(self, client: TestClient, bench: Bench) -> None:
        """Before the invitation is looked at, which a refused one does not use up; the problem shows no value."""
        token = invite(bench)
        for password in ("short", "1234567890123456", "the founder of all this"):
            problem = assert_problem(redeem(client, token, password=password), 422, "invalid-input")
            assert problem["field"] == "password"
            assert "value" not in problem
        assert redeem(client, token).status_code == 201

    def test_a_name_that_is_taken_uses_nothing_up(self, client: TestClient, bench: Bench) -> None:
        """Whoever has chosen another's name chooses again."""
        token = invite(bench)
        assert_problem(redeem(client, token, username="ADMIN"), 409, "conflict")
        assert_problem(redeem(client, token, email="stranger@example.com"), 409, "conflict")
        assert redeem(client, token).status_code == 201

    def test_attempts_are_counted(self, client: TestClient, bench: Bench) -> None:
        """At one invitation, and by the address that tries many, as log-ins are."""
        token = new_invitation()
        outcomes = [redeem(client, token).status_code for _ in range(FROM_ADDRESS.amount + 1)]
        assert outcomes == [401] * FROM_ADDRESS.amount + [429]
        for _ in range(OF_ADDRESS.amount - FROM_ADDRESS.amount):
            redeem(client, new_invitation())
        assert_problem(redeem(client, invite(bench)), 429, "overloaded")

    @pytest.mark.parametrize(
        "changes",
        [
            {"invitation": ""},
            {"invitation": "x" * 201},
            {"username": " "},
            {"email": None},
            {"tenant": "demo"},
            {"role": "x"},
        ],
    )
    def test_a_bad_body_is_named(self, client: TestClient, bench: Bench, changes: dict[str, Any]) -> None:
        """Nobody chooses tenant or role."""
        problem = assert_problem(redeem(client, invite(bench), **changes), 422, "invalid-input")
        assert problem["field"] == next(iter(changes))

    def test_without_a_provider_a_password_is_needed(self, client: TestClient, bench: Bench) -> None:
        """Which the problem says."""
        reply = client.post(INVITATIONS, json={"invitation": invite(bench), **BY_PROVIDER})
        assert assert_problem(reply, 422, "invalid-input")["field"] == "password"


class TestByIdentity:
    """Whoever has an invitation logs in at the provider, in the same flow."""

    def test_a_tenant_is_made(self, federated: tuple[TestClient, Bench], provider: StandInProvider) -> None:
        """By the identity that comes back, which opens the account from then on; no password does."""
        client, bench = federated
        reply = client.post(INVITATIONS, json={"invitation": invite(bench), **BY_PROVIDER})
        assert reply.status_code == 202, reply.text
        assert "acme" not in bench.store.tenant_ids
        reply = client.get(CALLBACK, params=provider.log_in(reply.json()["location"], "new"))
        assert reply.status_code == 200, reply.text
        users = client.get("/api/users/", headers=bearer(reply.json())).json()["users"]
        assert [(user["username"], user["role"]) for user in users] == [("founder", "admin")]
        assert bench.store.identities.linked[Identity(ISSUER, "new")] == users[0]["user_id"]
        again = client.get("/api/auth/oidc/login/").headers["location"]
        assert client.get(CALLBACK, params=provider.log_in(again, "new")).status_code == 200
        number = bench.store.tenant_ids["acme"]
        assert (number, "identity.linked") in notes(bench)
        assert notes(bench).count((number, "login")) == 2

    def test_it_makes_one(self, federated: tuple[TestClient, Bench], provider: StandInProvider) -> None:
        """Of two who have begun with one invitation the second is refused; so is whoever begins with a used one."""
        client, bench = federated
        body = {"invitation": invite(bench), **BY_PROVIDER}
        cookies, answers = [], []
        for subject in ("one", "two"):
            answers.append(provider.log_in(client.post(INVITATIONS, json=body).json()["location"], subject))
            cookies.append(client.cookies["hdx_oidc"])
            client.cookies.clear()
        outcomes = [
            client.get(CALLBACK, params=answer, headers={"cookie": f"hdx_oidc={cookie}"}).status_code
            for answer, cookie in zip(answers, cookies, strict=True)
        ]
        assert outcomes == [200, 401]
        assert_problem(client.post(INVITATIONS, json=body), 401, "unauthenticated")
        assert Identity(ISSUER, "two") not in bench.store.identities.linked

    def test_an_identity_that_has_an_account_makes_no_other(
        self, federated: tuple[TestClient, Bench], provider: StandInProvider
    ) -> None:
        """The invitation stays for somebody else."""
        client, bench = federated
        bench.store.identities.linked[Identity(ISSUER, "a-2-c")] = 3
        token = invite(bench)
        reply = client.post(INVITATIONS, json={"invitation": token, **BY_PROVIDER})
        reply = client.get(CALLBACK, params=provider.log_in(reply.json()["location"], "a-2-c"))
        assert_problem(reply, 409, "conflict")
        assert redeem(client, token).status_code == 201

    def test_the_browser_is_told_no_invitation(self, federated: tuple[TestClient, Bench]) -> None:
        """Neither the address of the provider nor the cookie holds what would redeem it."""
        client, bench = federated
        token = invite(bench)
        reply = client.post(INVITATIONS, json={"invitation": token, **BY_PROVIDER})
        assert token not in reply.text
        assert token not in client.cookies["hdx_oidc"]
