"""Identities of providers and invitations, in PostgreSQL and in memory, and by the commands."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from pipelines.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from serve_app.shared.credentials import digest
from serve_app.store.protocols import StoreParts
from serve_app.store.records import Account
from serve_app.store.records_identities import Identity, Newcomer
from serve_app.store.repository import Store
from serve_app.store.tables import APP_ROLE
from tests.service.test_user_commands import hdx

ISSUER = "https://id.example"
WEEK = timedelta(days=7)


async def make_account(parts: StoreParts) -> Account:
    """Return a viewer of a tenant of its own."""
    name = uuid4().hex
    return await parts.accounts.add(await parts.tenants.ensure(name), name, f"{name}@example.com", "hash", "viewer")


def somebody() -> Identity:
    return Identity(ISSUER, uuid4().hex)


def newcomer(identity: Identity | None = None) -> Newcomer:
    name = uuid4().hex
    return Newcomer(name, f"{name}@example.com", "hash", identity)


async def invite(parts: StoreParts, lives: timedelta = WEEK) -> tuple[str, bytes, int]:
    """Return the name of a tenant to be, what proves the invitation, and its number."""
    tenant, sha256 = uuid4().hex, digest(uuid4().hex)
    return tenant, sha256, (await parts.invitations.add(tenant, sha256, lives, "root")).invitation_id


async def actions(parts: StoreParts, tenant_id: int | None, subject: str) -> list[str]:
    """Return what the audit says was done to somebody or something, the newest first."""
    notes = await parts.audit.page(tenant_id, limit=200)
    return [note.action for note in notes if note.subject == subject]


async def test_an_identity_opens_the_account_it_is_linked_to(parts: StoreParts) -> None:
    """By issuer and subject as they are: neither another issuer's nor another spelling, no name and no e-mail."""
    account, identity = await make_account(parts), somebody()
    assert await parts.identities.account(identity) is None
    await parts.identities.link(account, identity, "root")
    assert await parts.identities.account(identity) == account
    others = (("https://id.example/", identity.subject), (ISSUER, identity.subject.upper()), (ISSUER, account.email))
    for issuer, subject in others:
        assert await parts.identities.account(Identity(issuer, subject)) is None
    assert (await actions(parts, account.tenant_id, f"user {account.user_id}"))[0] == "identity.linked"


async def test_an_identity_opens_one_account(parts: StoreParts) -> None:
    """Of all tenants; who has it keeps it, and the second link leaves no note."""
    account, other, identity = await make_account(parts), await make_account(parts), somebody()
    await parts.identities.link(account, identity)
    for again in (account, other):
        with pytest.raises(Conflict, match="subject"):
            await parts.identities.link(again, identity)
    assert await parts.identities.account(identity) == account
    assert "identity.linked" not in await actions(parts, other.tenant_id, f"user {other.user_id}")


async def test_unlinking_withdraws_access(parts: StoreParts) -> None:
    """No identity opens the account any more, and what it had of credentials is withdrawn; once."""
    account, identities = await make_account(parts), [somebody(), somebody()]
    for identity in identities:
        await parts.identities.link(account, identity)
    assert await parts.identities.unlink(account, "root") == 2
    assert [await parts.identities.account(identity) for identity in identities] == [None, None]
    now = await parts.accounts.get(account.user_id)
    assert now is not None
    assert now.generation == account.generation + 1
    with pytest.raises(NotFound):
        await parts.identities.unlink(account)
    await parts.identities.link(account, identities[0])


@pytest.mark.parametrize("by_identity", [False, True])
async def test_an_invitation_makes_a_tenant(parts: StoreParts, by_identity: bool) -> None:
    """With its administrator, who is in the audit of the tenant; the platform's has who was invited, and came."""
    tenant, sha256, number = await invite(parts)
    assert await parts.invitations.is_open(sha256)
    wanted = newcomer(somebody() if by_identity else None)
    account = await parts.invitations.redeem(sha256, wanted)
    assert (account.username, account.role, account.active) == (wanted.username, "admin", True)
    assert account.tenant_id == await parts.tenants.ensure(tenant)
    assert await parts.accounts.by_login(wanted.email) == account
    if wanted.identity is not None:
        assert await parts.identities.account(wanted.identity) == account
    linked = ["identity.linked"] if by_identity else []
    assert await actions(parts, account.tenant_id, f"user {account.user_id}") == [*linked, "user.added"]
    assert await actions(parts, None, f"invitation {number}") == ["invitation.redeemed", "invitation.added"]


async def test_what_does_not_hold_is_refused_alike(parts: StoreParts) -> None:
    """Used, past its end, revoked or never given: one answer, and nothing is made."""
    _, used, _ = await invite(parts)
    await parts.invitations.redeem(used, newcomer())
    _, past, _ = await invite(parts, timedelta(0))
    _, revoked, number = await invite(parts)
    await parts.invitations.revoke(number, "root")
    made, taken, _ = await invite(parts)
    await parts.tenants.ensure(made)
    said = set()
    for sha256 in (used, past, revoked, taken, digest("never given")):
        wanted = newcomer()
        with pytest.raises(Unauthenticated) as refused:
            await parts.invitations.redeem(sha256, wanted)
        said.add(str(refused.value))
        assert await parts.accounts.by_login(wanted.username) is None
    assert len(said) == 1
    assert [await parts.invitations.is_open(each) for each in (used, past, revoked)] == [False] * 3


