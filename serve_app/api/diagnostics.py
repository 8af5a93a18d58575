"""Detect, from body to answer: own system, checked window, cache or ensemble, stored diagnosis.

Exists so that one window and many take the same way, and nothing is stored of a window that got no answer.
"""

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, NamedTuple
from uuid import UUID, uuid4
from zlib import crc32

import orjson
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from pipelines.detectors.base import Detail
from pipelines.diagnosis.findings import judgement_from
from pipelines.diagnosis.records import Inspection, Judgement
from pipelines.errors import InvalidInput
from pipelines.machines.baseline import Baseline
from pipelines.machines.family import Family, read_family
from pipelines.signals.channels import read_window
from pipelines.signals.windows import Window
from serve_app.api import problems
from serve_app.api.auth import Worker
from serve_app.api.ports import Services
from serve_app.api.schemas.detection import DetectBatchBody, DetectBatchReply, DetectBody, DetectReply
from serve_app.shared import logs
from serve_app.shared.cache import MemberVersions, answer_key
from serve_app.store.records import Principal, StoredDiagnosis

JSON = "application/json"
LENGTH = 4  # bytes that say how long the baseline in a cached value is

router = APIRouter(prefix="/api/diagnostics", tags=["diagnostics"])


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One checked window with all that its answer follows from.

    Attributes:
        begun: `time.perf_counter()` when the request's body had been read.
    """

    tenant_id: int
    system_id: int
    family: Family
    window: Window
    trace_id: UUID
    begun: float
    baseline: Baseline | None = None
    alarm: bool = False
    use_cache: bool = True
    detail: Detail = "full"


class Judged(NamedTuple):
    """An answer and what it follows from.

    Attributes:
        met: The baseline that it was judged against, as `Baseline.to_bytes` writes it; None where there was none.
    """

    answer: bytes
    judgement: Judgement
    met: bytes | None


def met_by(case: Case) -> bytes | None:
    """Return the baseline that a window meets, as it is stored."""
    return None if case.baseline is None else case.baseline.to_bytes()


class Detection:
    """The way of one window, the same for the public and the internal face."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._versions = MemberVersions(services.diagnoser.members, services.settings.models.poll_s)

    async def own(self, caller: Principal, body: DetectBody, trace_id: UUID, begun: float) -> tuple[bytes, bool]:
        """Judge a window of the caller's own system, store the diagnosis and teach the baseline.

        Returns:
            The answer, and whether it is an alarm.

        Raises:
            NotFound: No such system in the caller's tenant.
            InvalidInput: The window breaks a rule of the system's family.
            Unavailable: Ensemble or database is down.
        """
        store, limits = self.services.store, self.services.settings.limits
        system, baseline = await store.machine(caller.tenant_id, body.system_id)
        family = read_family(system.family)
        window = read_window(body.sensor_data, body.sampling_hz, family, limits, "sensor_data")
        case = Case(caller.tenant_id, body.system_id, family, window, trace_id, begun, baseline, system.alarm)
        answer, judgement, met = await self.judge(case)
        # An abstention says nothing of the machine: its state stays.
        alarm = system.alarm if judgement.score is None else judgement.is_anomaly
        values = {channel: samples.tolist() for channel, samples in window.values.items()}
        stored = StoredDiagnosis(
            trace_id=trace_id,
            system_id=body.system_id,
            family=family.name,
            created_at=datetime.now(UTC),
            window={"values": values, "rate_hz": window.rate_hz},
            answer=orjson.loads(answer),
            alarm=system.alarm,
            baseline=met,
        )
        changed = None if alarm == system.alarm else alarm
        await store.record(caller.tenant_id, stored, judgement.learned, changed)
        return answer, judgement.is_anomaly

    async def judge(self, case: Case) -> Judged:
        """Return the answer and what it follows from; an answer from the cache teaches nothing."""
        (answer,) = await self.judge_all([case])
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def judge_all(self, cases: Sequence[Case]) -> list[Judged | BaseException]:
        """Do the same for many windows at once; at each one's place stands its answer, or why there is none."""
        found = [await self._look_up(case) for case in cases]
        asked = [case for case, known in zip(cases, found, strict=True) if known is None]
        judged = iter(await asyncio.gather(*map(self._ask, asked), return_exceptions=True))
        answers: list[Judged | BaseException] = []
        answered: defaultdict[str, list[Judgement]] = defaultdict(list)
        for case, known in zip(cases, found, strict=True):
            judgement, met = known or (next(judged), met_by(case))
            if isinstance(judgement, BaseException):
                answers.append(judgement)
                continue
            if known is None:
                await self._keep(case, judgement, met)
            answered[case.family.name].append(judgement)
            answers.append(Judged(_answer(case, judgement, known is not None), judgement, met))
        for family, judgements in answered.items():
            self.services.metrics.answered(family, judgements, time.perf_counter() - cases[0].begun)
        return answers

    def _ask(self, case: Case) -> Awaitable[Judgement]:
        hash_bucket = crc32(b"%d/%d" % (case.tenant_id, case.system_id)) / 2**32
        inspection = Inspection(
            case.window, case.family.name, case.baseline, case.alarm, case.detail, hash_bucket, owner=case.tenant_id
        )
        return self.services.diagnoser.diagnose(inspection)

    async def _keep(self, case: Case, judgement: Judgement, met: bytes | None) -> None:
        """Keep findings behind the baseline that they follow from, which is part of the evidence."""
        if case.use_cache and self.services.cache.ttl_s > 0:
            before = met or b""
            value = b"%b%b%b" % (len(before).to_bytes(LENGTH), before, judgement.findings)
            await self.services.cache.put(_key(case, judgement.versions), value)

    async def _look_up(self, case: Case) -> tuple[Judgement, bytes | None] | None:
        cache = self.services.cache
        if not case.use_cache or cache.ttl_s <= 0:
            return None
        versions = await self._versions.of(case.family.name)
        if not versions:
            return None
        found = await cache.get(_key(case, versions))
        self.services.metrics.looked_up(found is not None)
        if found is None:
            return None
        end = LENGTH + int.from_bytes(found[:LENGTH])
        return judgement_from(found[end:], versions), found[LENGTH:end] or None

    def count_failure(self, error: BaseException) -> None:
        """Count a window that got no answer."""
        self.services.metrics.failed(problems.problem_of(error).code)


