"""Detect and ask in one call: what is wrong, and what the manuals say to do about it.

The finding comes first, and no failure of the advice can lose it.
"""

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Literal
from uuid import UUID

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import Response
from fastapi.sse import EventSourceResponse, format_sse_event

from pipelines.errors import cause_of
from pipelines.knowledge.answer.faults import repair_question
from serve_app.api import problems
from serve_app.api.assistant import STREAMED, ask, event_of, streamed, wants_events
from serve_app.api.auth import Worker
from serve_app.api.diagnostics import JSON, Detecting, detect_one
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Asked, Ports
from serve_app.api.schemas.assistant import DiagnoseBody, DiagnoseReply
from serve_app.families import Families
from serve_app.shared import logs
from serve_app.store.records import Principal

router = APIRouter(prefix="/api/diagnostics", tags=["diagnostics"], route_class=KeyedRoute)


@router.post(
    "/diagnose/",
    response_model=DiagnoseReply,
    responses=STREAMED | problems.documented(400, 401, 403, 404, 409, 413, 415, 429, 503),
    summary="Judge one window, and say what to do",
)
async def diagnose(
    request: Request, body: DiagnoseBody, caller: Worker, detection: Detecting, services: Ports
) -> Response:
    """Judge a window as detect does; where something is wrong, add the repair from the manuals, each step cited.

    With `Accept: text/event-stream` the event `finding` comes first, then those of an answer.
    """
    path = request.scope["path"]
    answer, is_anomaly = await detect_one(detection, caller, body, time.perf_counter())
    question, reason = "", ""
    advice: dict[str, Any] | None = None
    finding = format_sse_event(event="finding", data_str=answer.decode())
    try:
        question = await _question(services, caller.tenant_id, body, request, answer) if is_anomaly else ""
        # A part's own name in it is the tenant's, and no identifier that a manual must know.
        asked = Asked(caller.tenant_id, question, body.max_results, context=question)
        if wants_events(request):
            if not is_anomaly:
                return EventSourceResponse(iter([finding, event_of("done", {"query": ""})]))
            return await streamed(services, asked, path, finding, noted=partial(_note, services, caller))
        if is_anomaly:
            advice = await ask(services, asked)
            await _note(services, caller, advice["sources"])
    except Exception as error:
        problem = problems.problem_of(error)
        logs.write("advice.failed", logging.WARNING, cause_of(error), code=problem.code)
        if wants_events(request):
            lost = event_of("error", problem.body(path, logs.trace_id()))
            return EventSourceResponse(iter([finding, lost]))
        reason = problem.title
    ends = {"query": question, "advice": advice, "reason": reason}
    return Response(b'{"finding":%b,%b' % (answer, orjson.dumps(ends)[1:]), media_type=JSON)


async def _note(services: Ports, caller: Principal, sources: Sequence[Mapping[str, Any]]) -> None:
    """Keep which passages the advice was written from: where they stand, and a hash of what they said."""
    kept = [
        {name: source[name] for name in ("document_id", "page", "start", "end")}
        | {"sha256": sha256(source["snippet"].encode()).hexdigest()}
        for source in sources
    ]
    await services.store.diagnoses.consult(caller.tenant_id, UUID(logs.trace_id()), kept)


async def _question(services: Ports, tenant_id: int, body: DiagnoseBody, request: Request, answer: bytes) -> str:
    """Put the question for the repair, in the caller's language."""
    asked_for = request.headers.get("accept-language", "").strip().lower()
    language: Literal["en", "ru"] = body.language or ("ru" if asked_for.startswith("ru") else "en")
    system = await services.store.systems.get(tenant_id, body.system_id)
    family = await Families(services.store).of(tenant_id, system.family)
    return repair_question(orjson.loads(answer), family, language)
