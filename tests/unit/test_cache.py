"""The answer cache in memory, its key, and what it knows of the detectors' versions."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pipelines.diagnosis.records import MemberStatus
from pipelines.errors import Unavailable
from pipelines.machines.family import Severity, read_family
from pipelines.signals.windows import Window
from serve_app.shared.cache import MemberVersions, MemoryCache, answer_key

FAMILY = read_family("generic")
WINDOW = Window({"pressure": np.array([1.0, 2.0, 3.0]), "flow": np.array([4.0, 5.0, 6.0])}, 1.0)
VERSIONS = {"catboost": "3", "xgboost": "2"}


class Clock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_value_is_kept_until_its_time_is_over() -> None:
    """A value can be read until `ttl_s` has passed, and not at that moment."""
    clock = Clock()
    cache = MemoryCache(60, 10, clock)
    await cache.put("a", b'{"score": 0.5}')
    clock.now += 59.9
    assert await cache.get("a") == b'{"score": 0.5}'
    clock.now += 0.1
    assert await cache.get("a") is None


async def test_the_least_recently_used_value_goes_first() -> None:
    """Over the limit, the value that was neither read nor written longest is dropped."""
    cache = MemoryCache(60, 2)
    await cache.put("a", b'{"n": 1}')
    await cache.put("b", b'{"n": 2}')
    await cache.get("a")
    await cache.put("c", b'{"n": 3}')
    assert await cache.get("b") is None
    assert await cache.get("a") == b'{"n": 1}'
    assert await cache.get("c") == b'{"n": 3}'


async def test_no_lifetime_means_no_cache() -> None:
    """With a lifetime of zero nothing is kept."""
    cache = MemoryCache(0, 10)
    await cache.put("a", b'{"n": 1}')
    assert await cache.get("a") is None


def test_the_key_names_everything_an_answer_follows_from() -> None:
    """Tenant, system, family, thresholds, versions, values, their places, channels and rate each change the key."""
    strict = FAMILY.model_copy(update={"severity": Severity(warning=0.123, critical=0.8, release=0.1, source="test")})
    swapped = {"pressure": WINDOW.values["flow"], "flow": WINDOW.values["pressure"]}
    shifted = {"flow": np.array([4.0, 5.0]), "pressure": np.array([6.0, 1.0, 2.0, 3.0])}
    keys = [
        answer_key(1, 1, FAMILY, VERSIONS, WINDOW, False),
        answer_key(2, 1, FAMILY, VERSIONS, WINDOW, False),
        answer_key(1, 2, FAMILY, VERSIONS, WINDOW, False),
        answer_key(1, 1, FAMILY.model_copy(update={"name": "other"}), VERSIONS, WINDOW, False),
        answer_key(1, 1, strict, VERSIONS, WINDOW, False),
        answer_key(1, 1, FAMILY, {**VERSIONS, "catboost": "4"}, WINDOW, False),
        answer_key(1, 1, FAMILY, {"catboost": "3"}, WINDOW, False),
        answer_key(1, 1, FAMILY, VERSIONS, Window(swapped, 1.0), False),
        answer_key(1, 1, FAMILY, VERSIONS, Window(shifted, 1.0), False),
        answer_key(1, 1, FAMILY, VERSIONS, Window({"pressure": WINDOW.values["pressure"]}, 1.0), False),
        answer_key(1, 1, FAMILY, VERSIONS, replace(WINDOW, rate_hz=2.0), False),
        answer_key(1, 1, FAMILY, VERSIONS, WINDOW, True),
        answer_key(1, 1, FAMILY, VERSIONS, WINDOW, False, "score"),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_depend_on_order() -> None:
    """The same channels and versions in another order are the same window."""
    turned = Window({name: WINDOW.values[name] for name in ("flow", "pressure")}, 1.0)
    versions = dict(reversed(VERSIONS.items()))
    assert answer_key(1, 1, FAMILY, versions, turned, False) == answer_key(1, 1, FAMILY, VERSIONS, WINDOW, False)


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
