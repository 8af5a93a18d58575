"""`hdx user` and `hdx audit` on a real database."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from pipelines.errors import Conflict, InvalidInput, NotFound, PasswordRefused
from serve_app.cli.commands import app
from serve_app.shared.credentials import digest, verify_password
from serve_app.store.repository import Store


def hdx(*words: str) -> str:
    """Run a command and return what it prints."""
    ended = CliRunner().invoke(app, words)
    if ended.exception is not None:
        raise ended.exception
    return ended.output


def test_a_person_is_made_disabled_and_let_in(tenant: str) -> None:
    """Each command does what it says to the account that a name or an e-mail means, and an unknown one is refused."""
    mail = f"{tenant}@example.com"
    hdx("user", "create", tenant, "--email", mail, "--tenant", tenant, "--password", "the first password")
    hdx("user", "disable", tenant)
    hdx("user", "enable", mail)
    hdx("user", "password", mail.upper(), "--password", "the second password")
    lines = hdx("audit", "--tenant", tenant).splitlines()
    assert [line.split()[3] for line in lines[1:]] == ["user.password", "user.enabled", "user.disabled", "user.added"]
    with pytest.raises(NotFound, match="user"):
        hdx("user", "disable", uuid4().hex)


async def test_a_new_password_is_the_one(tenant: str, embedded_url: str) -> None:
    """What `hdx user password` sets opens the account, an administrator's too, and what was set before does not."""
    words = ("user", "create", tenant, "--email", f"{tenant}@example.com", "--tenant", tenant, "--role", "admin")
    await asyncio.to_thread(hdx, *words, "--password", "the first password")
    await asyncio.to_thread(hdx, "user", "password", tenant, "--password", "the second password")
    store = Store.open(embedded_url, 1)
    account = await store.accounts.by_login(tenant)
    await store.close()
    assert account is not None
    assert verify_password(account.password_hash, "the second password")
    assert not verify_password(account.password_hash, "the first password")


async def test_a_key_is_listed_and_revoked_by_name_or_id(tenant: str, embedded_url: str) -> None:
    """A key holds until it is revoked; a name that several keys have is refused with their ids."""
    keys = [await asyncio.to_thread(hdx, "user", "key", name, "--tenant", tenant) for name in ("a", "b", "b")]
    listed = (await asyncio.to_thread(hdx, "user", "keys", "--tenant", tenant)).splitlines()[1:]
    assert [line.split()[1] for line in listed] == ["a", "b", "b"]
    with pytest.raises(InvalidInput, match="give an id"):
        await asyncio.to_thread(hdx, "user", "revoke", "b", "--tenant", tenant)
    for key in ("a", listed[1].split()[0]):
        await asyncio.to_thread(hdx, "user", "revoke", key, "--tenant", tenant)
    store = Store.open(embedded_url, 1)
    found = [await store.keys.principal(digest(key.strip())) for key in keys]
    await store.close()
    assert [principal is None for principal in found] == [True, True, False]
    await asyncio.to_thread(hdx, "user", "revoke", "b", "--tenant", tenant)  # one of that name is left
    with pytest.raises(NotFound, match="key"):
        await asyncio.to_thread(hdx, "user", "revoke", "a", "--tenant", tenant)


async def test_people_are_listed_and_given_roles(tenant: str, embedded_url: str) -> None:
    """The list shows who may log in as what; a new role is noted, and the last administrator keeps his."""
    mail = f"{tenant}@example.com"
    words = ("user", "create", tenant, "--email", mail, "--tenant", tenant, "--role", "admin")
    await asyncio.to_thread(hdx, *words, "--password", "the first password")
    for deed in (("role", tenant, "viewer"), ("disable", mail)):
        with pytest.raises(Conflict, match="administrator"):
            await asyncio.to_thread(hdx, "user", *deed)
    second = ("user", "create", f"b{tenant}", "--email", f"b{mail}", "--tenant", tenant)
    await asyncio.to_thread(hdx, *second, "--password", "the first password")
    await asyncio.to_thread(hdx, "user", "role", f"b{mail}", "admin")
    await asyncio.to_thread(hdx, "user", "disable", tenant)
    listed = (await asyncio.to_thread(hdx, "user", "list", "--tenant", tenant)).splitlines()[1:]
    assert [line.split()[1:] for line in listed] == [
        [tenant, mail, "admin", "disabled"],
        [f"b{tenant}", f"b{mail}", "admin"],
    ]


