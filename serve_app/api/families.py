"""Machine kinds: those that are shipped, and those that a tenant defines, with the versions of each."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator

from pipelines.datasets.exports import proposed
from pipelines.datasets.mapping import Wanted
from pipelines.errors import Conflict, Forbidden, NotFound
from pipelines.machines.definition import Definition, Name, find_family
from pipelines.machines.family import Family, family_names, read_family
from serve_app.api import problems
from serve_app.api.auth import Editor, Reader
from serve_app.api.files import Columns, Files, Zone, in_words_of_the_api, words_of_the_api
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.base import storable
from serve_app.api.schemas.families import FamiliesReply, FamilyBody, FamilyReply, NewFamilyBody
from serve_app.api.schemas.files import BODY, ProposalReply
from serve_app.families import as_kept
from serve_app.store.families import VERSIONS_MAX
from serve_app.store.records import StoredFamily

router = APIRouter(prefix="/api/families", tags=["families"], route_class=KeyedRoute)

FamilyName = Annotated[str, Path(min_length=1, max_length=63), AfterValidator(storable)]


@router.get("/", response_model=FamiliesReply, responses=problems.documented(401), summary="List machine kinds")
async def list_families(
    caller: Reader,
    services: Ports,
    after: Annotated[str, Query(max_length=63), AfterValidator(storable)] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return one page; the shipped ones stand on the first."""
    found = await services.store.families.page(caller.tenant_id, after, limit + 1)
    page = found[:limit]
    following = page[-1].name if len(found) > limit else None
    shipped = [] if after else [_shown(read_family(name)) for name in family_names()]
    return JSONResponse({"families": shipped + [_own(each) for each in page], "next": following})


@router.post(
    "/",
    status_code=201,
    response_model=FamilyReply,
    responses=problems.documented(400, 401, 403, 409, 413, 415),
    summary="Define a machine kind",
)
async def define_family(body: NewFamilyBody, caller: Editor, services: Ports) -> Response:
    """Define a kind; its systems are judged by their own normal until somebody trains on labels."""
    if body.name in family_names():
        raise Conflict("family", body.name)
    definition = as_kept(Definition.model_validate(body.model_dump(exclude={"name"})), services.settings.limits)
    stored = await services.store.families.add(caller.tenant_id, body.name, definition, caller.name)
    return JSONResponse(_own(stored), 201, {"location": f"/api/families/{stored.name}/"})


@router.post(
    "/proposal/",
    response_model=ProposalReply,
    responses=problems.documented(400, 401, 403, 409, 413, 415, 429),
    openapi_extra={"requestBody": BODY},
    summary="Propose a machine kind from a file",
)
async def propose_family(
    request: Request,
    caller: Editor,
    files: Files,
    name: Annotated[Name, Query(description="That systems will bear")],
    title: Annotated[str, Query(max_length=200, description="One line for people; the name when left out")] = "",
    zone: Zone = None,
    column: Columns = None,
) -> Response:
    """Return a definition for `POST /api/families/`, what is asked about, and how the file was read; keep nothing.

    Bodies may be packed by gzip (`content-encoding: gzip`).
    """
    if name in family_names():
        raise Conflict("family", name)
    with words_of_the_api():
        wanted = Wanted.of(column or [], zone or "")
    body = await files.body(request)
    limits = files.limits
    taken = limits.values_min, limits.values
    found = await files.run(caller.tenant_id, proposed, body, title or name, wanted, limits.file_cells, taken)
    definition = found.proposal.definition.model_dump(mode="json", exclude_none=True)
    return JSONResponse(
        {
            "definition": {"name": name, **definition},
            "asked": list(found.proposal.asked),
            "notes": list(map(in_words_of_the_api, found.lines)),
            "report": found.report.plain(),
        }
    )


@router.get("/{name}/", response_model=FamilyReply, responses=problems.documented(401, 404), summary="Read one")
async def read_one_family(
    name: FamilyName,
    caller: Reader,
    services: Ports,
    version: Annotated[int | None, Query(ge=1, le=VERSIONS_MAX)] = None,
) -> Response:
    """Return a kind, of the tenant's own in its newest version where none is asked for."""
    if name in family_names():
        if version is not None:
            raise NotFound("version", version)
        return JSONResponse(_shown(read_family(name)))
    return JSONResponse(_own(await services.store.families.get(caller.tenant_id, name, version)))


@router.put(
    "/{name}/",
    response_model=FamilyReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415),
    summary="Change a machine kind",
)
async def change_family(name: FamilyName, body: FamilyBody, caller: Editor, services: Ports) -> Response:
    """Make a new version of a kind, live within seconds; answers of before can be given again as they were."""
    _check_own(name)
    definition = as_kept(Definition.model_validate(body.model_dump()), services.settings.limits)
    return JSONResponse(_own(await services.store.families.change(caller.tenant_id, name, definition, caller.name)))


@router.delete(
    "/{name}/",
    status_code=204,
    responses=problems.documented(401, 403, 404, 409),
    summary="Remove a machine kind",
)
async def remove_family(name: FamilyName, caller: Editor, services: Ports) -> Response:
    """Remove a kind that no system is of."""
    _check_own(name)
    await services.store.families.remove(caller.tenant_id, name, caller.name)
    return Response(status_code=204)


def _check_own(name: str) -> None:
    if name in family_names():
        raise Forbidden(f"{name} is shipped with HDX: define a copy of it under a name of your own")


def _own(stored: StoredFamily) -> dict[str, Any]:
    return _shown(find_family(stored.name, stored.definition)) | {
        "version": stored.version,
        "actor": stored.actor,
        "created_at": stored.created_at.isoformat(),
    }


def _shown(family: Family) -> dict[str, Any]:
    fields = {"unit", "low", "high", "typical", "spread", "relation", "rate_hz"}
    return {
        "name": family.name,
        "title": family.title,
        "built_in": not family.definition,
        "version": None,
        "window_s": family.window_s,
        "channels": {
            name: channel.model_dump(include=fields) | {"required": not channel.extra}
            for name, channel in family.channels.items()
        },
        "components": list(family.components),
        "severity": family.severity.model_dump(exclude={"source"}),
        "actor": None,
        "created_at": None,
    }
