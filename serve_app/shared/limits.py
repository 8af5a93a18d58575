"""Limits of log-in attempts, by the library `limits`.

With Redis in the settings all replicas count together; without it, and while Redis is away, each counts for itself in
memory, so that N replicas allow up to N times what is named here.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter

from pipelines.errors import Overloaded
from serve_app.shared import logs

# Of one account from one address. Source: own choice; a person mistypes less often, and waits five minutes at most.
FROM_ADDRESS = RateLimitItemPerMinute(8, 5)
# Of one account, wherever from. Source: OWASP ASVS 4.0.3, 2.2.1: no more than 100 failed attempts an hour on one.
OF_ACCOUNT = RateLimitItemPerHour(100)
# From one address, at whatever names. Source: own choice; a check of a password takes a core some 25 ms.
OF_ADDRESS = RateLimitItemPerMinute(60)
REDIS_TIMEOUT_S = 0.5  # source: own choice; a log-in takes a tenth of a second
REDIS_REST_S = 5.0  # Redis is not asked again for so long after a failure; source: own choice
Reply = TypeVar("Reply")
Question = Callable[[MovingWindowRateLimiter], Awaitable[Reply]]


class LogInLimits:
    """Counts of log-in attempts that have not succeeded, by account, by address, and by both."""

    def __init__(self, redis_url: str | None) -> None:
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared = None if redis_url is None else MovingWindowRateLimiter(_redis_storage(redis_url))
        self._rests_until = 0.0

    async def begin(self, who: str, address: str) -> None:
        """Count an attempt before its password is checked, so that parallel ones cannot slip through.

        Raises:
            Overloaded: There were too many; says when the oldest is forgotten.
        """
        if not await self._ask(lambda counts: counts.test(OF_ADDRESS, address)):
            await self._refuse(OF_ADDRESS, address)
        for item, names in ((FROM_ADDRESS, (who, address)), (OF_ACCOUNT, (who,))):
            if not await self._ask(lambda counts, item=item, names=names: counts.hit(item, *names)):  # type: ignore[misc]
                await self._refuse(item, *names)

    async def failed(self, address: str) -> None:
        """Count a failure against the address."""
        await self._ask(lambda counts: counts.hit(OF_ADDRESS, address))

    async def succeeded(self, who: str, address: str) -> None:
        """Forget the attempts at an account: its owner has come."""
        await self._ask(lambda counts: counts.clear(FROM_ADDRESS, who, address))
        await self._ask(lambda counts: counts.clear(OF_ACCOUNT, who))

    async def _refuse(self, item: RateLimitItem, *names: str) -> None:
        stats = await self._ask(lambda counts: counts.get_window_stats(item, *names))
        raise Overloaded(max(1, math.ceil(stats.reset_time - time.time())))

    async def _ask(self, question: "Question[Reply]") -> Reply:
        """Ask the shared counts, or this replica's own where there are none that answer."""
        if self._shared is not None and time.monotonic() >= self._rests_until:
            try:
                async with asyncio.timeout(REDIS_TIMEOUT_S):
                    return await question(self._shared)
            except Exception as error:
                self._rests_until = time.monotonic() + REDIS_REST_S
                logs.write("limits.own", logging.WARNING, rests_s=REDIS_REST_S, kind=type(error).__name__)
        return await question(self._own)


def _redis_storage(url: str) -> RedisStorage:
    # The library names a socket otherwise than Redis's own client does.
    named = url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url
    return RedisStorage(f"async+{named}", implementation="redispy", key_prefix="hdx:limits")
