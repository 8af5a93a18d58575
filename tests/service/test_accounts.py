"""Accounts, keys and sessions: who is meant by a log-in, and what no concurrency may do."""

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from pipelines.errors import Conflict, InvalidInput, NotFound, Unauthenticated
from serve_app.api.auth import WITHDRAWN_S, Authenticator
from serve_app.shared.credentials import hash_password
from serve_app.store.records import Account, Principal
from serve_app.store.repository import Store
from tests.contract.stand_ins import make_bench
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


# --- what two administrators, or two replicas, do at once


async def make_admin(store: Store, tenant_id: int) -> Account:
    name = uuid4().hex
    return await store.accounts.add(tenant_id, name, f"{name}@example.com", "hash", "admin")


@pytest.mark.parametrize("changes", [({"role": "viewer"}, {"active": False}), ({"active": False}, {"active": False})])
async def test_two_administrators_cannot_end_each_other(
    store: Store, changes: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    """However often both try it at the same moment, one is left, and who came second is told why."""
    for _ in range(10):
        house = await make_house(store)
        other = await make_admin(store, house.tenant_id)
        outcomes = await asyncio.gather(
            store.accounts.change(house.tenant_id, other.user_id, **changes[0]),
            store.accounts.change(house.tenant_id, house.user_id, **changes[1]),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Account", "Conflict"]
        people = await store.accounts.page(house.tenant_id)
        assert [each.role == "admin" and each.active for each in people].count(True) == 1


async def test_many_administrators_end_all_but_one(store: Store) -> None:
    """Of many who are all disabled at once a single one stays, and nobody waits in a ring."""
    house = await make_house(store)
    people = [house.user_id, *[(await make_admin(store, house.tenant_id)).user_id for _ in range(5)]]
    outcomes = await asyncio.gather(
        *(store.accounts.change(house.tenant_id, number, active=False) for number in people), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 1
    assert [type(outcome) for outcome in outcomes].count(Account) == 5


async def test_of_two_who_know_a_password_one_changes_it(store: Store) -> None:
    """A second change that the old password allowed comes too late, even at the same moment."""
    house = await make_house(store)
    account = await store.accounts.own(house.tenant_id, house.user_id)
    outcomes = await asyncio.gather(
        *(store.accounts.set_password(account, f"hash {number}", "ann", checked=True) for number in range(4)),
        return_exceptions=True,
    )
    (changed,) = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    assert [type(outcome) for outcome in outcomes].count(Conflict) == 3
    assert await store.accounts.own(house.tenant_id, house.user_id) == changed


async def test_no_token_escapes_the_end_of_its_session(store: Store) -> None:
    """A token that is being exchanged while an administrator ends its session is worth nothing afterwards."""
    house = await make_house(store)
    for _ in range(20):
        family, first, second = uuid4(), uuid4(), uuid4()
        await store.sessions.start(house.user_id, family, first, soon())
        await asyncio.gather(
            store.sessions.rotate(first, second, soon()),
            store.sessions.end_one(house.tenant_id, house.user_id, family),
            return_exceptions=True,
        )
        with pytest.raises(Unauthenticated):
            await store.sessions.rotate(second, uuid4(), soon())
        assert family not in {each.session_id for each in await store.sessions.page(house.tenant_id, house.user_id)}


@pytest.mark.parametrize("change", [{"active": False}, {"role": "viewer"}])
async def test_every_replica_shuts_out_whom_one_does(store: Store, tmp_path: Path, change: dict[str, Any]) -> None:
    """An access token, believed without the database, is refused by two replicas within seconds; another's holds."""
    house = await make_house(store)
    person, other = [await make_admin(store, house.tenant_id) for _ in range(2)]
    await store.accounts.set_password(person, hash_password("a lamp for the cellar"))
    replicas = [Authenticator(replace(make_bench(tmp_path).services, store=store)) for _ in range(2)]
    tokens, _ = await replicas[0].log_in(person.username, "a lamp for the cellar", "10.0.0.1")
    token = tokens["access"]
    stays = replicas[0].issuer.issue(Principal(house.tenant_id, other.user_id, other.username, "admin")).access
    async with AsyncExitStack() as running:
        for replica in replicas:
            await running.enter_async_context(replica.watching())
            assert replica.by_token(token).user_id == person.user_id
        await store.accounts.change(house.tenant_id, person.user_id, **change)
        ends = time.monotonic() + WITHDRAWN_S + 2
        left = list(replicas)
        while left and time.monotonic() < ends:
            left = [replica for replica in left if holds(replica, token)]
            await asyncio.sleep(0.05)
        assert left == []
        assert all(holds(replica, stays) for replica in replicas)


def holds(replica: Authenticator, token: str) -> bool:
    """Tell whether a replica believes a token."""
    try:
        replica.by_token(token)
    except Unauthenticated:
        return False
    return True