async def test_a_name_that_is_taken_uses_nothing_up(parts: StoreParts) -> None:
    """Of user, mail or identity: the invitation holds, and no tenant is left without an administrator."""
    account, identity = await make_account(parts), somebody()
    await parts.identities.link(account, identity)
    tenant, sha256, number = await invite(parts)
    wanted = newcomer()
    for wrong, field in (
        (wanted._replace(username=account.username), "username"),
        (wanted._replace(email=account.email), "email"),
        (wanted._replace(identity=identity), "subject"),
    ):
        with pytest.raises(Conflict, match=field):
            await parts.invitations.redeem(sha256, wrong)
    with pytest.raises(Conflict, match="tenant"):
        await parts.invitations.add(str((await make_account(parts)).username), digest(uuid4().hex), WEEK)
    await parts.invitations.redeem(sha256, wanted)
    assert await actions(parts, None, f"invitation {number}") == ["invitation.redeemed", "invitation.added"]
    assert tenant


async def test_invitations_are_listed_and_revoked_once(parts: StoreParts) -> None:
    """In order of their ids, with what became of each; one that does not hold cannot be revoked."""
    numbers = [(await invite(parts))[2] for _ in range(3)]
    await parts.invitations.revoke(numbers[1], "root")
    found = await parts.invitations.page(numbers[0] - 1, 3)
    assert [each.invitation_id for each in found] == numbers
    assert [each.revoked_at is None for each in found] == [True, False, True]
    assert [each.actor for each in found] == ["root"] * 3
    for number in (numbers[1], 0):
        with pytest.raises(NotFound, match="invitation"):
            await parts.invitations.revoke(number)
    assert (await actions(parts, None, f"invitation {numbers[1]}"))[0] == "invitation.revoked"


# --- PostgreSQL alone


async def test_an_invitation_is_used_once_under_concurrency(store: Store) -> None:
    """Of many who come with one at once, one makes the tenant."""
    _, sha256, _ = await invite(store)
    came = [newcomer() for _ in range(6)]
    outcomes = await asyncio.gather(*(store.invitations.redeem(sha256, each) for each in came), return_exceptions=True)
    assert sorted(type(each).__name__ for each in outcomes) == ["Account", *["Unauthenticated"] * 5]
    assert [await store.accounts.by_login(each.username) is not None for each in came].count(True) == 1


async def test_an_account_must_have_a_form(store: Store) -> None:
    """What would pose as another's e-mail is refused, and the invitation holds."""
    _, sha256, _ = await invite(store)
    with pytest.raises(InvalidInput, match="email"):
        await store.invitations.redeem(sha256, newcomer()._replace(email="nobody"))
    assert await store.invitations.is_open(sha256)


async def test_no_row_is_seen_without_what_names_it(store: Store, url: str) -> None:
    """A log-in sees the identity that it names, and a newcomer his invitation, even where the query forgets to ask."""
    account, identity = await make_account(store), somebody()
    await store.identities.link(account, identity)
    await store.identities.link(await make_account(store), somebody())
    (_, sha256, number), _ = await invite(store), await invite(store)
    engine = create_engine(url, poolclass=NullPool, connect_args={"options": f"-c role={APP_ROLE}"})
    with engine.connect() as connection:

        def seen(setting: str, value: str, query: str) -> list[object]:
            connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": setting, "value": value})
            return list(connection.execute(text(query)).scalars())

        assert seen("hdx.identity", "", "SELECT user_id FROM identities") == []
        assert seen("hdx.identity", " ".join(identity), "SELECT user_id FROM identities") == [account.user_id]
        assert seen("hdx.invitation", "", "SELECT invitation_id FROM invitations") == []
        assert seen("hdx.invitation", sha256.hex(), "SELECT invitation_id FROM invitations") == [number]


# --- commands


async def test_a_tenant_is_invited_by_command(tenant: str, embedded_url: str) -> None:
    """The token is printed once and opens; lists show what became of it, and not the token."""
    token = (await asyncio.to_thread(hdx, "tenant", "invite", tenant)).split()[0]
    listed = await asyncio.to_thread(hdx, "tenant", "invitations")
    line = next(line for line in listed.splitlines() if tenant in line)
    assert token not in listed
    assert "open" in line
    store = Store.open(embedded_url, 1)
    assert await store.invitations.is_open(digest(token))
    await asyncio.to_thread(hdx, "tenant", "revoke", line.split()[0])
    assert not await store.invitations.is_open(digest(token))
    await store.close()
    listed = await asyncio.to_thread(hdx, "tenant", "invitations")
    assert "revoked" in next(line for line in listed.splitlines() if tenant in line)
    assert "invitation.revoked" in await asyncio.to_thread(hdx, "audit", "--platform")


async def test_an_identity_is_linked_by_command(
    tenant: str, embedded_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the issuer that is set, or of one that is named; and all are unlinked."""
    mail = f"{tenant}@example.com"
    made = ("user", "create", tenant, "--email", mail, "--tenant", tenant, "--password", "the first password")
    await asyncio.to_thread(hdx, *made)
    with pytest.raises(InvalidInput, match="issuer"):
        await asyncio.to_thread(hdx, "user", "link", tenant, "--subject", tenant)
    monkeypatch.setenv("HDX_OIDC__ISSUER", ISSUER)
    monkeypatch.setenv("HDX_OIDC__CLIENT_ID", "hdx")
    await asyncio.to_thread(hdx, "user", "link", tenant, "--subject", tenant)
    await asyncio.to_thread(hdx, "user", "link", mail, "--subject", tenant, "--issuer", "https://other.example")
    store = Store.open(embedded_url, 1)
    for issuer in (ISSUER, "https://other.example"):
        found = await store.identities.account(Identity(issuer, tenant))
        assert found is not None
        assert found.username == tenant
    await asyncio.to_thread(hdx, "user", "unlink", tenant)
    assert await store.identities.account(Identity(ISSUER, tenant)) is None
    await store.close()
