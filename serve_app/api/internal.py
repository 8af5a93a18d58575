"""The service-to-service face: the same detection and assistant, without users, tenants or anything stored.

Callers of the former ml_service and rag_service keep their paths, keys and bodies.
"""

import os
import time
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyHeader
from pydantic import SecretStr, ValidationError

from configs.settings import version
from pipelines.diagnosis.records import Inspection, Judgement
from pipelines.errors import Forbidden, InvalidInput
from pipelines.machines.family import family_names, read_family
from pipelines.signals.channels import read_alike, read_window
from pipelines.signals.windows import Window
from serve_app.api import problems
from serve_app.api.assistant import ask
from serve_app.api.diagnostics import JSON, Detecting, check_count, count_failure, listed
from serve_app.api.health import CheckedParts
from serve_app.api.ports import Asked, Health, Ports
from serve_app.api.schemas.assistant import QueryBody, QueryReply
from serve_app.api.schemas.detection import DetectBatchReply, DetectReply, PredictBatchBody, PredictBody
from serve_app.api.schemas.health import MlHealthReply, RagHealthReply
from serve_app.detection import Detection, answer_of
from serve_app.shared import logs
from serve_app.shared.credentials import same_key

# No tenant has this id; the knowledge index keeps the built-in articles under it.
NO_TENANT = 0
WORDS: dict[Health, str] = {"ok": "healthy", "degraded": "degraded", "down": "unhealthy"}
PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"

router = APIRouter(tags=["internal"])
KEY = APIKeyHeader(name="X-Internal-API-Key", auto_error=False, scheme_name="internalKey")
GivenKey = Annotated[str | None, Depends(KEY)]


def _check(given: str | None, *expected: SecretStr) -> None:
    if not any(same_key(given or "", key.get_secret_value()) for key in expected):
        raise Forbidden("send the internal key of this service in X-Internal-API-Key")


async def ml_key(given: GivenKey, services: Ports) -> None:
    """Let in who holds the key of the detectors' side."""
    _check(given, services.settings.ml_internal_api_key)


async def rag_key(given: GivenKey, services: Ports) -> None:
    """Let in who holds the key of the assistant's side."""
    _check(given, services.settings.rag_internal_api_key)


async def any_key(given: GivenKey, services: Ports) -> None:
    """Let in who holds either key."""
    _check(given, services.settings.ml_internal_api_key, services.settings.rag_internal_api_key)


@router.post(
    "/internal/ml/api/v1/predict",
    dependencies=[Depends(ml_key)],
    response_model=DetectReply,
    responses=problems.documented(400, 403, 413, 415, 429, 503),
    summary="Judge one window without a tenant",
)
async def predict(body: PredictBody, detection: Detecting) -> Response:
    """Judge a window of which only the family is known; channels may be missing and are then named."""
    begun = time.perf_counter()
    try:
        inspection = _inspection(body, _window(detection, body))
        judgement = await detection.judge(inspection, begun)
    except Exception as error:
        count_failure(detection, error)
        raise
    answer = answer_of(judgement, inspection.system_id, UUID(logs.trace_id()), begun)
    return Response(answer, media_type=JSON)


@router.post(
    "/internal/ml/api/v1/predict/batch",
    dependencies=[Depends(ml_key)],
    response_model=DetectBatchReply,
    responses=problems.documented(400, 403, 413, 415),
    summary="Judge many windows without a tenant",
)
async def predict_batch(request: Request, body: PredictBatchBody, detection: Detecting) -> Response:
    """Judge each item on its own: at its index stands its answer, or the problem that it alone has."""
    begun = time.perf_counter()
    check_count(detection, body.items)
    asked = _inspections(detection, body.items)
    judged = iter(await detection.judge_all([each for each in asked if isinstance(each, Inspection)], begun))
    trace_ids = _trace_ids(len(asked))
    results = [
        _result(each, next(judged), trace_id, begun) if isinstance(each, Inspection) else each
        for each, trace_id in zip(asked, trace_ids, strict=True)
    ]
    return listed(detection, results, request.scope["path"])


