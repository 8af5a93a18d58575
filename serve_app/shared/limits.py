"""Limits of log-in attempts, by the library `limits`.

All replicas count together: in Redis where the settings name one, in PostgreSQL otherwise. While that is away each
counts for itself in memory, so that N replicas allow up to N times what is named here.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, MovingWindowSupport, RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter

from pipelines.errors import HdxError, Overloaded
from serve_app.shared import logs
from serve_app.store.protocols_rates import RateStore

# Of one account from one address. Source: own choice; a person mistypes less often, and waits five minutes at most.
FROM_ADDRESS = RateLimitItemPerMinute(8, 5)
# Of one account, wherever from. Source: OWASP ASVS 4.0.3, 2.2.1: no more than 100 failed attempts an hour on one.
OF_ACCOUNT = RateLimitItemPerHour(100)
# From one address, at whatever names. Source: own choice; a check of a password takes a core some 25 ms.
OF_ADDRESS = RateLimitItemPerMinute(60)
# Of one account from a device that has logged in to it before. Source: as FROM_ADDRESS; OWASP, "Slow Down Online
# Guessing Attacks with Device Cookies": devices that are known are locked out one by one, all others together.
OF_DEVICE = RateLimitItemPerMinute(8, 5, "DEVICE")
# Notes in the audit, which is kept for ever, of attempts at names that no account has: beyond, the log alone has them.
# Source: own choice; at this rate a year of attempts takes a few gigabytes.
AT_UNKNOWN = RateLimitItemPerHour(600, 1, "UNKNOWN")
# A log-in at a provider is finished once: longer than it may take, clocks included.
ONCE = RateLimitItemPerMinute(1, 15, "ONCE")
SHARED_TIMEOUT_S = 0.5  # source: own choice; a log-in takes a tenth of a second
SHARED_REST_S = 5.0  # what is away is not asked again for so long; source: own choice
Reply = TypeVar("Reply")
Question = Callable[[MovingWindowRateLimiter], Awaitable[Reply]]


class LogInLimits:
    """Counts of log-in attempts that have not succeeded: of a known device's, and else by account, address, and both.

    What strangers do at an account counts against no device that is known to it: they cannot lock its owner out.
    """

    def __init__(self, redis_url: str | None, store: RateStore | None = None) -> None:
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._shared: MovingWindowRateLimiter | None = None
        if redis_url is not None:
            self._shared = MovingWindowRateLimiter(_redis_storage(redis_url))
        elif store is not None:
            self._shared = MovingWindowRateLimiter(DatabaseStorage(store))
        self._rests_until = 0.0

    async def begin(self, who: str, address: str, device: str | None = None) -> None:
        """Count an attempt before its password is checked, so that parallel ones cannot slip through.

        Args:
            who: The account, or the name where there is none.
            address: Where it comes from.
            device: Of those that have logged in to this account before, the one that it comes from.

        Raises:
            Overloaded: There were too many; says when the oldest is forgotten.
        """
        if device is not None:
            await self._hit(OF_DEVICE, who, device)
            return
        await self.check(address)
        await self._hit(FROM_ADDRESS, who, address)
        await self._hit(OF_ACCOUNT, who)

    async def check(self, address: str) -> None:
        """Refuse an address of which too many log-ins have failed.

        Raises:
            Overloaded: They have.
        """
        if not await self._ask(lambda counts: counts.test(OF_ADDRESS, address)):
            await self._refuse(OF_ADDRESS, address)

    async def is_first(self, name: str) -> bool:
        """Tell whether something that ends within ten minutes comes for the first time."""
        return await self._ask(lambda counts: counts.hit(ONCE, name))

    async def failed(self, address: str, device: str | None = None) -> None:
        """Count a failure against the address, unless it came from a known device."""
        if device is None:
            await self._ask(lambda counts: counts.hit(OF_ADDRESS, address))

    async def is_noted(self) -> bool:
        """Tell whether the audit takes one more failure at a name that no account has."""
        return await self._ask(lambda counts: counts.hit(AT_UNKNOWN, "notes"))

    async def succeeded(self, who: str, address: str, device: str | None = None) -> None:
        """Forget the attempts at an account: its owner has come; from a known device, that device's alone."""
        if device is not None:
            await self._ask(lambda counts: counts.clear(OF_DEVICE, who, device))
            return
        await self._ask(lambda counts: counts.clear(FROM_ADDRESS, who, address))
        await self._ask(lambda counts: counts.clear(OF_ACCOUNT, who))

    async def _hit(self, item: RateLimitItem, *names: str) -> None:
        if not await self._ask(lambda counts: counts.hit(item, *names)):
            await self._refuse(item, *names)

    async def _refuse(self, item: RateLimitItem, *names: str) -> None:
        stats = await self._ask(lambda counts: counts.get_window_stats(item, *names))
        raise Overloaded(max(1, math.ceil(stats.reset_time - time.time())))

    async def _ask(self, question: "Question[Reply]") -> Reply:
        """Ask the shared counts, or this replica's own where there are none that answer."""
        if self._shared is not None and time.monotonic() >= self._rests_until:
            try:
                async with asyncio.timeout(SHARED_TIMEOUT_S):
                    return await question(self._shared)
            except Exception as error:
                self._rests_until = time.monotonic() + SHARED_REST_S
                logs.write("limits.own", logging.WARNING, rests_s=SHARED_REST_S, kind=type(error).__name__)
        return await question(self._own)


class DatabaseStorage(Storage, MovingWindowSupport):
    """What the library counts moving windows in: the store. Other strategies find nothing here."""

    STORAGE_SCHEME = None

    def __init__(self, store: RateStore) -> None:
        super().__init__()
        self._store = store

    @property
    def base_exceptions(self) -> type[Exception]:
        """What the store raises."""
        return HdxError

    async def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Count an attempt unless there were too many."""
        return await self._store.take(key, limit, expiry, amount)

    async def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return when the oldest attempt was, and how many there were."""
        return await self._store.window(key, expiry)

    async def clear(self, key: str) -> None:
        """Forget attempts."""
        await self._store.clear(key)

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Refuse: there are moving windows alone."""
        raise NotImplementedError

    async def get(self, key: str) -> int:
        """Refuse: there are moving windows alone."""
        raise NotImplementedError

    async def get_expiry(self, key: str) -> float:
        """Refuse: there are moving windows alone."""
        raise NotImplementedError

    async def check(self) -> bool:
        """Tell whether the store answers."""
        return (await self._store.window("", 1))[1] == 0

    async def reset(self) -> int | None:
        """Refuse: others count here, too."""
        raise NotImplementedError


def _redis_storage(url: str) -> RedisStorage:
    # The library names a socket otherwise than Redis's own client does.
    named = url.replace("unix://", "redis+unix://", 1) if url.startswith("unix://") else url
    return RedisStorage(f"async+{named}", implementation="redispy", key_prefix="hdx:limits")
