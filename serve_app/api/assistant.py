"""Ask, from question to cited answer, whole or as it is written, in one shape for the public and the internal face."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, format_sse_event

from pipelines.errors import UnknownFamily
from pipelines.knowledge.answer.answer import Event
from pipelines.knowledge.answer.faults import repair_question
from pipelines.knowledge.records import Answer, Citation, Hit
from pipelines.knowledge.search.index import BUILT_IN
from pipelines.knowledge.search.text import language_of, topics
from pipelines.machines.family import name_of
from serve_app.api import problems
from serve_app.api.auth import Reader
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Asked, Ports, Services
from serve_app.api.schemas.assistant import QueryBody, QueryReply
from serve_app.families import Families
from serve_app.history import Told, told
from serve_app.shared import logs
from serve_app.store.records_answers import Cited

Noted = Callable[[Sequence[Mapping[str, Any]]], Awaitable[None]]
EVENTS = EventSourceResponse.media_type
STREAMED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {EVENTS: {}},
        "description": "The answer; with `Accept: text/event-stream` as events `sources`, `token`*, `citations`, `done`"
        " or `error`, the tokens adding up to `response`",
    }
}

# How long an answer waits for its row. Source: own choice; it is written in milliseconds, and no answer needs it.
KEEP_S = 1.0

router = APIRouter(prefix="/api/rag", tags=["assistant"], route_class=KeyedRoute)


@router.post(
    "/query/",
    response_model=QueryReply,
    responses=STREAMED | problems.documented(400, 401, 404, 413, 415, 429, 503),
    summary="Ask the manuals",
)
async def query(request: Request, body: QueryBody, caller: Reader, services: Ports) -> Response:
    """Answer from the tenant's documents and the built-in knowledge, each sentence with its source, or abstain.

    What a system is, what changed on it and whether that happened before is answered from what is stored of it, in
    English and Russian: `document_id` of such a citation is the trace id of a diagnosis, `system-` or `event-` with a
    number, and `metadata.model` is `database`.
    """
    asked = Asked(caller.tenant_id, body.query, body.max_results)
    if body.system_id is not None:
        services, asked = await of_system(services, asked, body.system_id, body.query)
    if wants_events(request):
        return await streamed(services, asked, request.scope["path"])
    return JSONResponse(await ask(services, asked))


async def of_system(services: Services, asked: Asked, system_id: int, said: str) -> tuple[Services, Asked]:
    """Let what is stored of a system answer a question about it, and else add what is known of it to the question.

    Args:
        services: Answer it, or have answered it when they come back.
        asked: The question, maybe with what was said before it.
        system_id: What it is about.
        said: The question alone, which tells whether it is about the machine or for the manuals.

    Raises:
        NotFound: No such system in the caller's tenant.
    """
    answer = await told(services.store, asked.tenant_id, system_id, said, datetime.now(UTC))
    if answer is not None:
        return replace(services, assistant=Told(answer)), asked._replace(text=said)
    return services, await about(services, asked, system_id)


async def about(services: Services, asked: Asked, system_id: int) -> Asked:
    """Add to a question what is known of the system it is about; a question without a topic is about its last finding.

    Raises:
        NotFound: No such system in the caller's tenant.
    """
    system = await services.store.systems.get(asked.tenant_id, system_id)
    last = await services.store.diagnoses.last(asked.tenant_id, system_id)
    known = [f"The machine is {system.name}, of family {name_of(system.family)}."]
    text = asked.text
    try:
        family = await Families(services.store).of(asked.tenant_id, system.family)
    except UnknownFamily:
        family = None
    if last is not None and family and (finding := last.read_answer())["prediction"]["is_anomaly"]:
        language = language_of(text)
        fault = repair_question(finding, family, language)
        known.append(f"Its last finding, of {last.created_at:%Y-%m-%d %H:%M} UTC: {fault}")
        if not topics(text, language):
            text = f"{text} {fault}"
    return asked._replace(text=text, context=" ".join(known))


async def ask(services: Services, asked: Asked) -> dict[str, Any]:
    """Return the body of an answer, and count the question."""
    begun = time.perf_counter()
    try:
        answer = await services.assistant.ask(asked)
    except Exception as error:
        services.metrics.asked(problems.problem_of(error).code, time.perf_counter() - begun)
        raise
    await settle(services, asked, answer, time.perf_counter() - begun)
    return reply_of(answer, asked.limit, time.perf_counter() - begun)


async def streamed(services: Services, asked: Asked, path: str, *before: bytes, noted: Noted | None = None) -> Response:
    """Return an answer as events, after those that come before it; a search that fails is a problem, not a stream.

    Args:
        services: Answer it.
        asked: The question.
        path: Of the request.
        before: Events that come first.
        noted: Told what was found, as it is shown.
    """
    begun = time.perf_counter()
    written = services.assistant.stream(asked)
    first = await anext(written)
    if noted is not None and isinstance(first, tuple):
        await noted([source_of(hit) for hit in first])
    return EventSourceResponse(_events(services, asked, first, written, begun, path, before))


async def _events(
    services: Services,
    asked: Asked,
    first: tuple[Hit, ...] | Event,
    written: AsyncGenerator[tuple[Hit, ...] | Event],
    begun: float,
    path: str,
    before: tuple[bytes, ...],
) -> AsyncGenerator[bytes]:
    for sent in before:
        yield sent
    if isinstance(first, tuple):
        yield event_of("sources", [source_of(hit) for hit in first])
    try:
        async with aclosing(written) as events:
            async for event in events:
                if isinstance(event, str):
                    yield event_of("token", {"text": event})
                elif isinstance(event, Answer):
                    seconds = time.perf_counter() - begun
                    await settle(services, asked, event, seconds)
                    yield event_of("citations", [citation_of(citation) for citation in event.citations])
                    yield event_of("done", _metadata(event, seconds) | _troubleshooting(event))
    except Exception as error:
        services.metrics.asked(problems.problem_of(error).code, time.perf_counter() - begun)
        yield event_of("error", problems.problem_of(error).body(path, logs.trace_id()))


def wants_events(request: Request) -> bool:
    """Tell whether the caller asks for a stream of events."""
    return EVENTS in request.headers.get("accept", "")


def event_of(name: str, data: object) -> bytes:
    """Return a server-sent event."""
    return format_sse_event(event=name, data_str=orjson.dumps(data).decode())


def reply_of(answer: Answer, limit: int, seconds: float) -> dict[str, Any]:
    """Return the body of an answer."""
    return {
        "response": answer.text,
        "sources": [source_of(hit) for hit in answer.hits[:limit]],
        "citations": [citation_of(citation) for citation in answer.citations],
        **_troubleshooting(answer),
        "metadata": _metadata(answer, seconds),
    }


def _troubleshooting(answer: Answer) -> dict[str, Any]:
    return {"safety": [asdict(note) for note in answer.safety], "steps": [asdict(step) for step in answer.steps]}


def _metadata(answer: Answer, seconds: float) -> dict[str, Any]:
    return {
        "model": answer.model,
        "processing_time_ms": round(1e3 * seconds, 3),
        "timings_ms": {part: round(milliseconds, 3) for part, milliseconds in answer.milliseconds.items()},
        "tokens_used": answer.tokens,
        "grounded": answer.grounded,
        "abstained": answer.abstained,
        "degraded": answer.degraded,
        "reason": answer.reason,
    }


async def settle(services: Services, asked: Asked, answer: Answer, seconds: float) -> None:
    """Count a question that was answered, and keep the answer for what people say of it; no answer fails for that."""
    outcome = "abstained" if answer.abstained else "degraded" if answer.degraded else "grounded"
    services.metrics.asked(outcome, seconds)
    logs.note(outcome=outcome, sources=len(answer.hits))
    if asked.tenant_id == BUILT_IN:
        return
    cited = [Cited(each.document_id, each.title, each.page, each.start, each.end) for each in answer.citations]
    try:
        async with asyncio.timeout(KEEP_S):
            await services.store.answers.add(
                asked.tenant_id, UUID(logs.trace_id()), asked.text, cited, answer.abstained
            )
    except Exception as error:
        logs.write("answer.unkept", logging.WARNING, error)


def source_of(hit: Hit) -> dict[str, Any]:
    """Return a passage as it is shown."""
    passage = hit.passage
    return {
        "document_id": passage.document_id,
        "title": passage.title,
        "snippet": passage.text,
        "score": round(float(hit.score), 6),
        "page": passage.page,
        "start": passage.start,
        "end": passage.end,
    }


def citation_of(citation: Citation) -> dict[str, Any]:
    """Return a quote as it is shown."""
    shown = asdict(citation)
    return {"n": shown.pop("number"), **shown}
