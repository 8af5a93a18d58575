"""Detect over HTTP: one window or many, each with its own answer or its own problem.

The work is `serve_app/detection`'s; here its answers become responses.
"""

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from pipelines.errors import InvalidInput, cause_of
from serve_app.api import problems
from serve_app.api.auth import Worker
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.schemas.detection import DetectBatchBody, DetectBatchReply, DetectBody, DetectReply
from serve_app.detection import Detection
from serve_app.shared import logs
from serve_app.store.records import Principal

JSON = "application/json"

router = APIRouter(prefix="/api/diagnostics", tags=["diagnostics"], route_class=KeyedRoute)


async def detection_of(request: Request) -> Detection:
    """Return this application's detection."""
    detection: Detection = request.app.state.detection
    return detection


Detecting = Annotated[Detection, Depends(detection_of)]


async def detect_own(
    detection: Detection, caller: Principal, body: DetectBody, trace_id: UUID, begun: float
) -> tuple[bytes, bool]:
    """Judge and store a window of the caller's own system; return the answer, and whether it is an alarm."""
    return await detection.own(caller.tenant_id, body.system_id, body.sensor_data, body.sampling_hz, trace_id, begun)


async def detect_one(detection: Detection, caller: Principal, body: DetectBody, begun: float) -> tuple[bytes, bool]:
    """Do so for a request of one window, under its trace id; a failure is counted."""
    try:
        answer, is_anomaly = await detect_own(detection, caller, body, UUID(logs.trace_id()), begun)
    except Exception as error:
        count_failure(detection, error)
        raise
    logs.note(system_id=body.system_id, is_anomaly=is_anomaly)
    return answer, is_anomaly


def count_failure(detection: Detection, error: BaseException) -> None:
    """Count a window that got no answer."""
    detection.services.metrics.failed(problems.problem_of(error).code)


@router.post(
    "/anomaly/detect/",
    response_model=DetectReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415, 429, 503),
    summary="Judge one window",
)
async def detect(body: DetectBody, caller: Worker, detection: Detecting) -> Response:
    """Say whether something is wrong, how sure that is, which component, and which channel says so."""
    answer, _ = await detect_one(detection, caller, body, time.perf_counter())
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
        return (await detect_own(detection, caller, DetectBody.model_validate(item), uuid4(), begun))[0]

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
    count_failure(detection, error)
    problem = problems.problem_of(error)
    if problem.status >= 500:
        logs.write("item.failed", logging.ERROR, cause_of(error), code=problem.code, index=place)
    return problems.encode(problems.under(problem, f"items[{place}]").body(path, logs.trace_id()))
