"""Limits of log-in attempts: in one replica's memory, and in a real Redis that several replicas share."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from limits import RateLimitItemPerHour, RateLimitItemPerSecond

from pipelines.errors import Overloaded
from serve_app.shared import limits
from serve_app.shared.limits import LogInLimits
from tests.service.test_cache_redis import SERVER, redis_server

MOST = limits.FROM_ADDRESS.amount


@pytest.fixture(params=["memory", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    """The address of a Redis, or none."""
    if request.param == "memory":
        yield None
        return
    if SERVER is None:
        pytest.skip("no redis-server on this machine; Debian's package is redis-server")
    socket = tmp_path / "redis.sock"
    with redis_server(socket):
        yield f"unix://{socket}?db=0"


async def attempts(counts: LogInLimits, who: str, address: str, many: int) -> None:
    """Count many attempts."""
    for _ in range(many):
        await counts.begin(who, address)


async def test_an_account_waits_at_its_address(url: str | None) -> None:
    """After eight attempts the ninth is told how long to wait; another address, and another account, need not."""
    counts = LogInLimits(url)
    await attempts(counts, "user 1", "10.0.0.1", MOST)
    with pytest.raises(Overloaded) as refused:
        await counts.begin("user 1", "10.0.0.1")
    assert 0 < refused.value.retry_after_s <= 300
    await counts.begin("user 1", "10.0.0.2")
    await counts.begin("user 2", "10.0.0.1")


async def test_an_account_waits_wherever_the_attempts_come_from(
    url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many addresses try, an account takes no more attempts an hour than its limit."""
    monkeypatch.setattr(limits, "OF_ACCOUNT", RateLimitItemPerHour(3))
    counts = LogInLimits(url)
    for number in range(3):
        await counts.begin("user 1", f"10.0.0.{number}")
    with pytest.raises(Overloaded):
        await counts.begin("user 1", "10.0.0.9")


async def test_the_wait_that_is_told_helps(url: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time that the refusal names, the next attempt is taken."""
    monkeypatch.setattr(limits, "FROM_ADDRESS", RateLimitItemPerSecond(2, 1))
    counts = LogInLimits(url)
    await attempts(counts, "user 1", "10.0.0.1", 2)
    with pytest.raises(Overloaded) as refused:
        await counts.begin("user 1", "10.0.0.1")
    await asyncio.sleep(refused.value.retry_after_s)
    await counts.begin("user 1", "10.0.0.1")


async def test_a_success_clears_the_count(url: str | None) -> None:
    """Who mistypes seven times and then succeeds has eight attempts again."""
    counts = LogInLimits(url)
    await attempts(counts, "user 1", "10.0.0.1", MOST)
    await counts.succeeded("user 1", "10.0.0.1")
    await attempts(counts, "user 1", "10.0.0.1", MOST)
    with pytest.raises(Overloaded):
        await counts.begin("user 1", "10.0.0.1")


async def test_parallel_attempts_do_not_slip_through(url: str | None) -> None:
    """Of twenty attempts at once no more are taken than of twenty in a row."""
    counts = LogInLimits(url)
    outcomes = await asyncio.gather(*(counts.begin("user 1", "10.0.0.1") for _ in range(20)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes].count(Overloaded) == 20 - MOST


@pytest.mark.skipif(SERVER is None, reason="no redis-server on this machine")
async def test_replicas_count_together_in_redis(tmp_path: Path) -> None:
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
