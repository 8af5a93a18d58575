"""Accounts, keys and sessions: who is meant by a log-in, and what no concurrency may do."""

import asyncio
from hashlib import sha256
from uuid import uuid4

import pytest

from pipelines.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from serve_app.store.records import Principal
from serve_app.store.repository import Store
from tests.service.houses import make_house, soon


async def test_an_account_is_found_in_any_case(store: Store) -> None:
    """User name and e-mail both find the account, whatever their case and the blanks around them."""
    house = await make_house(store)
    for login in (house.username, house.username.upper(), f"  {house.username.title()}@Example.COM "):
        account = await store.accounts.by_login(login)
        assert account is not None
        assert account == await store.accounts.get(house.user_id)
    assert await store.accounts.by_login("nobody-of-that-name") is None
    assert await store.accounts.by_login("") is None
    assert await store.accounts.get(0) is None


async def test_a_log_in_means_one_account(store: Store) -> None:
    """No user name can pose as another account's e-mail, nor an e-mail as a user name; one's own may be both."""
    house = await make_house(store)
    with pytest.raises(InvalidInput, match="username"):
        await store.accounts.add(house.tenant_id, f"{house.username}@example.com", "z@example.com", "hash", "viewer")
    with pytest.raises(InvalidInput, match="email"):
        await store.accounts.add(house.tenant_id, uuid4().hex, house.username, "hash", "viewer")
    own = f"{uuid4().hex}@example.com"
    await store.accounts.add(house.tenant_id, own, own, "hash", "viewer")
    account = await store.accounts.by_login(own)
    assert account is not None
    assert account.username == own


async def test_an_account_needs_a_tenant(store: Store) -> None:
    """Accounts and keys of a tenant that does not exist are refused."""
    with pytest.raises(NotFound, match="tenant"):
        await store.accounts.add(2**31 - 1, uuid4().hex, f"{uuid4().hex}@example.com", "hash", "viewer")
    with pytest.raises(NotFound, match="tenant"):
        await store.keys.add(2**31 - 1, "key", "viewer", sha256(uuid4().bytes).digest())


async def test_a_tenant_is_made_once(store: Store) -> None:
    """Asking for a tenant many times at once makes one."""
    name = uuid4().hex
    assert len(set(await asyncio.gather(*(store.tenants.ensure(name) for _ in range(8))))) == 1


async def test_a_key_stands_for_its_tenant(store: Store) -> None:
    """A key's digest names tenant and role; an unknown one names nobody; a digest is taken once."""
    house = await make_house(store)
    expected = Principal(house.tenant_id, None, "line 4", "operator")
    assert await store.keys.principal(house.key) == expected
    assert await store.keys.principal(sha256(b"unknown").digest()) is None
    with pytest.raises(Conflict, match="api_key"):
        await store.keys.add(house.tenant_id, "again", "admin", house.key)


async def test_a_session_rotates(store: Store) -> None:
    """Each refresh token works once and hands its user and family on to the next."""
    house = await make_house(store)
    second, third = uuid4(), uuid4()
    user_id, family = await store.sessions.rotate(house.token_id, second, soon())
    assert user_id == house.user_id
    assert await store.sessions.rotate(second, third, soon()) == (house.user_id, family)


async def test_a_reused_token_revokes_its_family(store: Store) -> None:
    """A token used a second time ends every token of its log-in, and none of another log-in."""
    house = await make_house(store)
    second, elsewhere = uuid4(), uuid4()
    await store.sessions.start(house.user_id, uuid4(), elsewhere, soon())
    await store.sessions.rotate(house.token_id, second, soon())
    with pytest.raises(Unauthenticated):
        await store.sessions.rotate(house.token_id, uuid4(), soon())
    with pytest.raises(Unauthenticated):
        await store.sessions.rotate(second, uuid4(), soon())
    assert (await store.sessions.rotate(elsewhere, uuid4(), soon()))[0] == house.user_id


async def test_a_token_is_exchanged_once_under_concurrency(store: Store) -> None:
    """Of many who present one token at once a single one gets a new token, and that one is revoked by the reuse."""
    house = await make_house(store)
    fresh = [uuid4() for _ in range(8)]
    outcomes = await asyncio.gather(
        *(store.sessions.rotate(house.token_id, new, soon()) for new in fresh), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(Unauthenticated) == 7
    for new in fresh:
        with pytest.raises(Unauthenticated):
            await store.sessions.rotate(new, uuid4(), soon())


async def test_no_token_escapes_a_revocation(store: Store) -> None:
    """A token that is being made while its family is revoked is revoked too."""
    house = await make_house(store)
    for _ in range(30):
        first, second, third = uuid4(), uuid4(), uuid4()
        await store.sessions.start(house.user_id, uuid4(), first, soon())
        await store.sessions.rotate(first, second, soon())
        await asyncio.gather(
            store.sessions.rotate(second, third, soon()),
            store.sessions.rotate(first, uuid4(), soon()),
            return_exceptions=True,
        )
        with pytest.raises(Unauthenticated):
            await store.sessions.rotate(third, uuid4(), soon())
