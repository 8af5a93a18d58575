"""In detect, before the ensemble: answers to an identical window of the same system, for a minute.

Exists so that a client that repeats a window costs no second judgement.

A key names everything an answer follows from: tenant, system and its state, family with its thresholds, the
window, and the version of each detector. Versions are taken from two sides. A look-up uses what the replicas
report, asked again when the last report is older than the replicas' own poll of the registry (`models.poll_s`); so a
promotion changes the key at most that much later than it changes the votes. A stored answer goes under the versions
that really judged it; so a mixed answer in the middle of a swap, or one without a detector that the replicas report as
usable, is filed where no look-up finds it; so is one by a tenant's own model, whose windows are judged
anew each time. The system's baseline is no part of the key: each normal window moves it a little, and an answer a
minute old is as good.
"""

import asyncio
import json
import logging
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from configs.settings import Settings
from pipelines.detectors.base import Detail
from pipelines.diagnosis.records import MemberStatus
from pipelines.machines.family import Family
from pipelines.signals.windows import Window
from serve_app.shared import logs

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX = "hdx:answer:"
# Source: a look-up must cost less than the judgement it saves, a few tens of milliseconds (docs: benchmarks).
REDIS_TIMEOUT_S = 0.25
# Source: own choice; one lost time-out in five seconds keeps an outage under 5 % of a replica's time.
REDIS_REST_S = 5.0
# Source: as REDIS_TIMEOUT_S; a replica that hangs must not hold up windows that others can judge.
REPORT_TIMEOUT_S = 0.25


class AnswerCache(ABC):
    """Keeps values for a time; losing one is never an error.

    Attributes:
        shared: True when other replicas see the same values.
        ttl_s: How long a value is kept; 0 turns the cache off.
    """

    shared = False

    def __init__(self, ttl_s: float) -> None:
        self.ttl_s = ttl_s

    @staticmethod
    def open(settings: Settings) -> "AnswerCache":
        """Return Redis when it is configured, else memory; connects at first use."""
        if settings.redis.url is None:
            return MemoryCache(settings.cache.ttl_s, settings.cache.entries)
        return RedisCache(settings.redis.url.get_secret_value(), settings.cache.ttl_s)

    @abstractmethod
    async def get(self, key: str) -> bytes | None:
        """Return what was put under the key less than `ttl_s` ago."""

    @abstractmethod
    async def put(self, key: str, value: bytes) -> None:
        """Keep a value."""

    @abstractmethod
    async def ping(self) -> bool:
        """Say whether the cache answers now."""

    async def close(self) -> None:
        """Give back what is held."""
        return


class MemoryCache(AnswerCache):
    """A replica's own cache: the least recently used value goes first."""

    def __init__(self, ttl_s: float, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(ttl_s)
        self._entries = entries
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        """Return a value that has not expired, and mark it as used."""
        expires, value = self._values.get(key, (0.0, b""))
        if expires <= self._clock():
            self._values.pop(key, None)
            return None
        self._values.move_to_end(key)
        return value

    async def put(self, key: str, value: bytes) -> None:
        """Keep a value, and drop the least recently used one over the limit."""
        if self.ttl_s <= 0:
            return
        self._values[key] = (self._clock() + self.ttl_s, value)
        self._values.move_to_end(key)
        if len(self._values) > self._entries:
            self._values.popitem(last=False)

    async def ping(self) -> bool:
        """Memory always answers."""
        return True


class RedisCache(AnswerCache):
    """The cache that all replicas share; while Redis is away there is none, and no one waits for it twice."""

    shared = True

    def __init__(self, url: str, ttl_s: float) -> None:
        super().__init__(ttl_s)
        self._url = url
        self._client: Redis | None = None
        self._rests_until = 0.0

    def _connection(self) -> "Redis":
        if self._client is None:
            from redis.asyncio import Redis

            client: Redis = Redis.from_url(
                self._url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S
            )
            self._client = client
        return self._client

    async def _ask(self, call: "Callable[[Redis], Awaitable[Any]]") -> Any:
        """Return the reply, or None where Redis gives none."""
        from redis.exceptions import RedisError

        if time.monotonic() < self._rests_until:
            return None
        try:
            async with asyncio.timeout(2 * REDIS_TIMEOUT_S):
                return await call(self._connection())
        except (RedisError, OSError, TimeoutError) as error:
            self._rests_until = time.monotonic() + REDIS_REST_S
            logs.write("cache.down", logging.WARNING, rests_s=REDIS_REST_S, kind=type(error).__name__)
            return None

    async def get(self, key: str) -> bytes | None:
        """Return a value; one that is no JSON object counts as absent: others can write there too."""
        value: bytes | None = await self._ask(lambda client: client.get(PREFIX + key))
        try:
            return value if value is not None and isinstance(json.loads(value), dict) else None
        except ValueError:
            return None

    async def put(self, key: str, value: bytes) -> None:
        """Keep a value; Redis itself forgets it."""
        if self.ttl_s > 0:
            milliseconds = max(1, int(1e3 * self.ttl_s))
            await self._ask(lambda client: client.set(PREFIX + key, value, px=milliseconds))

    async def ping(self) -> bool:
        """Ask Redis, also while the cache rests."""
        self._rests_until = 0.0
        return bool(await self._ask(lambda client: client.ping()))

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


class MemberVersions:
    """Which detectors are usable, as the replicas reported not longer than `fresh_s` ago."""

    def __init__(self, members: Callable[[], Awaitable[Sequence[MemberStatus]]], fresh_s: float) -> None:
        self._members = members
        self._fresh_s = fresh_s
        self._asked = float("-inf")
        self._known: Mapping[str, Mapping[str, str]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def of(self, family: str) -> Mapping[str, str]:
        """Return version by detector; empty, so that nothing is looked up, when the replicas do not report in time."""
        if time.monotonic() - self._asked > self._fresh_s:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.create_task(self._ask())
            await asyncio.wait({self._asking}, timeout=REPORT_TIMEOUT_S)
            if not self._asking.done():
                return {}
        return self._known.get(family, {})

    async def _ask(self) -> None:
        known: dict[str, dict[str, str]] = {}
        try:
            for status in await self._members():
                if status.scored_probe:
                    known.setdefault(status.family, {})[status.detector] = status.version
        except Exception as error:
            logs.write("cache.no_versions", logging.WARNING, error)
        self._known, self._asked = known, time.monotonic()


def answer_key(
    tenant_id: int,
    system_id: int,
    family: Family,
    versions: Mapping[str, str],
    window: Window,
    alarm: bool,
    detail: Detail = "full",
) -> str:
    """Return the SHA-256 over everything an answer follows from."""
    names = sorted(window.values)
    head = [
        tenant_id,
        system_id,
        family.name,
        family.severity.warning,
        family.severity.critical,
        family.severity.release,
        alarm,
        detail,
        sorted(versions.items()),
        window.rate_hz,
        [(name, len(window.values[name])) for name in names],
    ]
    digest = sha256(json.dumps(head).encode())
    for name in names:
        digest.update(window.values[name].tobytes())
    return digest.hexdigest()
