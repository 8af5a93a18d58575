"""The audit over HTTP: who did what in the caller's tenant, to list and to take away, and what is signed of it."""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse, Response, StreamingResponse

from pipelines.errors import InvalidInput, NotFound
from serve_app.api import problems
from serve_app.api.auth import Admin
from serve_app.api.ports import Ports, Services
from serve_app.api.schemas.audit import CheckpointReply, NotesReply
from serve_app.api.schemas.base import Moment, Text
from serve_app.sealing import signer_of
from serve_app.shared.checkpoints import said_by
from serve_app.store.records import Note, written
from serve_app.store.records_audit import Wanted

LINES = "application/jsonl"
# What one export may span, and notes that are read at once for it. Source: own choices; a leap year, and less than a
# megabyte.
SPAN_MAX, ROWS = timedelta(days=366), 1000

router = APIRouter(prefix="/api/audit", tags=["audit"])

Given = Annotated[Text | None, Query(min_length=1, max_length=200, description="Exactly this one")]
Begin = Annotated[Moment | None, Query(alias="from", description="Written then or later")]
End = Annotated[Moment | None, Query(alias="to", description="Written before")]


@router.get("/", response_model=NotesReply, responses=problems.documented(401, 403), summary="List the audit")
async def list_notes(
    caller: Admin,
    services: Ports,
    actor: Given = None,
    action: Given = None,
    subject: Given = None,
    begin: Begin = None,
    end: End = None,
    before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return one page of notes, the newest first: who did what to whom."""
    wanted = Wanted(actor, action, subject, begin, end)
    found = await services.store.audit.page(caller.tenant_id, wanted, before, limit + 1)
    page = found[:limit]
    following = page[-1].audit_id if len(found) > limit else None
    return JSONResponse({"notes": [_shown(note) for note in page], "next": following})


@router.get(
    "/export/",
    responses={
        **problems.documented(401, 403),
        200: {"content": {LINES: {"schema": {"type": "string"}}}, "description": "A note a line, the newest first"},
    },
    response_class=StreamingResponse,
    summary="Take the audit away",
)
async def export_notes(
    caller: Admin,
    services: Ports,
    begin: Annotated[Moment, Query(alias="from", description="Written then or later, 366 days before `to`")],
    end: Annotated[Moment | None, Query(alias="to", description="Written before; now when left out")] = None,
    actor: Given = None,
    action: Given = None,
    subject: Given = None,
) -> Response:
    """Return all notes of a span as JSON lines. That they were taken is a note, too.

    `hdx audit export` writes them with what proves them.
    """
    end = end or datetime.now(UTC)
    if not begin < end or end - begin > SPAN_MAX:
        raise InvalidInput("from", begin.isoformat(), f"must be up to 366 days before to, {end.isoformat()}")
    wanted = Wanted(actor, action, subject, begin, end)
    first = await services.store.audit.page(caller.tenant_id, wanted, limit=ROWS)
    span = f"{written(begin)} to {written(end)}"
    await services.store.audit.note(caller.tenant_id, caller.name, "audit.exported", "audit", span)
    return StreamingResponse(_lines(services, caller.tenant_id, wanted, first), media_type=LINES)


async def _lines(services: Services, tenant_id: int, wanted: Wanted, page: Sequence[Note]) -> AsyncGenerator[bytes]:
    while page:
        yield b"".join(orjson.dumps(_shown(note)) + b"\n" for note in page)
        more = len(page) == ROWS
        page = await services.store.audit.page(tenant_id, wanted, page[-1].audit_id, ROWS) if more else ()


@router.get(
    "/checkpoint/",
    response_model=CheckpointReply,
    responses=problems.documented(401, 403, 404),
    summary="Read what is signed",
)
async def read_checkpoint(caller: Admin, services: Ports) -> Response:
    """Return the newest checkpoint of the tenant's notes; kept elsewhere, nothing before it changes unseen.

    There is one a few seconds after the first note.
    """
    kept = await services.store.seals.newest(caller.tenant_id)
    if kept is None:
        raise NotFound("checkpoint", "newest")
    said = said_by(kept.note)[0]
    at = datetime.fromtimestamp(said.time, UTC)
    shown = {"size": said.size, "root": said.root.hex(), "dropped": said.dropped, "signed_at": written(at)}
    return JSONResponse({**shown, "note": kept.note, "public_key": signer_of(services.settings).public_key})


def _shown(note: Note) -> dict[str, Any]:
    return {
        "audit_id": note.audit_id,
        "at": written(note.created_at),
        "actor": note.actor,
        "action": note.action,
        "subject": note.subject,
        "detail": note.detail,
    }
