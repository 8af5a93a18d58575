"""What is normal for a system: shown, learned from live or stored windows, widened by people, and forgotten."""

from hashlib import sha256
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from pipelines.datasets.exports import windows_in
from pipelines.datasets.mapping import Wanted
from serve_app.api import problems
from serve_app.api.auth import Editor, Reader
from serve_app.api.files import Columns, Files, Machine, Zone, in_words_of_the_api, words_of_the_api
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.base import Moment
from serve_app.api.schemas.files import BODY, TaughtReply
from serve_app.api.schemas.life import BaselineBody, BaselineReply
from serve_app.api.systems import SystemId
from serve_app.commissioning import Commissioning
from serve_app.families import Families

router = APIRouter(prefix="/api/systems", tags=["systems"], route_class=KeyedRoute)


@router.get(
    "/{system_id}/baseline/",
    response_model=BaselineReply,
    responses=problems.documented(401, 404, 409),
    summary="Read what is normal for a system",
)
async def read_baseline(system_id: SystemId, caller: Reader, services: Ports) -> Response:
    """Return state and progress, and the operating points with their levels in physical units."""
    return JSONResponse(await Commissioning(services.store).show(caller.tenant_id, system_id))


@router.post(
    "/{system_id}/baseline/",
    response_model=BaselineReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415),
    summary="Teach what is normal for a system",
)
async def teach_baseline(system_id: SystemId, body: BaselineBody, caller: Editor, services: Ports) -> Response:
    """End the commissioning with what was stored, learn from a span of stored windows, or accept an operating point."""
    commissioning = Commissioning(services.store)
    if body.accept is not None:
        await commissioning.accept(caller.tenant_id, system_id, body.accept, caller.name)
    elif body.begin is not None and body.end is not None:
        await commissioning.learn(caller.tenant_id, system_id, body.begin, body.end, caller.name)
    else:
        system = await services.store.systems.get(caller.tenant_id, system_id)
        await commissioning.finish(caller.tenant_id, system, caller.name)
    return JSONResponse(await commissioning.show(caller.tenant_id, system_id))


@router.post(
    "/{system_id}/baseline/file/",
    response_model=TaughtReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415, 429),
    openapi_extra={"requestBody": BODY},
    summary="Teach what is normal for a system from a file",
)
async def teach_baseline_from_file(
    system_id: SystemId,
    request: Request,
    caller: Editor,
    services: Ports,
    files: Files,
    begin: Annotated[Moment | None, Query(alias="from", description="Of the readings that count")] = None,
    end: Annotated[Moment | None, Query(alias="to", description="Outside the span")] = None,
    zone: Zone = None,
    column: Columns = None,
    machine: Machine = "",
    dry_run: Annotated[bool, Query(description="Only say how the file is read")] = False,
) -> Response:
    """Learn from readings while the machine ran well, in place of what was normal before; the file is not kept.

    Bodies may be packed by gzip (`content-encoding: gzip`).
    """
    commissioning, lines = Commissioning(services.store), list[str]()
    system = await services.store.systems.get(caller.tenant_id, system_id)
    family = await Families(services.store).of(caller.tenant_id, system.family)
    with words_of_the_api():
        wanted = Wanted.of(column or [], zone or "", machine)
    body = await files.body(request)
    given = family, body, wanted, lines.append, begin, end, files.limits.file_cells
    windows = await files.run(caller.tenant_id, windows_in, *given)
    if not dry_run:
        source = f"a file of {len(body)} bytes, SHA-256 {sha256(body).hexdigest()[:16]}"
        with words_of_the_api():
            await commissioning.teach(caller.tenant_id, system_id, windows, source, caller.name)
    shown = await commissioning.show(caller.tenant_id, system_id)
    told = list(map(in_words_of_the_api, lines))
    return JSONResponse({"dry_run": dry_run, "windows_read": len(windows), "read": told, "baseline": shown})


@router.delete(
    "/{system_id}/baseline/",
    status_code=204,
    responses=problems.documented(401, 403, 404),
    summary="Forget what is normal for a system",
)
async def forget_baseline(system_id: SystemId, caller: Editor, services: Ports) -> Response:
    """Forget it; the system is commissioned anew, with the windows that are stored from now on."""
    await services.store.systems.forget(caller.tenant_id, system_id, caller.name)
    return Response(status_code=204)
