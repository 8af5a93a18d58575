"""The machines of a tenant: every window belongs to one, and each to one family and to one state of its life."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from pipelines.errors import InvalidInput, UnknownFamily
from pipelines.machines.definition import in_units, units_of
from pipelines.machines.family import OWN_MARK, Family, family_names, name_of
from serve_app.api import problems
from serve_app.api.auth import Editor, Reader
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.life import LimitBody
from serve_app.api.schemas.systems import SystemBody, SystemChangeBody, SystemReply, SystemsReply
from serve_app.commissioning import limits_of, state_of
from serve_app.families import Families
from serve_app.store.records import Limits, System

KEY_MAX = 2_147_483_647

router = APIRouter(prefix="/api/systems", tags=["systems"], route_class=KeyedRoute)

SystemId = Annotated[int, Path(ge=1, le=KEY_MAX)]


@router.get("/", response_model=SystemsReply, responses=problems.documented(401), summary="List systems")
async def list_systems(
    caller: Reader,
    services: Ports,
    after: Annotated[int, Query(ge=0, le=KEY_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return one page, in order of the id."""
    found = await services.store.systems.page(caller.tenant_id, after, limit + 1)
    page = found[:limit]
    following = page[-1].system_id if len(found) > limit else None
    return JSONResponse({"systems": [_shown(system) for system in page], "next": following})


@router.post(
    "/",
    status_code=201,
    response_model=SystemReply,
    responses=problems.documented(400, 401, 403, 413, 415),
    summary="Add a system",
)
async def add_system(body: SystemBody, caller: Editor, services: Ports) -> Response:
    """Add a machine of a family that is shipped, or of one that the tenant has defined."""
    try:
        if OWN_MARK in body.family:
            raise UnknownFamily(body.family, family_names())
        family = await Families(services.store).of(caller.tenant_id, body.family)
    except UnknownFamily:
        rule = f"must be one of {', '.join(family_names())}, or one of your own, as GET /api/families/ lists them"
        raise InvalidInput("family", body.family, rule) from None
    if body.units and family.definition:
        rule = "must be left out: a family of your own says its units itself"
        raise InvalidInput("units", ", ".join(body.units), rule)
    spoken = in_units(family.name, tuple(body.units.items())).key if body.units else family.name
    given = body.name, spoken, body.description
    system = await services.store.systems.add(caller.tenant_id, *given, caller.name)
    return JSONResponse(_shown(system), 201, {"location": f"/api/systems/{system.system_id}/"})


@router.get(
    "/{system_id}/", response_model=SystemReply, responses=problems.documented(401, 404), summary="Read a system"
)
async def read_system(system_id: SystemId, caller: Reader, services: Ports) -> Response:
    """Return one of the tenant's systems."""
    shown = _shown(await services.store.systems.get(caller.tenant_id, system_id))
    watch = await services.store.watches.get(caller.tenant_id, system_id)
    return JSONResponse(shown | {"watched_until": None if watch is None else watch.judged_until.isoformat()})


@router.patch(
    "/{system_id}/",
    response_model=SystemReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415),
    summary="Change a system",
)
async def change_system(system_id: SystemId, body: SystemChangeBody, caller: Editor, services: Ports) -> Response:
    """Change name, description, state or limits; what is left out stays."""
    store, limits = services.store, None
    if body.limits is not None:
        system = await store.systems.get(caller.tenant_id, system_id)
        limits = _stated(body.limits, await Families(store).of(caller.tenant_id, system.family))
    system = await store.systems.change(
        caller.tenant_id, system_id, body.name, body.description, caller.name, body.state, limits
    )
    return JSONResponse(_shown(system))


def _stated(given: Mapping[str, LimitBody], family: Family) -> Limits:
    """Return limits as they are kept.

    Raises:
        InvalidInput: A channel is none of the family, its lowest value is not below its highest, or no window could
            ever pass an end, or keep to it.
    """
    channels = family.channels
    for name, ends in given.items():
        if name not in channels:
            raise InvalidInput("limits", name, f"must be by channel of the family, {', '.join(channels)}")
        channel = channels[name]
        for end, value in ends.model_dump(exclude_none=True).items():
            if not channel.low <= value <= channel.high:
                rule = f"must be between {channel.low:g} and {channel.high:g} {channel.unit}, as all samples are"
                raise InvalidInput(f"limits.{name}.{end}", value, rule)
        if ends.low is not None and ends.high is not None and ends.low >= ends.high:
            raise InvalidInput(f"limits.{name}.low", ends.low, f"must be below high, {ends.high:g}")
    stated = {name: ends.model_dump(exclude_none=True) for name, ends in given.items()}
    return {name: ends for name, ends in stated.items() if ends}


@router.delete(
    "/{system_id}/",
    status_code=204,
    responses=problems.documented(401, 403, 404),
    summary="Delete a system",
)
async def delete_system(system_id: SystemId, caller: Editor, services: Ports) -> Response:
    """Delete a system with what is normal for it and its diagnoses."""
    await services.store.systems.delete(caller.tenant_id, system_id, caller.name)
    return Response(status_code=204)


def _shown(system: System) -> dict[str, Any]:
    return {
        "system_id": system.system_id,
        "name": system.name,
        "family": name_of(system.family),
        "units": units_of(system.family),
        "description": system.description,
        **state_of(system),
        "is_anomaly": system.alarm,
        "limits": limits_of(system),
        "created_at": system.created_at.isoformat(),
    }