async def test_sessions_are_listed_and_ended(tenant: str, embedded_url: str) -> None:
    """One by its id, all by one word; what is no id is refused."""
    words = ("user", "create", tenant, "--email", f"{tenant}@example.com", "--tenant", tenant)
    await asyncio.to_thread(hdx, *words, "--password", "the first password")
    store = Store.open(embedded_url, 1)
    account = await store.accounts.by_login(tenant)
    assert account is not None
    for _ in range(3):
        await store.sessions.start(account.user_id, uuid4(), uuid4(), datetime.now(UTC) + timedelta(days=1))
    listed = (await asyncio.to_thread(hdx, "user", "sessions", tenant)).splitlines()[1:]
    first, *rest = [line.split()[0] for line in listed]
    left = (await asyncio.to_thread(hdx, "user", "sessions", tenant, "--end", first)).splitlines()[1:]
    assert [line.split()[0] for line in left] == rest
    with pytest.raises(NotFound, match="session"):
        await asyncio.to_thread(hdx, "user", "sessions", tenant, "--end", first)
    with pytest.raises(InvalidInput, match="hdx user sessions"):
        await asyncio.to_thread(hdx, "user", "sessions", tenant, "--end", "first")
    assert len((await asyncio.to_thread(hdx, "user", "sessions", tenant, "--end", "all")).splitlines()) == 1
    assert (await store.accounts.own(account.tenant_id, account.user_id)).generation == 1
    await store.close()


async def test_a_key_is_made_with_scopes_and_an_end(tenant: str, embedded_url: str) -> None:
    """Both hold and are listed with how the key begins and its last use; an unknown scope is refused."""
    words = ("user", "key", "logger", "--tenant", tenant)
    held = await asyncio.to_thread(hdx, *words, "--scope", "readings", "--scope", "detect", "--days", "30")
    key = held.strip()
    store = Store.open(embedded_url, 1)
    principal = await store.keys.principal(digest(key))
    assert principal is not None
    assert principal.scopes == ("detect", "readings")
    used_at = datetime(2026, 11, 30, 12, 5, tzinfo=UTC)
    await store.keys.used(principal.tenant_id, {digest(key): used_at})
    (kept,) = await store.keys.page(principal.tenant_id)
    await store.close()
    assert kept.expires_at is not None
    assert timedelta(days=29) < kept.expires_at - kept.created_at < timedelta(days=31)
    listed = await asyncio.to_thread(hdx, "user", "keys", "--tenant", tenant)
    for shown in (key[:8], "detect readings", f"{kept.expires_at:%Y-%m-%d %H:%M}", "2026-11-30 12:05"):
        assert shown in listed
    assert key not in listed
    for wrong, match in ((("--scope", "everything"), "scope"), (("--days", "10000"), "expires_at")):
        with pytest.raises(InvalidInput, match=match):
            await asyncio.to_thread(hdx, *words, *wrong)


async def test_a_weak_password_is_refused(tenant: str, embedded_url: str) -> None:
    """By the rules that hold over REST, too; the refusal does not hold it, and nothing is made or changed."""
    create = ("user", "create", tenant, "--email", f"{tenant}@example.com", "--tenant", tenant)
    for password in ("short secret", "secretsecret2026", f"it is {tenant}"):
        with pytest.raises(PasswordRefused) as refused:
            await asyncio.to_thread(hdx, *create, "--password", password)
        assert password not in str(refused.value)
    await asyncio.to_thread(hdx, *create, "--password", "the first password")
    with pytest.raises(PasswordRefused):
        await asyncio.to_thread(hdx, "user", "password", tenant, "--password", f"it is {tenant}")
    store = Store.open(embedded_url, 1)
    account = await store.accounts.by_login(tenant)
    await store.close()
    assert account is not None
    assert account.generation == 0