def _answer(case: Case, judgement: Judgement, cache_hit: bool) -> bytes:
    ends = {
        "cache_hit": cache_hit,
        "total_processing_time_ms": round(1e3 * (time.perf_counter() - case.begun), 3),
        "trace_id": case.trace_id,
    }
    # Both are JSON objects: the findings go between, unread.
    return b'{"system_id":%d,%b,%b' % (case.system_id, judgement.findings[1:-1], orjson.dumps(ends)[1:])


def _key(case: Case, versions: Mapping[str, str]) -> str:
    return answer_key(case.tenant_id, case.system_id, case.family, versions, case.window, case.alarm, case.detail)


async def detection_of(request: Request) -> Detection:
    """Return this application's detection."""
    detection: Detection = request.app.state.detection
    return detection


Detecting = Annotated[Detection, Depends(detection_of)]


@router.post(
    "/anomaly/detect/",
    response_model=DetectReply,
    responses=problems.documented(400, 401, 403, 404, 413, 415, 429, 503),
    summary="Judge one window",
)
async def detect(body: DetectBody, caller: Worker, detection: Detecting) -> Response:
    """Say whether something is wrong, how sure that is, which component, and which channel says so."""
    begun = time.perf_counter()
    try:
        answer, is_anomaly = await detection.own(caller, body, UUID(logs.trace_id()), begun)
    except Exception as error:
        detection.count_failure(error)
        raise
    logs.note(system_id=body.system_id, is_anomaly=is_anomaly)
    return Response(answer, media_type=JSON)


@router.post(
    "/anomaly/detect/batch/",
    response_model=DetectBatchReply,
    responses=problems.documented(400, 401, 403, 413, 415),
    summary="Judge many windows",
)
async def detect_batch(request: Request, body: DetectBatchBody, caller: Worker, detection: Detecting) -> Response:
    """Judge each item on its own: at its index stands its answer, or the problem that it alone has."""
    begun = time.perf_counter()
    check_count(detection, body.items)

    async def one(item: object) -> bytes:
        return (await detection.own(caller, DetectBody.model_validate(item), uuid4(), begun))[0]

    results = await asyncio.gather(*map(one, body.items), return_exceptions=True)
    return listed(detection, results, request.scope["path"])


def check_count(detection: Detection, items: Sequence[object]) -> None:
    """Refuse too many items.

    Raises:
        InvalidInput: There are more than one request may carry.
    """
    limit = detection.services.settings.limits.batch
    if len(items) > limit:
        raise InvalidInput("items", f"array of {len(items)}", f"must hold at most {limit} windows")


def listed(detection: Detection, results: Sequence[bytes | BaseException], path: str) -> Response:
    """Return all answers at their own places; an item's error is a problem there and touches no other."""
    shown = [
        _item_problem(detection, result, place, path) if isinstance(result, BaseException) else result
        for place, result in enumerate(results)
    ]
    logs.note(items=len(results), failed=sum(isinstance(result, BaseException) for result in results))
    return Response(b'{"results":[%b]}' % b",".join(shown), media_type=JSON)


def _item_problem(detection: Detection, error: BaseException, place: int, path: str) -> bytes:
    detection.count_failure(error)
    problem = problems.problem_of(error)
    if problem.status >= 500:
        logs.write("item.failed", logging.ERROR, problems.cause_of(error), code=problem.code, index=place)
    return problems.encode(problems.under(problem, f"items[{place}]").body(path, logs.trace_id()))
