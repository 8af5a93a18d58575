"""What machines send: taken in once, read back without losing a peak, and what is no good reading, for review."""

import asyncio
import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from pipelines.datasets.mapping import Wanted
from pipelines.errors import InvalidInput, OverLimit, TooLarge
from pipelines.machines.family import Family
from serve_app.acquisition import AHEAD, EARLIEST, Acquired, accepted, read_json
from serve_app.api import jobs, problems
from serve_app.api.auth import Reader, Worker
from serve_app.api.files import Columns, FileReader, Files, Machine, Zone, words_of_the_api
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.middleware.request import CSV_TYPE, IS_LONG, JSON_TYPE, media_type
from serve_app.api.ports import Ports
from serve_app.api.schemas.base import LARGEST, Moment, Text
from serve_app.api.schemas.jobs import JobReply
from serve_app.api.schemas.readings import BODY, QuarantineReply, ReadingsReply, SentReply, SettleBody, SettledReply
from serve_app.api.systems import SystemId
from serve_app.families import Families
from serve_app.reading_files import Bounds, read_file
from serve_app.shared import logs
from serve_app.store.records import Series, written

ARROW_TYPE = "application/vnd.apache.arrow.stream"
POINTS, POINTS_MAX, CHANNELS_MAX = 1000, 5000, 64
USUAL_SPAN = timedelta(days=1)

router = APIRouter(prefix="/api/systems", tags=["systems"], route_class=KeyedRoute)


@router.post(
    "/{system_id}/readings/",
    response_model=SentReply,
    responses={
        **problems.documented(400, 401, 403, 404, 409, 413, 415, 429, 503),
        202: {"model": JobReply, "description": "More than one request takes: kept by a job, at `Location`"},
    },
    openapi_extra={"requestBody": BODY},
    summary="Send readings",
)
async def send_readings(
    system_id: SystemId,
    request: Request,
    caller: Worker,
    services: Ports,
    files: Files,
    zone: Zone = None,
    column: Columns = None,
    machine: Machine = "",
) -> Response:
    """Keep 1 to 10,000 rows, each value once; what is out of range, of bad quality or of no channel is set aside.

    Bodies may be packed by gzip (`content-encoding: gzip`). Sent again, nothing changes. More rows are kept by a job,
    which `Location` names (202).
    """
    store = services.store
    system = await store.systems.get(caller.tenant_id, system_id)
    family = await Families(store).of(caller.tenant_id, system.family)
    with words_of_the_api():
        wanted = Wanted.of(column or [], zone or "", machine)
    if request.scope[IS_LONG]:
        return await jobs.begin(services, caller, system_id, request, wanted)
    try:
        found = await _acquired(request, caller.tenant_id, files, family, wanted)
        stored = await store.readings.add(caller.tenant_id, system_id, found.readings, found.suspects, caller.name)
    except (OverLimit, TooLarge):
        return await jobs.begin(services, caller, system_id, request, wanted)
    counts = stored._asdict()
    logs.note(system_id=system_id, **counts)
    return JSONResponse({"system_id": system_id, **counts, "empty": found.empty, "notes": list(found.notes)})


async def _acquired(request: Request, tenant_id: int, files: FileReader, family: Family, wanted: Wanted) -> Acquired:
    """Read the body of a request.

    Raises:
        OverLimit: It holds more than one request takes.
        TooLarge: It unpacks to more.
    """
    body, now = await files.body(request), datetime.now(UTC)
    if media_type(request.headers.get("content-type", "")) in (JSON_TYPE, ""):
        return await asyncio.to_thread(read_json, body, family, now)
    return await files.run(tenant_id, read_file, body, family, wanted, now, Bounds(cells=files.limits.file_cells))


