"""Takes what people say of an answer to a question, of answers alone that their own tenant was given."""

from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from serve_app.api import problems
from serve_app.api.auth import Worker
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.answers import AnswerFeedbackBody, AnswerFeedbackReply
from serve_app.shared import logs

router = APIRouter(prefix="/api/rag", tags=["assistant"], route_class=KeyedRoute)


@router.post(
    "/answers/{trace_id}/feedback/",
    response_model=AnswerFeedbackReply,
    responses=problems.documented(400, 401, 403, 404, 413, 415, 503),
    summary="Say whether an answer helped",
)
async def rate(trace_id: UUID, body: AnswerFeedbackBody, caller: Worker, services: Ports) -> Response:
    """Keep what an answer was worth, by the `x-request-id` that it came with; an account's last word counts."""
    account = f"key {caller.name}" if caller.user_id is None else f"user {caller.user_id}"
    kept = await services.store.answers.give(
        caller.tenant_id, trace_id, account, body.verdict, body.comment, caller.name
    )
    logs.note(verdict=body.verdict)
    shown = {
        "trace_id": str(kept.trace_id),
        "verdict": kept.verdict,
        "comment": kept.comment,
        "actor": kept.actor,
        "created_at": kept.created_at.isoformat(),
    }
    return JSONResponse(shown)
