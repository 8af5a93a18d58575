"""What happened to a machine: alarms raised and cleared, states, readings that came late or stayed away."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from fastapi.sse import EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from pipelines.errors import HdxError, Overloaded
from serve_app.api import problems
from serve_app.api.assistant import EVENTS, event_of, wants_events
from serve_app.api.auth import Authenticating, Reader
from serve_app.api.ports import Ports, Services
from serve_app.api.schemas.base import LARGEST
from serve_app.api.schemas.systems import EventsReply
from serve_app.api.systems import SystemId
from serve_app.shared import logs
from serve_app.store.records_watching import Event

# Seconds between two looks for what has happened, and looks after which one that listens is written to all the same.
# Source: own choices; people read no faster, and proxies cut what is silent for a minute.
LOOK_S, QUIET = 1.0, 15
# Who listen to one replica at a time, of all tenants and of one; each asks the database once a second. Source: own
# choice.
LISTENERS_MAX, LISTENERS_OF_TENANT = 100, 20

router = APIRouter(prefix="/api/systems", tags=["systems"])


@router.get(
    "/{system_id}/events/",
    response_model=EventsReply,
    responses={
        **problems.documented(401, 404, 429),
        200: {"content": {EVENTS: {}}},
    },
    summary="Read what happened",
)
async def read_events(
    system_id: SystemId,
    request: Request,
    caller: Reader,
    services: Ports,
    authenticator: Authenticating,
    after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    last_event_id: Annotated[str, Header(pattern=r"^[0-9]{1,16}$")] = "0",
) -> Response:
    """Return one page, in the order in which it was found out.

    With `Accept: text/event-stream` what comes after `after`, or after the header `Last-Event-ID`, as it happens.
    """
    await services.store.systems.get(caller.tenant_id, system_id)
    if wants_events(request):
        listeners: Counter[int] = request.app.state.listeners
        if listeners.total() >= LISTENERS_MAX or listeners[caller.tenant_id] >= LISTENERS_OF_TENANT:
            raise Overloaded(5)
        begin = max(after, int(last_event_id))
        still_holds = partial(authenticator.check_again, caller, request.headers)
        stream = _stream(services, still_holds, caller.tenant_id, system_id, begin, request.scope["path"])
        return _Listened(stream, listeners, caller.tenant_id)
    found = await services.store.events.page(caller.tenant_id, system_id, after, limit + 1)
    page = found[:limit]
    following = page[-1].event_id if len(found) > limit else None
    return JSONResponse({"events": [_shown(each) for each in page], "next": following})


class _Listened(EventSourceResponse):
    """A stream that counts as a listener from when it is allowed, before it begins, until it ends."""

    def __init__(self, stream: AsyncGenerator[bytes], listeners: Counter[int], tenant_id: int) -> None:
        super().__init__(stream)
        self._listeners, self._tenant_id = listeners, tenant_id
        listeners[tenant_id] += 1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._listeners[self._tenant_id] -= 1


async def _stream(
    services: Services,
    still_holds: Callable[[], Awaitable[None]],
    tenant_id: int,
    system_id: int,
    after: int,
    path: str,
) -> AsyncGenerator[bytes]:
    """Yield events as they are found out, until whoever listens leaves or is shut out, or the system is deleted."""
    quiet = 0
    while True:
        try:
            await still_holds()
            await services.store.systems.get(tenant_id, system_id)
            found = await services.store.events.page(tenant_id, system_id, after)
        except HdxError as error:
            yield event_of("error", problems.problem_of(error).body(path, logs.trace_id()))
            return
        for each in found:
            after = each.event_id
            yield format_sse_event(event=each.kind, data_str=orjson.dumps(_shown(each)).decode(), id=str(after))
        quiet = 0 if found else quiet + 1
        if quiet >= QUIET:
            quiet = 0
            yield format_sse_event(comment="nothing happened")
        await asyncio.sleep(LOOK_S)


def _shown(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "at": event.at.isoformat(),
        "kind": event.kind,
        "text": event.text,
        "trace_id": None if event.trace_id is None else str(event.trace_id),
        "created_at": event.created_at.isoformat(),
    }
