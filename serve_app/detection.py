"""Detect, for whoever has windows: answers come from the cache or the ensemble, those of a tenant's systems are stored.

Stands on the ports of `api/ports` and knows no HTTP; one window and many take the same way.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from pipelines.diagnosis.records import Inspection, Judgement
from pipelines.machines.alarm import ABSTAINED
from pipelines.machines.commissioning import NEEDED, Normal
from pipelines.machines.definition import find_family
from pipelines.machines.family import Family, name_of
from pipelines.signals.channels import read_window
from pipelines.signals.reading import is_known
from pipelines.signals.windows import Window, to_store
from serve_app.acquisition import LatestWindow, latest_window
from serve_app.api.ports import Services
from serve_app.commissioning import Commissioning, state_of
from serve_app.families import Families
from serve_app.shared import logs
from serve_app.shared.cache import MemberVersions, answer_key
from serve_app.store.records import StoredDiagnosis, System, written

# Who has ended a commissioning that ended by itself, in the audit.
COMMISSIONED_BY = "commissioning"
# How far back the newest window is looked for, and in how many readings of a channel at most. Source: own choice; three
# windows hold one of readings that come three times as slowly, and have 30,000 samples at most.
WINDOWS_BACK, LEAST_BACK_S, VALUES_BACK = 3, 60.0, 40_000
# How many times farther it is looked for where readings come more slowly than that, and how far at most. Source: own
# choice; sixty readings of a day each.
BACK_AGAIN, FARTHEST_BACK_S = 20, 60 * 86_400.0
# Readings farther ahead of the service's clock are of a clock that goes wrong: what others show is judged meanwhile.
# Source: own choice.
CLOCKS_APART = timedelta(minutes=1)
# How metrics call all families that tenants defined: their labels are bounded.
OWN_FAMILY = "own"


class _Told(NamedTuple):
    """What is said of a window that is answered, beside what is asked of it.

    Attributes:
        end: When it ended, where it was cut from stored readings.
        late: As in `Detection.watched`.
        counts: Whether it counts for its system.
    """

    trace_id: UUID
    begun: float
    end: datetime | None = None
    late: bool = False
    counts: bool = True


class Detection:
    """Judges windows, those of a tenant's own system and those of nobody's."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.families = Families(services.store)
        self.commissioning = Commissioning(services.store, self.families)
        self._versions = MemberVersions(services.diagnoser.members, services.settings.models.poll_s)

    async def own(
        self,
        tenant_id: int,
        system_id: int,
        samples: Mapping[str, Any] | None,
        rate_hz: float | None,
        trace_id: UUID,
        begun: float,
    ) -> tuple[bytes, bool]:
        """Judge a window of a tenant's own system, store the diagnosis, and learn from it.

        Without samples it is the newest one that the system's stored readings show. It is answered and stored, and
        counts for nothing: the same readings do so when they are watched.

        The request that stores the last window that commissioning needs ends it before it answers.

        Args:
            begun: `time.perf_counter()` when the window had come in.

        Returns:
            The answer, a JSON object, and whether it is an alarm.

        Raises:
            NotFound: The tenant has no such system.
            UnknownFamily: The system's family is no longer shipped.
            InvalidInput: The window breaks a rule of the system's family.
            Unavailable: Ensemble or database is down.
        """
        limits = self.services.settings.limits
        system, normal = await self.services.store.systems.machine(tenant_id, system_id)
        family = await self.families.of(tenant_id, system.family)
        until = None
        if samples is None:
            samples, rate_hz, until, _ = await self._newest(tenant_id, system, family)
        window = read_window(samples, rate_hz, family, limits, "sensor_data")
        asked = _asked(window, tenant_id, system, normal, family)
        return await self._answered(asked, system, _Told(trace_id, begun, until, counts=until is None))

    async def watched(
        self,
        tenant_id: int,
        system_id: int,
        family: Family,
        window: Window,
        trace_id: UUID,
        end: datetime,
        late: bool,
        counts: bool = True,
    ) -> bool:
        """Judge a window that was cut from a system's readings, as `own` does; tell whether it is an alarm.

        Args:
            tenant_id: Whose.
            system_id: Which.
            family: Of the system.
            window: To judge.
            trace_id: Of the answer.
            end: When the window ended.
            late: Whether it is judged since readings came late: then it is no evidence, and teaches while a system is
                commissioned alone.
            counts: Whether it was not counted before.

        Raises:
            NotFound: The tenant has no such system.
            Conflict: It is judged already.
            Unavailable: Ensemble or database is down.
        """
        system, normal = await self.services.store.systems.machine(tenant_id, system_id)
        asked = _asked(window, tenant_id, system, normal, family)._replace(use_cache=False)
        told = _Told(trace_id, time.perf_counter(), end, late, counts)
        return (await self._answered(asked, system, told))[1]

    async def _answered(self, asked: Inspection, system: System, told: _Told) -> tuple[bytes, bool]:
        """Judge a window of a tenant's own system, and store the answer with what follows from it."""
        judgement = await self.judge(asked, told.begun)
        # An abstention says nothing of the machine: its state stays.
        is_evidence = told.counts and not told.late
        alarm = judgement.is_anomaly if is_evidence and judgement.score is not None else system.alarm
        stored = StoredDiagnosis(
            trace_id=told.trace_id,
            system_id=system.system_id,
            family=asked.family,
            created_at=datetime.now(UTC),
            window=to_store(asked.window),
            answer=b"",
            alarm=system.alarm,
            baseline=judgement.baseline,
            limits=asked.limits,
            window_end=told.end,
            late=told.late,
            counted=told.counts,
        )
        changed = None if alarm == system.alarm else alarm
        learned, level = (judgement.learned, judgement.level) if is_evidence else (None, ABSTAINED)

        def answer(now: System) -> bytes:
            # The window was judged in the state that was read, whatever has become of it meanwhile.
            now = replace(now, state=system.state)
            return answer_of(judgement, system.system_id, told.trace_id, told.begun, now, told.end)

        taught = learned, changed, level
        kept = await self.services.store.diagnoses.record(asked.owner, stored, *taught, answer)
        await self._end_commissioning(asked.owner, kept.system)
        return kept.answer, judgement.is_anomaly

    async def _newest(self, tenant_id: int, system: System, family: Family) -> LatestWindow:
        """Return the newest window of stored readings; how far back it reaches, the readings show."""
        readings, limits = self.services.store.readings, self.services.settings.limits
        channels, soon = list(family.channels), datetime.now(UTC) + CLOCKS_APART
        end = await readings.newest(tenant_id, system.system_id, channels, soon)
        if end is None:
            return latest_window((), family, limits.values)
        back_s = WINDOWS_BACK * family.window_s + LEAST_BACK_S
        while True:
            within = end - timedelta(seconds=back_s), end + timedelta(microseconds=1)
            series = await readings.span(tenant_id, system.system_id, *within, VALUES_BACK, channels)
            found = latest_window(series, family, limits.values)
            if back_s >= FARTHEST_BACK_S or (found.length_s is not None and found.length_s <= back_s):
                return found
            back_s = min(BACK_AGAIN * back_s, FARTHEST_BACK_S)

    async def _end_commissioning(self, tenant_id: int, system: System) -> None:
        """End a commissioning that has its windows; where that fails the window has its answer all the same."""
        # A count is told to one request alone; what one failed to do is tried again when as many more are stored.
        if system.state == "commissioning" and system.learned and system.learned % NEEDED == 0:
            with logs.surviving("commissioning.failed", tenant_id=tenant_id, system_id=system.system_id):
                done = await self.commissioning.finish(tenant_id, system, COMMISSIONED_BY)
                logs.write("commissioning.ended", logging.INFO, None, system_id=system.system_id, done=done)

    async def judge(self, inspection: Inspection, begun: float) -> Judgement:
        """Judge one window, and store nothing."""
        (found,) = await self.judge_all([inspection], begun)
        if isinstance(found, BaseException):
            raise found
        return found

    async def judge_all(self, inspections: Sequence[Inspection], begun: float) -> list[Judgement | BaseException]:
        """Do the same for many windows at once; at each one's place stands its judgement, or why there is none."""
        known = await self._look_up(inspections)
        asked = [each for each, hit in zip(inspections, known, strict=True) if hit is None]
        fresh = await asyncio.gather(*map(self._ask, asked), return_exceptions=True)
        judged = list(map(_with_baseline, asked, fresh))
        await self._keep(asked, judged)
        rest = iter(judged)
        found = [next(rest) if hit is None else hit for hit in known]
        self._count(inspections, found, time.perf_counter() - begun)
        return found

    def _ask(self, inspection: Inspection) -> Awaitable[Judgement]:
        return self.services.diagnoser.diagnose(inspection)

    def _count(
        self, inspections: Sequence[Inspection], found: Sequence[Judgement | BaseException], seconds: float
    ) -> None:
        answered: defaultdict[str, list[Judgement]] = defaultdict(list)
        for inspection, each in zip(inspections, found, strict=True):
            if isinstance(each, Judgement):
                answered[OWN_FAMILY if inspection.definition else name_of(inspection.family)].append(each)
        for family, judgements in answered.items():
            self.services.metrics.answered(family, judgements, seconds)

    async def _look_up(self, inspections: Sequence[Inspection]) -> list[Judgement | None]:
        """Return what the cache has, each at its own place."""
        found: list[Judgement | None] = [None] * len(inspections)
        if self.services.cache.ttl_s <= 0:
            return found
        families = {name_of(each.family) for each in inspections if each.use_cache}
        versions = {family: await self._versions.of(family) for family in families}
        keys = {
            place: answer_key(each, find_family(each.family, each.definition), versions[name_of(each.family)])
            for place, each in enumerate(inspections)
            if each.use_cache and not each.definition and versions[name_of(each.family)]
        }
        for place, hit in zip(keys, await self.services.cache.get(list(keys.values())), strict=True):
            self.services.metrics.looked_up(hit is not None)
            found[place] = hit
        return found

    async def _keep(self, asked: Sequence[Inspection], judged: Sequence[Judgement | BaseException]) -> None:
        """Keep fresh answers, each under the versions that really judged it."""
        if self.services.cache.ttl_s <= 0:
            return
        judgements = {
            answer_key(each, find_family(each.family, each.definition), judgement.versions): judgement
            for each, judgement in zip(asked, judged, strict=True)
            if each.use_cache and isinstance(judgement, Judgement)
        }
        await self.services.cache.put(judgements)


