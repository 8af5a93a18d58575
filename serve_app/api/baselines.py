"""What is normal for a system: shown, learned from live or stored windows, widened by people, and forgotten."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from serve_app.api import problems
from serve_app.api.auth import Editor, Reader
from serve_app.api.ports import Ports
from serve_app.api.schemas.life import BaselineBody, BaselineReply
from serve_app.api.systems import SystemId
from serve_app.commissioning import Commissioning

router = APIRouter(prefix="/api/systems", tags=["systems"])


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
