"""The answer cache in memory, its key, and what it knows of the detectors' versions."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from configs.settings import Settings
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus
from pipelines.errors import Unavailable
from pipelines.machines.alarm import ABSTAINED
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Learned, Normal, OperatingPoint
from pipelines.machines.family import Family, Severity, read_family
from pipelines.signals.windows import Window
from serve_app.shared.cache import (
    HEAD,
    MAGIC,
    AnswerCache,
    MemberVersions,
    MemoryCache,
    RedisCache,
    answer_key,
    packed,
    unpacked,
)

FAMILY = read_family("generic")
WINDOW = Window({"pressure": np.array([1.0, 2.0, 3.0]), "flow": np.array([4.0, 5.0, 6.0])}, 1.0)
VERSIONS = {"catboost": "3", "xgboost": "2"}
SUMS = Baseline(np.ones(2), np.ones(2), np.ones(2))


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def judgement(score: float | None = 0.5, baseline: bytes | None = None) -> Judgement:
    """A judgement that would teach, and count as evidence, were it new."""
    learned = Learned(0, SUMS)
    return Judgement('{"notes": ["давление"]}'.encode(), False, score, VERSIONS, learned, baseline, level=3)


def kept(given: Judgement) -> Judgement:
    """What a cache gives back of it."""
    return given._replace(learned=None, level=ABSTAINED, cache_hit=True)


async def test_a_judgement_is_kept_until_its_time_is_over() -> None:
    """It can be read until `ttl_s` has passed, and not at that moment; it teaches nothing anew."""
    clock = Clock()
    cache = MemoryCache(60, 10, clock)
    await cache.put({"a": judgement()})
    clock.now += 59.9
    assert await cache.get(["b", "a"]) == [None, kept(judgement())]
    clock.now += 0.1
    assert await cache.get(["a"]) == [None]


async def test_the_least_recently_used_judgement_goes_first() -> None:
    """Over the limit, the one that was neither read nor written longest is dropped."""
    cache = MemoryCache(60, 2)
    await cache.put({"a": judgement(0.1), "b": judgement(0.2)})
    await cache.get(["a"])
    await cache.put({"c": judgement(0.3)})
    assert await cache.get(["a", "b", "c"]) == [kept(judgement(0.1)), None, kept(judgement(0.3))]


async def test_no_lifetime_means_no_cache() -> None:
    """With a lifetime of zero nothing is kept."""
    cache = MemoryCache(0, 10)
    await cache.put({"a": judgement()})
    assert await cache.get(["a"]) == [None]


@pytest.mark.parametrize("score", [None, 0.0, 1 / 3])
@pytest.mark.parametrize("baseline", [None, bytes(range(64))])
@pytest.mark.parametrize("is_anomaly", [False, True])
def test_a_judgement_reads_back_bit_for_bit(is_anomaly: bool, score: float | None, baseline: bytes | None) -> None:
    """What stands in Redis holds all of it, the baseline that it follows from included."""
    given = judgement(score, baseline)._replace(is_anomaly=is_anomaly)
    assert unpacked(packed(given)) == kept(given)


def test_other_bytes_count_as_absent() -> None:
    """Nothing, JSON, a pickle, what an older release put there, and one of ours cut, lengthened or changed anywhere."""
    whole = packed(judgement(0.5, bytes(64)))
    foreign = [
        b"",
        b"{}",
        b"\x80\x04N.",
        b"HDX\x01",
        (4).to_bytes(4) + b'base{"prediction": {}}',
        whole[8:],
        whole + b" ",
    ]
    changed = [whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :] for place in range(len(whole))]
    cut = [whole[:end] for end in range(len(whole))]
    assert [unpacked(value) for value in foreign + changed + cut] == [None] * (len(foreign) + 2 * len(whole))


def test_bytes_with_a_right_sum_and_a_wrong_form_count_as_absent() -> None:
    """Lengths that lead beyond the end, or versions that are no JSON, are not believed for their sum alone."""
    for rest in (b"", b"\x01", HEAD.pack(True, 0.5, 0, 3, 0) + b"{]}"):
        assert unpacked(MAGIC + crc32(rest).to_bytes(4) + rest) is None


def key(family: Family = FAMILY, versions: Mapping[str, str] = VERSIONS, **changes: Any) -> str:
    """The key of a window of tenant 1's system 1, but for what is changed."""
    return answer_key(Inspection(WINDOW, "generic", owner=1, system_id=1)._replace(**changes), family, versions)


