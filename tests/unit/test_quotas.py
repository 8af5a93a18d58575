"""Rules of quotas: what is counted by one replica, and by several together."""

import asyncio
from collections.abc import Callable, Mapping

import pytest

from pipelines.errors import QuotaExceeded, Unavailable
from serve_app.shared import quotas as quotas_module
from serve_app.shared.quotas import PERIOD_S, Quota, Quotas
from serve_app.store.protocols_rates import Counted
from tests.contract.memory_rates import MemoryRates

CHAT = Quota("tenant-chat", "tenant:1:chat", 10)
KEY = Quota("key-chat", "key:1:line 4:chat", 6)
BEGAN = 1_000_000 * PERIOD_S  # the first moment of a minute


class Clock:
    """A time that stands until it is moved."""

    def __init__(self) -> None:
        self.now = float(BEGAN)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def taken(counts: Quotas, many: int, *quotas: Quota) -> int:
    """Return how many of so many requests are taken."""
    done = 0
    for _ in range(many):
        try:
            counts.take(quotas)
        except QuotaExceeded:
            continue
        done += 1
    return done


def test_a_quota_ends(clock: Clock) -> None:
    """So many requests are taken and no more; the refusal names the quota, its limit and the wait."""
    counts = Quotas(None, clock)
    assert taken(counts, 15, CHAT) == 10
    with pytest.raises(QuotaExceeded) as refused:
        counts.take([CHAT])
    assert (refused.value.field, refused.value.limit) == ("tenant-chat", 10)
    assert refused.value.retry_after_s > 0


def test_the_wait_that_is_told_helps_and_a_shorter_one_does_not(clock: Clock) -> None:
    """After it a request is taken, two seconds before it none is: in the same minute and in the next."""
    for begun in (0.0, 17.0, 59.0):
        clock.now = BEGAN + begun
        counts = Quotas(None, clock)
        taken(counts, 10, CHAT)
        for _ in range(3):  # at first it is this minute's requests that fade, then the last one's
            with pytest.raises(QuotaExceeded) as refused:
                counts.take([CHAT])
            clock.now += refused.value.retry_after_s - 2
            if refused.value.retry_after_s > 2:
                assert taken(counts, 1, CHAT) == 0
            clock.now += 2
            assert taken(counts, 1, CHAT) == 1
            taken(counts, 10, CHAT)


def test_the_minute_slides(clock: Clock) -> None:
    """At the turn of a minute the whole quota is not there again: the last minute's part of it still counts."""
    counts = Quotas(None, clock)
    clock.now += 59
    assert taken(counts, 20, CHAT) == 10
    clock.now += 1
    assert taken(counts, 20, CHAT) == 0
    clock.now += PERIOD_S / 2
    assert taken(counts, 20, CHAT) == 5
    clock.now += 2 * PERIOD_S
    assert taken(counts, 20, CHAT) == 10


def test_a_refused_request_counts_against_nothing(clock: Clock) -> None:
    """Of two quotas the narrow one refuses, and the wide one keeps what it had."""
    counts = Quotas(None, clock)
    assert taken(counts, 9, CHAT, KEY) == 6
    assert [balance.remaining for balance in counts.balances([CHAT, KEY])] == [4, 0]
    assert taken(counts, 9, CHAT) == 4


async def test_replicas_count_together(clock: Clock) -> None:
    """What one has taken the other knows once both have settled; both have no more than the quota."""
    ledger = MemoryRates()
    one, other = Quotas(ledger, clock), Quotas(ledger, clock)
    assert taken(one, 6, CHAT) == 6
    await one.settle()
    assert taken(other, 1, CHAT) == 1  # it has not heard of the others yet
    await other.settle()
    assert taken(other, 20, CHAT) == 3
    await other.settle()
    await one.settle([CHAT.name])
    assert taken(one, 20, CHAT) == 0


