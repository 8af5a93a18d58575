"""Quotas of requests, counted where they arrive, and settled with what all replicas have counted.

No request waits for a shared count: a replica counts by itself, adds that to what all have in Redis or PostgreSQL a
second later, and knows then what the others had. Where a tenth of a quota has come by then it does so at once.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from pipelines.errors import QuotaExceeded
from serve_app.shared import logs
from serve_app.shared.completion import completed
from serve_app.store.protocols_rates import Counted, Ledger

PERIOD_S = 60  # quotas are of a minute
# Between two settlements, and between two that are urgent. Source: own choice; one round trip a second of a replica is
# less than one of its requests, and what others took in a second is a sixtieth of a quota used evenly.
SETTLE_S, URGENT_S = 1.0, 0.1
URGENT_SHARE = 0.1  # of a quota, counted since the last settlement; source: own choice
# A settlement may take so long, and what is away is left alone for a while. Source: own choices.
TIMEOUT_S, REST_S = 1.0, 5.0
# Names that a replica counts apart; those beyond are one. Source: own choice, some ten megabytes.
NAMES_MAX, OTHERS = 50_000, "others"
KEEP = 2  # periods that are counted with: this one and the last


class Quota(NamedTuple):
    """How many requests a minute are taken of somebody.

    Attributes:
        policy: As callers read it, such as `tenant-chat`.
        name: Under which it is counted, such as `tenant:1:chat`.
    """

    policy: str
    name: str
    limit: int


class Balance(NamedTuple):
    """What is left of a quota.

    Attributes:
        reset_s: Until the minute ends.
    """

    quota: Quota
    remaining: int
    reset_s: int


class Quotas:
    """Counts of a sliding minute: this one's, and of the last one's the share that the sliding one still covers.

    Source: Cloudflare, "How we built rate limiting capable of scaling to millions of domains", as `limits` has it too.
    """

    def __init__(self, ledger: Ledger | None, clock: Callable[[], float] = time.time) -> None:
        self._ledger, self._clock = ledger, clock
        # Counted here alone so far; on their way; and what all had counted when last heard of.
        self._pending: Counter[Counted] = Counter()
        self._sent: Counter[Counted] = Counter()
        self._seen: dict[Counted, int] = {}
        self._names: dict[str, int] = {}  # with the period of the last request
        self._urgent = asyncio.Event()
        self._rests_until = 0.0
        self._period = 0

    def take(self, quotas: Sequence[Quota]) -> list[Balance]:
        """Count a request against all of its quotas, or against none where one is used up; return what is left.

        Raises:
            QuotaExceeded: One is used up; says when the next request is taken.
        """
        now = self._clock()
        for quota in quotas:
            if self._used(quota.name, now) + 1 > quota.limit:
                raise QuotaExceeded(quota.policy, quota.limit, self._wait(quota, now))
        period = int(now // PERIOD_S)
        for quota in quotas:
            key = self._counted_as(quota.name), period
            self._names[key[0]] = period
            self._pending[key] += 1
            if self._pending[key] > URGENT_SHARE * quota.limit:
                self._urgent.set()
        return self.balances(quotas)

    def balances(self, quotas: Iterable[Quota]) -> list[Balance]:
        """Return what is left, as it is known here."""
        now = self._clock()
        reset_s = math.ceil(PERIOD_S - now % PERIOD_S)
        return [Balance(q, max(0, math.floor(q.limit - self._used(q.name, now))), reset_s) for q in quotas]

    def _counted_as(self, name: str) -> str:
        return name if name in self._names or len(self._names) < NAMES_MAX else OTHERS

    def _count(self, key: Counted) -> int:
        return self._seen.get(key, 0) + self._pending.get(key, 0) + self._sent.get(key, 0)

    def _used(self, name: str, now: float) -> float:
        name, period = self._counted_as(name), int(now // PERIOD_S)
        return self._count((name, period - 1)) * (1 - now % PERIOD_S / PERIOD_S) + self._count((name, period))

    def _wait(self, quota: Quota, now: float) -> int:
        """Return the seconds until a request of a quota is taken again, if none is meanwhile."""
        period, passed = divmod(now, PERIOD_S)
        last, this = (self._count((self._counted_as(quota.name), int(period) - back)) for back in (1, 0))
        room = quota.limit - 1 - this
        if room >= 0 and last:  # the last minute's must fade until they leave room
            wait = PERIOD_S * (1 - room / last) - passed
        else:  # this one's must, once it is the last
            wait = PERIOD_S - passed + PERIOD_S * (1 - (quota.limit - 1) / max(this, 1))
        return max(1, math.ceil(wait))

    @asynccontextmanager
    async def settling(self) -> AsyncIterator[None]:
        """Settle as long as the block lasts, and once when it ends."""
        task = asyncio.create_task(self._go_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.settle()

    async def _go_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(SETTLE_S):
                    await self._urgent.wait()
            except TimeoutError:
                pass
            self._urgent.clear()
            await completed(self.settle())
            await asyncio.sleep(URGENT_S)

    async def settle(self, names: Iterable[str] = ()) -> None:
        """Add what was counted here to what all have counted, and learn that; of these names in any case.

        While it cannot be reached this replica's own counts hold, and wait.
        """
        period = int(self._clock() // PERIOD_S)
        await self._forget(period)
        asked = {*self._pending, *((name, period) for name in names)}
        if self._ledger is None or not asked or time.monotonic() < self._rests_until or self._sent:
            return
        self._sent, self._pending = self._pending, Counter()
        # The last minute of each, too: others may have counted it then, and this replica not.
        given = {(name, period - 1): 0 for name, _ in asked} | dict.fromkeys(asked, 0) | dict(self._sent)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self._seen.update(await self._ledger.settle(given))
            self._sent = Counter()
        except Exception as error:
            self._rests_until = time.monotonic() + REST_S
            logs.write("quotas.own", logging.WARNING, rests_s=REST_S, kind=type(error).__name__)
        finally:  # whoever hangs up meanwhile, too, switches no quota off
            self._pending.update(self._sent)
            self._sent = Counter()

    async def _forget(self, period: int) -> None:
        """Forget what no quota counts with any more, once a minute."""
        if period == self._period:
            return
        self._period, first = period, period - KEEP + 1
        self._seen = {key: count for key, count in self._seen.items() if key[1] >= first}
        self._pending = Counter({key: count for key, count in self._pending.items() if key[1] >= first})
        self._names = {name: last for name, last in self._names.items() if last >= first}
        if self._ledger is not None and time.monotonic() >= self._rests_until:
            with logs.surviving("quotas.unforgotten"):
                async with asyncio.timeout(TIMEOUT_S):
                    await self._ledger.forget(first - 1)


class RedisLedger:
    """What all replicas have counted, in Redis, which forgets it by itself."""

    def __init__(self, url: str) -> None:
        from redis.asyncio import Redis

        self._client = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)

    async def settle(self, counts: Mapping[Counted, int]) -> dict[Counted, int]:
        """Add what one replica has counted, in one round trip; return what all have."""
        async with self._client.pipeline(transaction=False) as calls:
            for (name, period), count in counts.items():
                key = f"hdx:rate:{period}:{name}"
                calls.incrby(key, count)
                calls.expire(key, PERIOD_S * (KEEP + 1))
            replies = await calls.execute()
        return dict(zip(counts, replies[::2], strict=True))

    async def forget(self, period: int) -> None:
        """Redis forgets by itself."""