def _asked(window: Window, tenant_id: int, system: System, normal: Normal | None, family: Family) -> Inspection:
    """Return what is asked of a window of a tenant's own system."""
    return Inspection(
        window,
        family.key,
        normal,
        system.alarm,
        owner=tenant_id,
        system_id=system.system_id,
        commissioning=system.state == "commissioning" or not is_known(normal, family),
        limits=system.limits or None,
        definition=family.definition,
    )


def _with_baseline(inspection: Inspection, judged: Judgement | BaseException) -> Judgement | BaseException:
    """Add the baseline that the judgement follows from: it is part of the evidence."""
    if isinstance(judged, BaseException) or inspection.baseline is None or judged.baseline is not None:
        return judged
    return judged._replace(baseline=inspection.baseline.to_bytes())


def answer_of(
    judgement: Judgement,
    system_id: int,
    trace_id: UUID,
    begun: float,
    system: System | None = None,
    until: datetime | None = None,
) -> bytes:
    """Return the answer, a JSON object: the findings as they came, between what is of this call and its system alone.

    Args:
        judgement: Whose findings they are.
        system_id: As it was sent.
        trace_id: Of the answer.
        begun: As in `Detection.own`.
        system: As the window leaves it; None where it is nobody's.
        until: When the window ended, where it was cut from stored readings.
    """
    told = {} if until is None else {"window_end": written(until)}
    ends = (
        ({} if system is None else {"system": state_of(system)})
        | told
        | {
            "cache_hit": judgement.cache_hit,
            "total_processing_time_ms": round(1e3 * (time.perf_counter() - begun), 3),
            "trace_id": trace_id,
        }
    )
    return b'{"system_id":%d,%b,%b' % (system_id, judgement.findings[1:-1], orjson.dumps(ends)[1:])
