"""Quotas of several gateways, settled in a real PostgreSQL and in a real Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from pipelines.errors import QuotaExceeded
from serve_app.shared import quotas as quotas_module
from serve_app.shared.quotas import PERIOD_S, Quota, Quotas, RedisLedger
from serve_app.store.protocols_rates import Ledger
from serve_app.store.repository import Store
from tests.service.test_cache_redis import SERVER, redis_server

Opened = Callable[[], Ledger]


@pytest.fixture(params=["postgres", "redis"])
async def opened(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Opened]:
    """Opens the place where replicas add up, each over connections of its own."""
    monkeypatch.setattr(quotas_module, "TIMEOUT_S", 10.0)  # the machine of the tests does much else
    if request.param == "redis":
        if SERVER is None:
            pytest.skip("no redis-server on this machine; Debian's package is redis-server")
        socket = tmp_path / "redis.sock"
        with redis_server(socket):
            yield lambda: RedisLedger(f"unix://{socket}?db=0")
        return
    stores: list[Store] = []

    def open_store() -> Ledger:
        stores.append(Store.open(request.getfixturevalue("embedded_url"), 2))
        return stores[-1].rates

    yield open_store
    for store in stores:
        await store.close()


def a_quota(limit: int) -> Quota:
    """A quota of a tenant that nobody has counted before."""
    return Quota("tenant-chat", f"tenant:{uuid4().hex}:chat", limit)


def taken(counts: Quotas, many: int, quota: Quota) -> int:
    """Return how many of so many requests are taken."""
    done = 0
    for _ in range(many):
        try:
            counts.take([quota])
        except QuotaExceeded:
            continue
        done += 1
    return done


async def test_two_replicas_have_one_quota(opened: Opened) -> None:
    """What one took before it settled the other does not have."""
    now = time.time() // PERIOD_S * PERIOD_S
    one, other = (Quotas(opened(), lambda: now) for _ in range(2))
    quota = a_quota(100)
    assert taken(one, 60, quota) == 60
    await one.settle()
    await other.settle([quota.name])
    assert other.balances([quota])[0].remaining == 40
    assert taken(other, 60, quota) == 40
    await other.settle()
    await one.settle([quota.name])
    assert taken(one, 1, quota) == 0


async def test_no_count_is_lost_or_double(opened: Opened) -> None:
    """Replicas that settle all at once, again and again, the same names in any order: the sum is what they counted."""
    now = time.time()
    replicas = [Quotas(opened(), lambda: now) for _ in range(4)]
    quotas = [a_quota(10_000) for _ in range(20)]
    for turn in range(5):
        for place, replica in enumerate(replicas):
            for quota in quotas if (place + turn) % 2 else reversed(quotas):
                replica.take([quota])
        await asyncio.gather(*(replica.settle() for replica in replicas))
    for replica in replicas:
        await replica.settle([quota.name for quota in quotas])
    for replica in replicas:
        assert [each.remaining for each in replica.balances(quotas)] == [10_000 - 20] * 20


async def test_the_minute_before_is_known_to_all(opened: Opened) -> None:
    """A replica that meets a caller for the first time counts what others took in the last minute."""
    begin = time.time() // PERIOD_S * PERIOD_S
    now = begin + PERIOD_S - 1
    one, other = (Quotas(opened(), lambda: now) for _ in range(2))
    quota = a_quota(10)
    taken(one, 10, quota)
    await one.settle()
    now = begin + PERIOD_S + 1
    await other.settle([quota.name])
    assert taken(other, 10, quota) == 0


async def test_what_is_past_goes(embedded_url: str) -> None:
    """The database keeps no count of a minute that no quota looks back to, nor attempts that no limit does."""
    store = Store.open(embedded_url, 2)
    name, period = uuid4().hex, int(time.time() // PERIOD_S)
    await store.rates.settle({(name, period - 3): 1, (name, period): 1})
    assert await store.rates.take(name, 1, 0.01)
    assert await store.rates.take(f"{name} young", 1, 600)
    await asyncio.sleep(0.05)
    await store.rates.forget(period - 2)
    found = await store.rates.settle({(name, period - 3): 0, (name, period): 0})
    assert found == {(name, period): 1}
    assert (await store.rates.window(name, 600))[1] == 0
    assert (await store.rates.window(f"{name} young", 600))[1] == 1
    await store.close()


async def test_attempts_are_of_a_moving_window(embedded_url: str) -> None:
    """As many as the limit are taken in any such time, and the oldest says when the next one is."""
    store = Store.open(embedded_url, 2)
    name = uuid4().hex
    assert [await store.rates.take(name, 2, 0.5) for _ in range(3)] == [True, True, False]
    oldest, number = await store.rates.window(name, 0.5)
    assert number == 2
    await asyncio.sleep(max(0.0, oldest + 0.5 - time.time()) + 0.05)
    assert await store.rates.take(name, 2, 0.5)
    assert not await store.rates.take(name, 2, 0.5, amount=3)
    assert (await store.rates.window(uuid4().hex, 1))[1] == 0
    await store.close()
