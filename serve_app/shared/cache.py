"""Keeps the judgement of a window for a minute, so that a client that repeats one costs no second judgement.

A key names everything an answer follows from: tenant, system and its state, family with its thresholds, the
window, and the version of each detector. Versions are taken from two sides. A look-up uses what the replicas
report, asked again when the last report is older than the replicas' own poll of the registry (`models.poll_s`); so a
promotion changes the key at most that much later than it changes the votes. A stored answer goes under the versions
that really judged it; so a mixed answer in the middle of a swap, or one without a detector that the replicas report as
usable, is filed where no look-up finds it; so is one by a tenant's own model, whose windows are judged
anew each time. Of the system's normal only the number of its operating points is part of the key: each normal window
moves it a little, and an answer a minute old is as good. The one that the answer followed from is kept with it, as it
is part of the evidence.
"""

import asyncio
import json
import logging
import math
import os
import struct
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from zlib import crc32

import orjson
from cachetools import TTLCache

from configs.settings import Settings
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.machines.alarm import ABSTAINED
from pipelines.machines.family import Family
from serve_app.shared import logs

if TYPE_CHECKING:
    from redis.asyncio import Redis

PREFIX, PROBE = "hdx:answer:", "hdx:probe:"
# A value in Redis: MAGIC, which changes with the layout; CRC-32 of all that follows; HEAD; the three parts it gives the
# lengths of: baseline, versions, findings.
MAGIC = b"HDX\x01"
HEAD = struct.Struct("<?dIII")
START = len(MAGIC) + 4
# Source: a look-up must cost less than the judgement it saves, a few tens of milliseconds (docs: benchmarks).
REDIS_TIMEOUT_S = 0.25
# Source: own choice; one lost time-out in five seconds keeps an outage under 5 % of a replica's time.
REDIS_REST_S = 5.0
# Source: as REDIS_TIMEOUT_S; a replica that hangs must not hold up windows that others can judge.
REPORT_TIMEOUT_S = 0.25


class AnswerCache(ABC):
    """Keeps judgements for a time; losing one is never an error.

    Attributes:
        shared: True when other replicas see the same values.
        ttl_s: How long a judgement is kept; 0 turns the cache off.
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
    async def get(self, keys: Sequence[str]) -> Sequence[Judgement | None]:
        """Return at each key's place what was put under it less than `ttl_s` ago; it teaches nothing a second time."""

    @abstractmethod
    async def put(self, judgements: Mapping[str, Judgement]) -> None:
        """Keep judgements by their keys."""

    @abstractmethod
    async def ping(self) -> bool:
        """Say whether a value that is put now can be got."""

    async def close(self) -> None:
        """Give back what is held."""
        return


