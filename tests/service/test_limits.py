"""Limits of log-in attempts: in one replica's memory, and in a real Redis or PostgreSQL that several replicas share."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerSecond

from pipelines.errors import Overloaded, Unavailable
from serve_app.shared import limits
from serve_app.shared.limits import LogInLimits
from serve_app.store.repository import Store
from tests.contract.memory_rates import MemoryRates
from tests.service.test_cache_redis import SERVER, redis_server

MOST = limits.FROM_ADDRESS.amount
Replica = Callable[[], LogInLimits]


@pytest.fixture(params=["memory", "redis", "postgres"])
async def replica(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Replica]:
    """Makes replicas that count in the same place; in memory each in its own."""
    monkeypatch.setattr(limits, "SHARED_TIMEOUT_S", 10.0)  # the machine of the tests does much else
    if request.param == "memory":
        yield lambda: LogInLimits(None)
        return
    if request.param == "postgres":
        store = Store.open(request.getfixturevalue("embedded_url"), 8)
        for number in range(10):  # what tests before have counted
            await store.rates.clear(limits.OF_ACCOUNT.key_for(f"user {number}"))
            for end in range(10):
                address = f"10.0.0.{end}"
                await store.rates.clear(limits.FROM_ADDRESS.key_for(f"user {number}", address))
                await store.rates.clear(limits.OF_ADDRESS.key_for(address))
            await store.rates.clear(limits.OF_DEVICE.key_for(f"user {number}", "phone"))
            await store.rates.clear(limits.OF_DEVICE.key_for(f"user {number}", "laptop"))
        yield lambda: LogInLimits(None, store.rates)
        await store.close()
        return
    if SERVER is None:
        pytest.skip("no redis-server on this machine; Debian's package is redis-server")
    socket = tmp_path / "redis.sock"
    with redis_server(socket):
        yield lambda: LogInLimits(f"unix://{socket}?db=0")


async def attempts(counts: LogInLimits, who: str, address: str, many: int) -> None:
    """Count many attempts."""
    for _ in range(many):
        await counts.begin(who, address)


async def test_an_account_waits_at_its_address(replica: Replica) -> None:
    """After eight attempts the ninth is told how long to wait; another address, and another account, need not."""
    counts = replica()
    await attempts(counts, "user 1", "10.0.0.1", MOST)
    with pytest.raises(Overloaded) as refused:
        await counts.begin("user 1", "10.0.0.1")
    assert 0 < refused.value.retry_after_s <= 300
    await counts.begin("user 1", "10.0.0.2")
    await counts.begin("user 2", "10.0.0.1")


async def test_an_account_waits_wherever_the_attempts_come_from(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many addresses try, an account takes no more attempts an hour than its limit."""
    monkeypatch.setattr(limits, "OF_ACCOUNT", RateLimitItemPerHour(3))
    counts = replica()
    for number in range(3):
        await counts.begin("user 1", f"10.0.0.{number}")
    with pytest.raises(Overloaded):
        await counts.begin("user 1", "10.0.0.9")


async def test_the_wait_that_is_told_helps(replica: Replica, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that the refusal names, the next attempt is taken."""
    monkeypatch.setattr(limits, "FROM_ADDRESS", RateLimitItemPerSecond(2, 1, "SECOND"))
    counts = replica()
    await attempts(counts, "user 1", "10.0.0.1", 2)
    with pytest.raises(Overloaded) as refused:
        await counts.begin("user 1", "10.0.0.1")
    await asyncio.sleep(refused.value.retry_after_s)
    await counts.begin("user 1", "10.0.0.1")


async def test_a_success_clears_the_count(replica: Replica) -> None:
    """Who mistypes seven times and then succeeds has eight attempts again."""
    counts = replica()
    await attempts(counts, "user 1", "10.0.0.1", MOST)
    await counts.succeeded("user 1", "10.0.0.1")
    await attempts(counts, "user 1", "10.0.0.1", MOST)
    with pytest.raises(Overloaded):
        await counts.begin("user 1", "10.0.0.1")


async def test_parallel_attempts_do_not_slip_through(replica: Replica) -> None:
    """Of twenty attempts at once no more are taken than of twenty in a row."""
    counts = replica()
    outcomes = await asyncio.gather(*(counts.begin("user 1", "10.0.0.1") for _ in range(20)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Overloaded) == 20 - MOST


async def test_strangers_do_not_lock_the_owner_out(replica: Replica) -> None:
    """However often they fail, at the own address too: a device that the account knows has a count of its own."""
    counts = replica()
    for _ in range(3 * MOST):
        with suppress(Overloaded):
            await counts.begin("user 1", "10.0.0.1")
            await counts.failed("10.0.0.1")
    with pytest.raises(Overloaded):
        await counts.begin("user 1", "10.0.0.1")
    await counts.begin("user 1", "10.0.0.1", "laptop")
    await counts.succeeded("user 1", "10.0.0.1", "laptop")
    with pytest.raises(Overloaded):  # nor does the owner's coming give strangers more
        await counts.begin("user 1", "10.0.0.1")


async def test_a_known_device_is_locked_out_by_itself(replica: Replica) -> None:
    """Whoever has it has eight attempts, too; another one of the same account is not touched, nor is the address."""
    counts = replica()
    for _ in range(MOST):
        await counts.begin("user 1", "10.0.0.1", "phone")
        await counts.failed("10.0.0.1", "phone")
    with pytest.raises(Overloaded):
        await counts.begin("user 1", "10.0.0.1", "phone")
    await counts.begin("user 1", "10.0.0.1", "laptop")
    await counts.begin("user 2", "10.0.0.1")


@pytest.mark.parametrize("replica", ["redis", "postgres"], indirect=True)
async def test_replicas_count_together(replica: Replica) -> None:
    """What one has let in the other counts, at once."""
    one, other = replica(), replica()
    await attempts(one, "user 1", "10.0.0.1", MOST // 2)
    await attempts(other, "user 1", "10.0.0.1", MOST - MOST // 2)
    for counts in (one, other):
        with pytest.raises(Overloaded):
            await counts.begin("user 1", "10.0.0.1")
    both = await asyncio.gather(
        *(counts.begin("user 2", "10.0.0.2") for counts in (one, other) * 10), return_exceptions=True
    )
    assert [type(outcome) for outcome in both].count(Overloaded) == 20 - MOST


async def test_replicas_go_on_without_the_database() -> None:
    """While it is away each counts for itself, and one failure is enough to leave it alone for a while."""
    rates = MemoryRates()
    rates.failure = Unavailable("database", "does not answer")
    counts = LogInLimits(None, rates)
    await attempts(counts, "user 1", "10.0.0.1", MOST)
    with pytest.raises(Overloaded):
        await counts.begin("user 1", "10.0.0.1")


@pytest.mark.skipif(SERVER is None, reason="no redis-server on this machine")
async def test_replicas_go_on_without_redis(tmp_path: Path) -> None:
    """With Redis the replicas share the count; when it is away each goes on by itself, and does not wait for it."""
    socket = tmp_path / "redis.sock"
    address = f"unix://{socket}?db=0"
    one, other = LogInLimits(address), LogInLimits(address)
    with redis_server(socket):
        await attempts(one, "user 1", "10.0.0.1", MOST // 2)
        await attempts(other, "user 1", "10.0.0.1", MOST - MOST // 2)
        for counts in (one, other):
            with pytest.raises(Overloaded):
                await counts.begin("user 1", "10.0.0.1")
    await attempts(one, "user 1", "10.0.0.1", MOST)
    with pytest.raises(Overloaded):
        await one.begin("user 1", "10.0.0.1")