async def test_the_last_minute_of_others_counts(clock: Clock) -> None:
    """A replica that sees a caller for the first time learns what others counted of it in the minute before."""
    ledger = MemoryRates()
    one, other = Quotas(ledger, clock), Quotas(ledger, clock)
    clock.now += 59
    taken(one, 10, CHAT)
    await one.settle()
    clock.now += 2
    await other.settle([CHAT.name])
    assert taken(other, 20, CHAT) == 0


async def test_what_one_replica_passes_before_it_hears_of_others_is_bounded(clock: Clock) -> None:
    """A tenth of a quota calls for a settlement at once: a flood at two replicas passes little more than at one."""
    ledger = MemoryRates()
    one, other = Quotas(ledger, clock), Quotas(ledger, clock)
    wide = Quota("tenant-chat", "tenant:1:chat", 1000)
    passed = 0
    async with one.settling(), other.settling():
        for _ in range(400):  # 8,000 requests, as fast as they come
            passed += taken(one, 10, wide) + taken(other, 10, wide)
            await asyncio.sleep(0.002)
    assert 1000 <= passed <= 1000 + 0.1 * 1000 + 800  # what comes in the pause between two settlements


async def test_without_the_others_each_counts_for_itself(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the shared counts are away a quota still ends, nothing raises, and what was counted is told later."""
    ledger = MemoryRates()
    ledger.failure = Unavailable("database", "does not answer")
    counts = Quotas(ledger, clock)
    assert taken(counts, 7, CHAT) == 7
    await counts.settle()
    assert taken(counts, 20, CHAT) == 3
    ledger.failure = None
    await counts.settle()
    assert ledger.counts.total() == 0  # it rests
    monkeypatch.setattr("serve_app.shared.quotas.time.monotonic", lambda: float("inf"))
    await counts.settle()
    assert ledger.counts.total() == 10


async def test_counts_on_their_way_count(clock: Clock) -> None:
    """While a settlement takes its time, no request slips through."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    class Slow(MemoryRates):
        async def settle(self, counts: Mapping[Counted, int]) -> Mapping[Counted, int]:
            arrived.set()
            await go_on.wait()
            return await super().settle(counts)

    counts = Quotas(Slow(), clock)
    taken(counts, 10, CHAT)
    settling = asyncio.create_task(counts.settle())
    await arrived.wait()
    assert taken(counts, 5, CHAT) == 0
    go_on.set()
    await settling
    assert taken(counts, 5, CHAT) == 0


async def test_a_settlement_that_is_cancelled_loses_no_count(clock: Clock) -> None:
    """Whoever asked for it may hang up: what is not acknowledged stays counted here, and is sent again."""
    arrived = asyncio.Event()

    class Never(MemoryRates):
        async def settle(self, counts: Mapping[Counted, int]) -> Mapping[Counted, int]:
            arrived.set()
            await asyncio.Event().wait()
            raise AssertionError

    counts = Quotas(Never(), clock)
    taken(counts, 10, CHAT)
    settling = asyncio.create_task(counts.settle([CHAT.name]))
    await arrived.wait()
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    assert taken(counts, 5, CHAT) == 0
    assert counts._pending.total() == 10


async def test_what_is_past_is_forgotten(clock: Clock) -> None:
    """Neither a replica nor the shared counts keep more than two minutes."""
    ledger = MemoryRates()
    counts = Quotas(ledger, clock)
    for number in range(100):
        counts.take([Quota("address-login", f"address:10.0.0.{number}:login", 300)])
    await counts.settle()
    clock.now += 4 * PERIOD_S
    await counts.settle()
    assert not ledger.counts
    assert (counts._seen, counts._names) == ({}, {})


def test_names_beyond_the_bound_are_one(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever invents addresses fills no memory: those beyond the bound share one count, and known ones keep theirs."""
    monkeypatch.setattr(quotas_module, "NAMES_MAX", 3)
    counts = Quotas(None, clock)
    named: Callable[[int], Quota] = lambda number: Quota("address-login", f"address:{number}", 2)  # noqa: E731
    assert [taken(counts, 1, named(number)) for number in range(8)] == [1, 1, 1, 1, 1, 0, 0, 0]
    assert taken(counts, 5, named(0)) == 1
    assert len(counts._pending) == 4
