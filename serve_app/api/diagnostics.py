"""Detect, from body to answer: own system, checked window, cache or ensemble, stored diagnosis.

Exists so that one window and many take the same way, and nothing is stored of a window that got no answer.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from configs.families import Family, read_family
from pipelines.detectors.base import Detail
from pipelines.detectors.baseline import Baseline
from pipelines.detectors.registry import registry
from pipelines.diagnosis.records import Attribution, Diagnosis, Inspection, Vote
from pipelines.errors import InvalidInput
from pipelines.signals.channels import read_window
from pipelines.signals.windows import Window
from serve_app import logs
from serve_app.api import problems
from serve_app.api.auth import Reader, Worker
from serve_app.api.ports import Ports, Services
from serve_app.api.schemas import DetectBatchBody, DetectBatchReply, DetectBody, DetectReply, StoredReply
from serve_app.cache import MemberVersions, answer_key
from serve_app.store.records import Principal, StoredDiagnosis

DECIMALS = 6
REASON_MAX = 200

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


class Detection:
    """The way of one window, the same for the public and the internal face."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self._versions = MemberVersions(services.diagnoser.members, services.settings.models.poll_s)

    async def own(self, caller: Principal, body: DetectBody, trace_id: UUID, begun: float) -> dict[str, Any]:
        """Judge a window of the caller's own system, store the diagnosis and teach the baseline.

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
        answer, learned = await self.judge(case)
        prediction = answer["prediction"]
        # An abstention says nothing of the machine: its state stays.
        alarm: bool = system.alarm if prediction["abstained"] else prediction["is_anomaly"]
        values = {channel: samples.tolist() for channel, samples in window.values.items()}
        stored = StoredDiagnosis(
            trace_id=trace_id,
            system_id=body.system_id,
            family=family.name,
            created_at=datetime.now(UTC),
            window={"values": values, "rate_hz": window.rate_hz},
            answer=answer,
        )
        await store.record(caller.tenant_id, stored, learned, None if alarm == system.alarm else alarm)
        return answer

    async def judge(self, case: Case) -> tuple[dict[str, Any], Baseline | None]:
        """Return the answer and what the baseline learns from it; an answer from the cache teaches nothing."""
        found = await self._look_up(case)
        learned = None
        if found is None:
            inspection = Inspection(case.window, case.family.name, case.baseline, case.alarm, case.detail)
            diagnosis = await self.services.diagnoser.diagnose(inspection)
            findings, learned = findings_of(diagnosis), diagnosis.learned
            await self._keep(case, diagnosis, findings)
        else:
            findings = found
        seconds = time.perf_counter() - case.begun
        prediction = findings["prediction"]
        self.services.metrics.answered(case.family.name, prediction["is_anomaly"], prediction["anomaly_score"], seconds)
        answer = {
            "system_id": case.system_id,
            **findings,
            "cache_hit": found is not None,
            "total_processing_time_ms": round(1e3 * seconds, 3),
            "trace_id": str(case.trace_id),
        }
        return answer, learned

    async def _look_up(self, case: Case) -> dict[str, Any] | None:
        cache = self.services.cache
        if not case.use_cache or cache.ttl_s <= 0:
            return None
        versions = await self._versions.of(case.family.name)
        if not versions:
            return None
        found = await cache.get(_key(case, versions))
        self.services.metrics.looked_up(found is not None)
        return found

    async def _keep(self, case: Case, diagnosis: Diagnosis, findings: Mapping[str, Any]) -> None:
        if case.use_cache and self.services.cache.ttl_s > 0:
            versions = {vote.detector: vote.version for vote in diagnosis.votes}
            key = _key(case, versions)
            await self.services.cache.put(key, dict(findings))

    def count_failure(self, error: Exception) -> None:
        """Count a window that got no answer."""
        self.services.metrics.failed(problems.problem_of(error).code)


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
        answer = await detection.own(caller, body, UUID(logs.trace_id()), begun)
    except Exception as error:
        detection.count_failure(error)
        raise
    logs.note(system_id=body.system_id, is_anomaly=answer["prediction"]["is_anomaly"])
    return JSONResponse(answer)


@router.post(
    "/anomaly/detect/batch/",
    response_model=DetectBatchReply,
    responses=problems.documented(400, 401, 403, 413, 415),
    summary="Judge many windows",
)
async def detect_batch(request: Request, body: DetectBatchBody, caller: Worker, detection: Detecting) -> Response:
    """Judge each item on its own: at its index stands its answer, or the problem that it alone has."""
    begun = time.perf_counter()
    path: str = request.scope["path"]

    async def one(item: object, trace_id: UUID) -> dict[str, Any]:
        return await detection.own(caller, DetectBody.model_validate(item), trace_id, begun)

    return await each(detection, body.items, one, path)


async def each(
    detection: Detection, items: Sequence[object], one: Callable[[object, UUID], Awaitable[dict[str, Any]]], path: str
) -> Response:
    """Answer items at their own places; an item's error is a problem there and touches no other.

    Raises:
        InvalidInput: There are more items than one request may carry.
    """
    limit = detection.services.settings.limits.batch
    if len(items) > limit:
        raise InvalidInput("items", f"array of {len(items)}", f"must hold at most {limit} windows")

    async def settled(index: int, item: object) -> dict[str, Any]:
        try:
            return await one(item, uuid4())
        except Exception as error:
            detection.count_failure(error)
            problem = problems.problem_of(error)
            if problem.status >= 500:
                logs.write("item.failed", logging.ERROR, problems.cause_of(error), code=problem.code, index=index)
            return problems.under(problem, f"items[{index}]").body(path, logs.trace_id())

    results = await asyncio.gather(*(settled(index, item) for index, item in enumerate(items)))
    logs.note(items=len(items), failed=sum("prediction" not in result for result in results))
    return Response(problems.encode({"results": results}), media_type="application/json")


@router.get(
    "/{trace_id}/",
    response_model=StoredReply,
    responses=problems.documented(401, 404),
    summary="Read a diagnosis back",
)
async def read(trace_id: UUID, caller: Reader, services: Ports) -> Response:
    """Return the diagnosis as it was answered, with the window it answered."""
    stored = await services.store.diagnosis(caller.tenant_id, trace_id)
    return JSONResponse(
        {
            "trace_id": str(stored.trace_id),
            "system_id": stored.system_id,
            "family": stored.family,
            "created_at": stored.created_at.isoformat(),
            "window": stored.window,
            "answer": stored.answer,
        }
    )


def findings_of(diagnosis: Diagnosis) -> dict[str, Any]:
    """Return the part of an answer that follows from the window alone, in the order of the contract."""
    # Not rounded: the very number that offline scoring gives for the same window.
    score = None if diagnosis.abstained else float(diagnosis.score)
    return {
        "prediction": {
            "is_anomaly": bool(diagnosis.is_anomaly),
            "anomaly_score": score,
            "severity": diagnosis.severity,
            "confidence": _rounded(diagnosis.confidence),
            "affected_components": list(diagnosis.affected),
            "anomaly_type": diagnosis.anomaly_type,
            "components": [
                {"component": found.component, "probability": _rounded(found.probability), "grade": found.grade}
                for found in diagnosis.components
            ],
            "attribution_base": _rounded(diagnosis.base) if diagnosis.attribution else None,
            "abstained": bool(diagnosis.abstained),
            "reason": diagnosis.abstained or None,
        },
        "ensemble_score": score,
        "attribution": [
            {
                "channel": share.channel,
                "contribution": _rounded(share.contribution),
                "direction": share.direction,
                "deviation": _deviation(share),
            }
            for share in diagnosis.attribution
        ],
        "ml_predictions": _votes(diagnosis),
        "threshold_used": _rounded(diagnosis.threshold),
        "features_extracted": int(diagnosis.features),
        "data_quality": {
            "score": _rounded(diagnosis.quality.score),
            "missing_channels": list(diagnosis.quality.missing),
            "notes": list(diagnosis.quality.notes),
        },
    }


def _deviation(share: Attribution) -> dict[str, Any]:
    """Return how far a channel's mean lies from its normal, in numbers and in words."""
    deviation = share.deviation
    apart = deviation.value - deviation.normal
    side = "above" if apart >= 0 else "below"
    whose = "its normal" if deviation.own else "the typical"
    return {
        "value": _rounded(deviation.value),
        "normal": _rounded(deviation.normal),
        "difference": _rounded(apart),
        "unit": deviation.unit,
        "own_baseline": deviation.own,
        "text": f"{share.channel} {abs(apart):.3g} {deviation.unit} {side} {whose} {deviation.normal:.4g}",
    }


def _votes(diagnosis: Diagnosis) -> list[dict[str, Any]]:
    """Return a line a detector in the registry's order; one that gave no vote stands there with the reason."""
    cast = {vote.detector: vote for vote in diagnosis.votes}
    for detector, reason in diagnosis.absent.items():
        cast.setdefault(detector, Vote(detector, "", None, 0.0, 0.0, 0.0, reason))
    return [_vote(cast[name]) for name in registry() if name in cast]


def _vote(vote: Vote) -> dict[str, Any]:
    line: dict[str, Any] = {
        "ml_model": vote.detector,
        "version": vote.version,
        "prediction_score": None if vote.score is None else _rounded(vote.score),
        "confidence": _rounded(vote.confidence),
        "weight": _rounded(vote.weight),
        "processing_time_ms": round(float(vote.milliseconds), 3),
    }
    return line if vote.score is not None else {**line, "reason": vote.reason[:REASON_MAX]}


def _rounded(value: float) -> float:
    return round(float(value), DECIMALS)
