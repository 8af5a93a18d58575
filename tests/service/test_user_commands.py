"""`hdx user` and `hdx audit` on a real database."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from typer.testing import CliRunner

from pipelines.errors import InvalidInput, NotFound
from serve_app.cli.commands import app
from serve_app.shared.credentials import digest, verify_password
from serve_app.store.repository import Store


@pytest.fixture
def tenant(embedded_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A tenant's name; commands see the tests' database, and no `.env`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HDX_DATABASE__URL", embedded_url)
    return uuid4().hex


def hdx(*words: str) -> str:
    """Run a command and return what it prints."""
    ended = CliRunner().invoke(app, words)
    if ended.exception is not None:
        raise ended.exception
    return ended.output


def test_a_person_is_made_disabled_and_let_in(tenant: str) -> None:
    """Each command does what it says to the account that a name or an e-mail means, and an unknown one is refused."""
    mail = f"{tenant}@example.com"
    hdx("user", "create", tenant, "--email", mail, "--tenant", tenant, "--password", "first password")
    hdx("user", "disable", tenant)
    hdx("user", "enable", mail)
    hdx("user", "password", mail.upper(), "--password", "second password")
    lines = hdx("audit", "--tenant", tenant).splitlines()
    assert [line.split()[3] for line in lines[1:]] == ["user.password", "user.enabled", "user.disabled", "user.added"]
    with pytest.raises(NotFound, match="user"):
        hdx("user", "disable", uuid4().hex)


async def test_a_new_password_is_the_one(tenant: str, embedded_url: str) -> None:
    """What `hdx user password` sets opens the account, an administrator's too, and what was set before does not."""
    words = ("user", "create", tenant, "--email", f"{tenant}@example.com", "--tenant", tenant, "--role", "admin")
    await asyncio.to_thread(hdx, *words, "--password", "first password")
    await asyncio.to_thread(hdx, "user", "password", tenant, "--password", "second password")
    store = Store.open(embedded_url, 1)
    account = await store.accounts.by_login(tenant)
    await store.close()
    assert account is not None
    assert verify_password(account.password_hash, "second password")
    assert not verify_password(account.password_hash, "first password")


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