def test_the_key_names_everything_an_answer_follows_from() -> None:
    """Tenant, system, its operating points, family, thresholds, versions, values, channels and rate change the key."""
    bands = {"warning": 0.5, "critical": 0.8, "release": 0.1}
    strict = [
        FAMILY.model_copy(update={"severity": Severity.model_validate({**bands, **band, "source": "test"})})
        for band in ({}, {"warning": 0.4}, {"critical": 0.9}, {"release": 0.2})
    ]
    swapped = {"pressure": WINDOW.values["flow"], "flow": WINDOW.values["pressure"]}
    shifted = {"flow": np.array([4.0, 5.0]), "pressure": np.array([6.0, 1.0, 2.0, 3.0])}
    keys = [
        key(),
        key(owner=2),
        key(system_id=2),
        key(FAMILY.model_copy(update={"name": "other"})),
        *map(key, strict),
        key(versions={**VERSIONS, "catboost": "4"}),
        key(versions={"catboost": "3"}),
        key(window=Window(swapped, 1.0)),
        key(window=Window(shifted, 1.0)),
        key(window=Window({"pressure": WINDOW.values["pressure"]}, 1.0)),
        key(window=replace(WINDOW, rate_hz=2.0)),
        key(alarm=True),
        key(commissioning=True),
        key(limits={"flow": {"high": 9.0}}),
        key(limits={"flow": {"low": 9.0}}),
        key(detail="score"),
        key(baseline=Normal.of(SUMS)),
        key(baseline=Normal((OperatingPoint(SUMS),) * 2)),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_depend_on_order() -> None:
    """The same channels and versions in another order are the same window."""
    turned = Window({name: WINDOW.values[name] for name in ("flow", "pressure")}, 1.0)
    assert key(versions=dict(reversed(VERSIONS.items())), window=turned) == key()


class Replicas:
    """Reports versions, counts how often it is asked, and can fail or hang."""

    def __init__(self) -> None:
        self.asked = 0
        self.version = "1"
        self.failure: Exception | None = None
        self.hold: asyncio.Event | None = None

    async def members(self) -> Sequence[MemberStatus]:
        self.asked += 1
        if self.hold is not None:
            await self.hold.wait()
        if self.failure is not None:
            raise self.failure
        return [
            MemberStatus("catboost", "press", self.version, "ab", True),
            MemberStatus("xgboost", "press", self.version, "cd", False, "artefact is missing"),
        ]


async def test_versions_are_those_of_usable_detectors() -> None:
    """A detector that has not scored its probe window is not part of the key."""
    assert await MemberVersions(Replicas().members, 60).of("press") == {"catboost": "1"}


async def test_versions_are_asked_once_while_fresh() -> None:
    """Many look-ups at once and after cost one round to the replicas."""
    replicas = Replicas()
    versions = MemberVersions(replicas.members, 60)
    await asyncio.gather(*(versions.of("press") for _ in range(5)))
    await versions.of("press")
    assert replicas.asked == 1


async def test_a_promotion_is_seen_once_the_report_is_old() -> None:
    """A report past its time is asked for anew."""
    replicas = Replicas()
    versions = MemberVersions(replicas.members, 0)
    assert await versions.of("press") == {"catboost": "1"}
    replicas.version = "2"
    assert await versions.of("press") == {"catboost": "2"}


async def test_no_report_means_no_look_up() -> None:
    """Replicas that fail or hang leave the request without a cache, not without an answer."""
    replicas = Replicas()
    replicas.failure = Unavailable("ensemble", "no reply")
    assert await MemberVersions(replicas.members, 60).of("press") == {}
    replicas.failure, replicas.hold = None, asyncio.Event()
    versions = MemberVersions(replicas.members, 60)
    assert await versions.of("press") == {}
    replicas.hold.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await versions.of("press") == {"catboost": "1"}


@pytest.mark.parametrize(("waits_s", "asked"), [(0.0, 1), (59.0, 1), (60.0, 1), (61.0, 2)])
async def test_a_report_is_good_for_its_time(monkeypatch: pytest.MonkeyPatch, waits_s: float, asked: int) -> None:
    """As long as the replicas' own poll takes, and then no longer."""
    clock, replicas = Clock(), Replicas()
    monkeypatch.setattr(time, "monotonic", clock)
    versions = MemberVersions(replicas.members, 60)
    await versions.of("press")
    clock.now += waits_s
    assert await versions.of("press") == {"catboost": "1"}
    assert await versions.of("lift") == {}
    assert replicas.asked == asked


async def test_redis_is_taken_where_it_is_named() -> None:
    """Without an address a replica keeps its own answers, which always works; with one all replicas share them."""
    own = AnswerCache.open(Settings(_env_file=None))
    assert isinstance(own, MemoryCache)
    assert await own.ping()
    named = {"redis": {"url": "redis://127.0.0.1:1/0"}, "cache": {"ttl_s": 7}}
    shared = AnswerCache.open(Settings.model_validate(named))
    assert isinstance(shared, RedisCache)
    assert (own.shared, shared.shared, shared.ttl_s) == (False, True, 7)
