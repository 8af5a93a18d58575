"""Jobs: files that are more than one request takes, from their bodies to what became of them."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from pipelines.datasets.mapping import Wanted
from serve_app.acquisition import GZIP
from serve_app.api import problems
from serve_app.api.auth import Reader, Worker
from serve_app.api.files import check_beginning, in_words_of_the_api
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.middleware.request import IS_LONG, JSON_TYPE, media_type
from serve_app.api.ports import Ports, Services
from serve_app.api.schemas.base import LARGEST
from serve_app.api.schemas.jobs import JobReply, JobsReply
from serve_app.shared import logs
from serve_app.store.protocols import StoreParts
from serve_app.store.records import Principal, written
from serve_app.store.records_jobs import Job, Ordered

# Bytes of a file in one row. Source: own choice; a hundredth of a second of the database, and few rows.
PART = 4 * 2**20

router = APIRouter(prefix="/api/jobs", tags=["jobs"], route_class=KeyedRoute)


async def begin(services: Services, caller: Principal, system_id: int, request: Request, wanted: Wanted) -> Response:
    """Keep the body of a request, and ask for the job that makes readings of it.

    Raises:
        MalformedBody: It is not what its headers say.
        Overloaded: The tenant has as many jobs as may wait, or as many bytes of them.
    """
    kind = media_type(request.headers.get("content-type", ""))
    given = {
        "json": kind in (JSON_TYPE, ""),
        "columns": dict(wanted.columns),
        "zone": wanted.zone,
        "machine": wanted.machine,
    }
    job_id, limits = uuid4(), services.settings.limits
    store, tenant_id = services.store, caller.tenant_id
    await store.jobs.check_room(tenant_id, limits.jobs)
    try:
        size = await _keep(store, tenant_id, job_id, _checked(request, kind), limits.jobs_bytes)
        # What is long is likely to take long; the rest shows whether it does.
        order = Ordered(job_id, "readings", system_id, given, size, "file" if request.scope[IS_LONG] else "job")
        job = await store.jobs.add(tenant_id, order, limits.jobs, caller.name)
    except BaseException:
        await asyncio.shield(_discard(store, tenant_id, job_id))
        raise
    logs.note(system_id=system_id, job_id=str(job_id))
    return JSONResponse(_shown(job), 202, {"location": f"/api/jobs/{job_id}/"})


@router.get("/", response_model=JobsReply, responses=problems.documented(401), summary="List jobs")
async def list_jobs(
    caller: Reader,
    services: Ports,
    before: Annotated[int | None, Query(ge=1, le=LARGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return one page, the newest first."""
    found = await services.store.jobs.page(caller.tenant_id, before, limit + 1)
    page = found[:limit]
    following = page[-1].number if len(found) > limit else None
    return JSONResponse({"jobs": [_shown(job) for job in page], "next": following})


@router.get("/{job_id}/", response_model=JobReply, responses=problems.documented(401, 404), summary="Follow a job")
async def read_job(job_id: UUID, caller: Reader, services: Ports) -> Response:
    """Say how far a job is, and what became of what was sent."""
    return JSONResponse(_shown(await services.store.jobs.get(caller.tenant_id, job_id)))


@router.post(
    "/{job_id}/cancel/",
    response_model=JobReply,
    responses=problems.documented(401, 403, 404),
    summary="Cancel a job",
)
async def cancel_job(job_id: UUID, caller: Worker, services: Ports) -> Response:
    """End a job; what is kept of it by then stays kept, and its report says what that is.

    One that has ended stays as it is, and the answer says how it ended.
    """
    return JSONResponse(_shown(await services.store.jobs.cancel(caller.tenant_id, job_id, caller.name)))


async def _checked(request: Request, kind: str) -> AsyncIterator[bytes]:
    """Yield a body as it comes, once it begins as its type does.

    Raises:
        MalformedBody: It is another one.
    """
    if not request.scope[IS_LONG]:
        yield await request.body()
        return
    first = True
    async for chunk in request.stream():
        if first and chunk[:2] != GZIP:
            check_beginning(chunk, kind)
        first = False
        yield chunk


async def _keep(store: StoreParts, tenant_id: int, job_id: UUID, chunks: AsyncIterator[bytes], most: int) -> int:
    """Keep a file in parts; return how many bytes it has."""
    waiting, size, number = bytearray(), 0, 0
    async for chunk in chunks:
        waiting += chunk
        size += len(chunk)
        while len(waiting) >= PART:
            await store.jobs.keep_file(tenant_id, job_id, number, bytes(waiting[:PART]), most)
            del waiting[:PART]
            number += 1
    if waiting:
        await store.jobs.keep_file(tenant_id, job_id, number, bytes(waiting), most)
    return size


async def _discard(store: StoreParts, tenant_id: int, job_id: UUID) -> None:
    """Forget what was kept; where that fails it goes by itself, in an hour."""
    with logs.surviving("job.parts_stay", job_id=str(job_id)):
        await store.jobs.discard(tenant_id, job_id)


def _shown(job: Job) -> dict[str, Any]:
    return {
        "job_id": str(job.job_id),
        "kind": job.kind,
        "state": job.state,
        "system_id": job.system_id,
        "bytes": job.bytes,
        "progress": {"done": job.done, "total": job.total},
        "report": dict(job.report) or None,
        "reason": in_words_of_the_api(job.reason),
        "created_by": job.created_by,
        "created_at": written(job.created_at),
        "updated_at": written(job.updated_at),
    }