@router.get(
    "/{system_id}/readings/",
    response_model=ReadingsReply,
    responses={
        **problems.documented(401, 404, 409, 429, 503),
        200: {"content": {CSV_TYPE: {"schema": {"type": "string"}}, ARROW_TYPE: {}}},
    },
    summary="Read readings back",
)
async def read_readings(
    system_id: SystemId,
    request: Request,
    caller: Reader,
    services: Ports,
    begin: Annotated[Moment | None, Query(alias="from", description="A day before `to` when left out")] = None,
    end: Annotated[Moment | None, Query(alias="to", description="Outside the span; now when left out")] = None,
    channel: Annotated[list[Text] | None, Query(max_length=CHANNELS_MAX, description="All when left out")] = None,
    points: Annotated[int, Query(ge=4, le=POINTS_MAX, description="Most of each channel")] = POINTS,
) -> Response:
    """Return a span; of a channel with more readings than `points` no peak is lost.

    First, least, greatest and last stand for each equal part. `Accept` chooses JSON, `text/csv` or Arrow, both with one
    row a reading. Days that were archived are read from their files, up to 400 of a span.
    """
    system = await services.store.systems.get(caller.tenant_id, system_id)
    family = await Families(services.store).of(caller.tenant_id, system.family)
    begin, end = _span(begin, end, datetime.now(UTC))
    given = caller.tenant_id, system_id, begin, end, points, channel
    found = await services.store.readings.span(*given, archived=True)
    accept = request.headers.get("accept", "")
    if CSV_TYPE in accept:
        return Response(_csv(found), media_type=CSV_TYPE)
    if ARROW_TYPE in accept:
        return Response(_arrow(found), media_type=ARROW_TYPE)
    span = {"system_id": system_id, "from": begin.isoformat(), "to": end.isoformat()}
    return JSONResponse({**span, "channels": [_shown(each, family) for each in found]})


@router.get(
    "/{system_id}/readings/quarantine/",
    response_model=QuarantineReply,
    responses=problems.documented(401, 404),
    summary="Review what was set aside",
)
async def read_quarantine(
    system_id: SystemId,
    caller: Reader,
    services: Ports,
    after: Annotated[int, Query(ge=0, le=LARGEST)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Response:
    """Return one page of values that are no good readings, with the reason of each, in the order in which they came."""
    await services.store.systems.get(caller.tenant_id, system_id)
    found = await services.store.readings.quarantined(caller.tenant_id, system_id, after, limit + 1)
    page = found[:limit]
    following = page[-1].quarantine_id if len(found) > limit else None
    shown = [{**asdict(each), "at": written(each.at), "created_at": each.created_at.isoformat()} for each in page]
    return JSONResponse({"quarantine": shown, "next": following})


@router.post(
    "/{system_id}/readings/quarantine/",
    response_model=SettledReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415),
    summary="Decide on what was set aside",
)
async def settle_quarantine(system_id: SystemId, body: SettleBody, caller: Worker, services: Ports) -> Response:
    """Accept values as readings, and dismiss others; neither is listed any more, and the audit says who did it."""
    store = services.store
    system = await store.systems.get(caller.tenant_id, system_id)
    family = await Families(store).of(caller.tenant_id, system.family)
    found = await store.readings.set_aside(caller.tenant_id, system_id, [*body.accept, *body.dismiss])
    rows = accepted([each for each in found if each.quarantine_id in set(body.accept)], family)
    await store.readings.settle(caller.tenant_id, system_id, rows, body.dismiss, caller.name)
    counts = {"accepted": len(body.accept), "dismissed": len(body.dismiss)}
    logs.note(system_id=system_id, **counts)
    return JSONResponse({"system_id": system_id, **counts})


def _span(begin: datetime | None, end: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """Return the span that is asked for, within that in which readings can be.

    Raises:
        InvalidInput: It ends before it begins.
    """
    end = max(min(end or now, now + 2 * AHEAD), EARLIEST)
    begin = end - USUAL_SPAN if begin is None else begin
    if begin >= end:
        raise InvalidInput("from", begin.isoformat(), f"must be before to, {end.isoformat()}")
    begin = max(begin, EARLIEST)
    return begin.astimezone(UTC), max(end, begin).astimezone(UTC)


def _shown(each: Series, family: Family) -> dict[str, Any]:
    known = family.channels.get(each.channel)
    return {
        "channel": each.channel,
        "unit": None if known is None else known.unit,
        "count": each.count,
        "downsampled": each.count > len(each.points),
        "at": [written(at) for at, _ in each.points],
        "values": [value for _, value in each.points],
    }


def _csv(found: Sequence[Series]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("at", "channel", "value"))
    for each in found:
        writer.writerows((written(at), each.channel, value) for at, value in each.points)
    return text.getvalue()


def _arrow(found: Sequence[Series]) -> bytes:
    import pyarrow as pa

    rows = [(at, each.channel, value) for each in found for at, value in each.points]
    schema = pa.schema([("at", pa.timestamp("us", "UTC")), ("channel", pa.string()), ("value", pa.float64())])
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], [], []]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(pa.table(columns, schema=schema))
    content: bytes = sink.getvalue().to_pybytes()
    return content
