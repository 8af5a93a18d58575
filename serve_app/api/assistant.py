"""Ask, from question to cited answer.

Exists so that the public and the internal face give one and the same shape of answer.
"""

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from pipelines.knowledge.records import Answer, Hit
from serve_app import logs
from serve_app.api import problems
from serve_app.api.auth import Reader
from serve_app.api.ports import Ports, Services
from serve_app.api.schemas import QueryBody, QueryReply

router = APIRouter(prefix="/api/rag", tags=["assistant"])


@router.post(
    "/query/",
    response_model=QueryReply,
    responses=problems.documented(400, 401, 404, 413, 415, 429, 503),
    summary="Ask the manuals",
)
async def query(body: QueryBody, caller: Reader, services: Ports) -> Response:
    """Answer from the tenant's documents and the built-in knowledge, each sentence with its source, or abstain."""
    if body.system_id is not None:
        await services.store.system(caller.tenant_id, body.system_id)
    return JSONResponse(await ask(services, caller.tenant_id, body.query, body.max_results))


async def ask(services: Services, tenant_id: int, text: str, limit: int) -> dict[str, Any]:
    """Return the body of an answer, and count the question."""
    begun = time.perf_counter()
    try:
        answer = await services.assistant.ask(tenant_id, text, limit)
    except Exception as error:
        services.metrics.asked(problems.problem_of(error).code, time.perf_counter() - begun)
        raise
    seconds = time.perf_counter() - begun
    outcome = _outcome(answer)
    services.metrics.asked(outcome, seconds)
    logs.note(outcome=outcome, sources=len(answer.hits))
    return {
        "response": answer.text,
        "sources": [_source(hit) for hit in answer.hits[:limit]],
        "citations": [asdict(citation) for citation in answer.citations],
        "metadata": {
            "model": answer.model,
            "processing_time_ms": round(1e3 * seconds, 3),
            "tokens_used": answer.tokens,
            "grounded": answer.grounded,
            "abstained": answer.abstained,
            "degraded": answer.degraded,
            "reason": answer.reason,
        },
    }


def _outcome(answer: Answer) -> str:
    if answer.abstained:
        return "abstained"
    return "degraded" if answer.degraded else "grounded"


def _source(hit: Hit) -> dict[str, Any]:
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