def _result(
    inspection: Inspection, judged: Judgement | BaseException, trace_id: UUID, begun: float
) -> bytes | BaseException:
    if isinstance(judged, BaseException):
        return judged
    return answer_of(judged, inspection.system_id, trace_id, begun)


def _inspections(detection: Detection, items: Sequence[object]) -> Sequence[Inspection | Exception]:
    """Read all items at once where they are alike and right, and else each on its own."""
    limits = detection.services.settings.limits
    try:
        bodies = [PredictBody.model_validate(item) for item in items]
        kinds = {(body.sensor_data.family, body.sampling_hz) for body in bodies}
        (name, rate_hz), *others = kinds
        if not others and name in family_names():
            windows = read_alike([b.sensor_data.channels for b in bodies], rate_hz, read_family(name), limits)
            if windows is not None:
                return list(map(_inspection, bodies, windows))
    except (ValidationError, InvalidInput):
        pass
    return [_inspection_or_error(detection, item) for item in items]


def _trace_ids(count: int) -> list[UUID]:
    """Draw random identifiers together: asked of the system one by one they cost a twelfth of the gateway's work."""
    drawn = os.urandom(16 * count)
    return [UUID(bytes=drawn[place : place + 16], version=4) for place in range(0, len(drawn), 16)]


def _inspection_or_error(detection: Detection, item: object) -> Inspection | Exception:
    try:
        body = PredictBody.model_validate(item)
        return _inspection(body, _window(detection, body))
    except (ValidationError, InvalidInput) as error:
        return error


def _window(detection: Detection, body: PredictBody) -> Window:
    data, limits = body.sensor_data, detection.services.settings.limits
    if data.family not in family_names():
        raise InvalidInput("sensor_data.family", data.family, f"must be one of {', '.join(family_names())}")
    return read_window(data.channels, body.sampling_hz, read_family(data.family), limits)


def _inspection(body: PredictBody, window: Window) -> Inspection:
    data = body.sensor_data
    return Inspection(
        window,
        data.family,
        detail=body.detail,
        owner=NO_TENANT,
        system_id=data.system_id,
        use_cache=body.use_cache,
    )


@router.post(
    "/internal/rag/api/v1/query",
    dependencies=[Depends(rag_key)],
    response_model=QueryReply,
    responses=problems.documented(400, 403, 413, 415, 429, 503),
    summary="Ask the built-in knowledge",
)
async def internal_query(body: QueryBody, services: Ports) -> Response:
    """Answer from the built-in knowledge; no tenant's documents are searched."""
    return JSONResponse(await ask(services, Asked(NO_TENANT, body.query, body.max_results)))


@router.get(
    "/internal/ml/health",
    response_model=MlHealthReply,
    responses={503: {"model": MlHealthReply, "description": "No detector can judge"}},
    summary="Check the detectors",
)
async def ml_health(health_check: CheckedParts) -> Response:
    """Name the detectors that have judged a window with every version they hold."""
    report = await health_check.report()
    state = report.checks["ml_service"]
    cache_up = report.checks["cache"] == "ok"
    body = {
        "status": WORDS["degraded" if state == "ok" and not cache_up else state],
        "models_loaded": list(report.loaded),
        "cache_status": "connected" if cache_up else "disconnected",
        "timestamp": round(report.timestamp, 3),
    }
    return JSONResponse(body, 503 if state == "down" else 200)


@router.get(
    "/internal/rag/health",
    response_model=RagHealthReply,
    responses={503: {"model": RagHealthReply, "description": "Questions cannot be answered"}},
    summary="Check the assistant",
)
async def rag_health(health_check: CheckedParts) -> Response:
    """Say whether a known passage was found."""
    report = await health_check.report()
    state = report.checks["rag_service"]
    body = {
        "status": WORDS[state],
        "timestamp": round(report.timestamp, 3),
        "service": "rag-service",
        "version": version(),
    }
    return JSONResponse(body, 503 if state == "down" else 200)


@router.get(
    "/metrics",
    dependencies=[Depends(any_key)],
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus text"}, **problems.documented(403)},
    summary="Read the metrics of all nodes",
)
async def metrics(services: Ports) -> Response:
    """Return counts and durations under the names of the former system, next to Ray's own."""
    return Response(await services.metrics.scrape(), media_type=PROMETHEUS)