class MemoryCache(AnswerCache):
    """A replica's own cache: the least recently used judgement goes first."""

    def __init__(self, ttl_s: float, entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(ttl_s)
        self._kept: TTLCache[str, Judgement] = TTLCache(entries, ttl_s, clock)

    async def get(self, keys: Sequence[str]) -> Sequence[Judgement | None]:
        """Return those that have not expired, and mark them as used."""
        return [self._kept.get(key) for key in keys]

    async def put(self, judgements: Mapping[str, Judgement]) -> None:
        """Keep judgements, and drop the least recently used ones over the limit."""
        for key, judgement in judgements.items():
            self._kept[key] = _repeated(judgement)

    async def ping(self) -> bool:
        """Memory always answers."""
        return True


class RedisCache(AnswerCache):
    """The cache that all replicas share; while Redis is away there is none, and no one waits for it twice."""

    shared = True

    def __init__(self, url: str, ttl_s: float) -> None:
        # Here and not at the first window, which would wait for the import and lose it to the time limit.
        from redis.asyncio import Redis

        super().__init__(ttl_s)
        self.client: Redis = Redis.from_url(url, socket_timeout=REDIS_TIMEOUT_S, socket_connect_timeout=REDIS_TIMEOUT_S)
        self._rests_until = 0.0
        self._probe = PROBE + os.urandom(8).hex()

    async def _ask(self, call: "Callable[[Redis], Awaitable[Any]]") -> Any:
        """Return the reply, or None where Redis gives none in time."""
        try:
            async with asyncio.timeout(2 * REDIS_TIMEOUT_S):
                reply = await call(self.client)
        except Exception as error:
            self._rests_until = time.monotonic() + REDIS_REST_S
            logs.write("cache.down", logging.WARNING, rests_s=REDIS_REST_S, kind=type(error).__name__)
            return None
        self._rests_until = 0.0
        return reply

    @property
    def _rests(self) -> bool:
        return time.monotonic() < self._rests_until

    async def get(self, keys: Sequence[str]) -> Sequence[Judgement | None]:
        """Return what this release put there, in one round trip; other bytes count as absent: others can write, too."""
        values = None
        if keys and not self._rests:
            values = await self._ask(lambda client: client.mget([PREFIX + key for key in keys]))
        return [None if value is None else unpacked(value) for value in values or [None] * len(keys)]

    async def put(self, judgements: Mapping[str, Judgement]) -> None:
        """Keep judgements, in one round trip; Redis itself forgets them."""
        if not judgements or self.ttl_s <= 0 or self._rests:
            return

        async def write(client: "Redis") -> None:
            async with client.pipeline(transaction=False) as writes:
                for key, judgement in judgements.items():
                    writes.set(PREFIX + key, packed(judgement), px=max(1, int(1e3 * self.ttl_s)))
                await writes.execute()

        await self._ask(write)

    async def ping(self) -> bool:
        """Put a value and get it back, also while the cache rests: a full or read-only Redis answers and keeps none."""
        token = os.urandom(8)

        async def write_and_read(client: "Redis") -> bool:
            async with client.pipeline(transaction=False) as calls:
                calls.set(self._probe, token, px=1000)
                calls.get(self._probe)
                _, found = await calls.execute()
            return bool(found == token)

        return bool(await self._ask(write_and_read))

    async def close(self) -> None:
        """Close the connections."""
        await self.client.aclose()


def _repeated(judgement: Judgement) -> Judgement:
    # The same window twice is neither another one to learn from nor more evidence.
    return judgement._replace(learned=None, level=ABSTAINED, cache_hit=True)


def packed(judgement: Judgement) -> bytes:
    """Return a judgement as it stands in Redis."""
    score = math.nan if judgement.score is None else judgement.score
    parts = (judgement.baseline or b"", orjson.dumps(judgement.versions), judgement.findings)
    rest = b"".join((HEAD.pack(judgement.is_anomaly, score, *map(len, parts)), *parts))
    return MAGIC + crc32(rest).to_bytes(START - len(MAGIC)) + rest


def unpacked(value: bytes) -> Judgement | None:
    """Return what `packed` was given, or None for any other bytes."""
    rest = value[START:]
    if value[:START] != MAGIC + crc32(rest).to_bytes(START - len(MAGIC)):
        return None
    try:
        is_anomaly, score, *lengths = HEAD.unpack_from(rest)
        begin, middle = HEAD.size + lengths[0], HEAD.size + lengths[0] + lengths[1]
        baseline, versions, findings = rest[HEAD.size : begin], orjson.loads(rest[begin:middle]), rest[middle:]
    except (struct.error, ValueError):
        return None
    known = None if math.isnan(score) else score
    return _repeated(Judgement(findings, is_anomaly, known, versions, None, baseline or None))


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


def answer_key(inspection: Inspection, family: Family, versions: Mapping[str, str]) -> str:
    """Return the SHA-256 over everything an answer follows from."""
    window = inspection.window
    names = sorted(window.values)
    head = [
        inspection.owner,
        inspection.system_id,
        family.key,
        family.severity.warning,
        family.severity.critical,
        family.severity.release,
        inspection.alarm,
        inspection.commissioning,
        0 if inspection.baseline is None else len(inspection.baseline.points),
        sorted((name, sorted(ends.items())) for name, ends in (inspection.limits or {}).items()),
        inspection.detail,
        sorted(versions.items()),
        window.rate_hz,
        [(name, len(window.values[name])) for name in names],
    ]
    digest = sha256(json.dumps(head).encode())
    for name in names:
        digest.update(window.values[name].tobytes())
    return digest.hexdigest()
