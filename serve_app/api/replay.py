"""Reads stored answers back with all that they followed from, and gives them again by the versions of their day."""

import base64
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

import orjson
from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from pipelines.diagnosis.records import Inspection
from pipelines.errors import Conflict
from pipelines.machines.commissioning import Normal
from pipelines.machines.definition import units_of
from pipelines.machines.family import Family, name_of
from pipelines.signals.reading import is_known
from pipelines.signals.windows import stored_window
from serve_app.api import problems
from serve_app.api.auth import Reader, Worker
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.replay import ReplayReply, StoredReply
from serve_app.families import Families
from serve_app.store.records import StoredDiagnosis

router = APIRouter(prefix="/api/diagnostics", tags=["diagnostics"], route_class=KeyedRoute)

# What an answer says of its own making, and not of the machine.
OWN = ("system_id", "system", "window_end", "cache_hit", "total_processing_time_ms", "trace_id")
TIMES = "processing_time_ms"


@router.get(
    "/{trace_id:uuid}/",
    response_model=StoredReply,
    responses=problems.documented(401, 404),
    summary="Read a diagnosis back",
)
async def read(trace_id: UUID, caller: Reader, services: Ports) -> Response:
    """Return the diagnosis as it was answered, with the window it answered and all else that it followed from."""
    stored = await services.store.diagnoses.get(caller.tenant_id, trace_id)
    answer = stored.read_answer()
    passages = await services.store.diagnoses.passages(caller.tenant_id, trace_id)
    return JSONResponse(
        {
            "trace_id": str(stored.trace_id),
            "system_id": stored.system_id,
            "family": name_of(stored.family),
            "units": units_of(stored.family),
            "created_at": stored.created_at.isoformat(),
            "window": stored.window,
            "answer": answer,
            "evidence": _evidence(stored, answer) | {"passages": passages},
        }
    )


@router.post(
    "/{trace_id}/replay/",
    response_model=ReplayReply,
    responses=problems.documented(401, 403, 404, 409, 503),
    summary="Give a stored answer again",
)
async def replay(trace_id: UUID, caller: Worker, services: Ports) -> Response:
    """Judge the stored window again with the versions, the baseline and the state of that day; nothing is stored.

    `identical` says that every number and word is the same, up to the time that it took.
    """
    stored = await services.store.diagnoses.get(caller.tenant_id, trace_id)
    answer = stored.read_answer()
    family = await Families(services.store).of_answer(caller.tenant_id, stored.family)
    judgement = await services.diagnoser.diagnose(inspection_of(stored, family, versions_of(answer), caller.tenant_id))
    found = orjson.loads(judgement.findings)
    before = {name: value for name, value in answer.items() if name not in OWN}
    _number_point(found, before)
    differences = list(apart(_by_detector(before), _by_detector(found)))
    shown = {"trace_id": str(trace_id), "identical": not differences, "differences": differences, "findings": found}
    return JSONResponse(shown)


def inspection_of(stored: StoredDiagnosis, family: Family, versions: Mapping[str, str], tenant_id: int) -> Inspection:
    """Return what a tenant asked that day, of the versions that answered.

    Raises:
        Conflict: The answer is older than the record of what it followed from.
    """
    if stored.alarm is None:
        rule = "must be of an answer that is younger than the record of what answers follow from"
        raise Conflict("trace_id", stored.trace_id, rule)
    window = stored_window(stored.window)
    normal = None if stored.baseline is None else Normal.from_bytes(stored.baseline)
    # Answers older than the life of systems say nothing of it.
    state = stored.read_answer().get("system", {}).get("state")
    return Inspection(
        window,
        stored.family,
        normal,
        stored.alarm,
        versions=tuple(versions.items()),
        owner=tenant_id,
        commissioning=state is not None and (state == "commissioning" or not is_known(normal, family)),
        limits=stored.limits,
        definition=family.definition,
    )


def versions_of(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return by detector the version that was there."""
    return {vote["ml_model"]: vote["version"] for vote in answer["ml_predictions"] if vote["version"]}


def _evidence(stored: StoredDiagnosis, answer: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "versions": versions_of(answer),
        "weights": {vote["ml_model"]: vote["weight"] for vote in answer["ml_predictions"]},
        "threshold": answer["threshold_used"],
        "alarm": stored.alarm,
        "baseline": None if stored.baseline is None else base64.b64encode(stored.baseline).decode(),
    }


def _number_point(found: dict[str, Any], before: Mapping[str, Any]) -> None:
    """Give the operating point its number of that day: of the system's normal only this one is stored."""
    now, then = found.get("operating_point"), before.get("operating_point")
    if now and then:
        now |= {name: then[name] for name in ("number", "of")}
        if now["seen"] and then["seen"]:
            now["text"] = then["text"]


def _by_detector(findings: dict[str, Any]) -> dict[str, Any]:
    """Return findings without times, and without those who had no version and so no part in them."""
    votes = {
        vote["ml_model"]: {name: value for name, value in vote.items() if name != TIMES}
        for vote in findings["ml_predictions"]
        if vote["version"]
    }
    return {**findings, "ml_predictions": votes}


def apart(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Yield the JSON path of each value that is not the same in both."""
    if isinstance(one, dict) and isinstance(other, dict):
        for name in {**one, **other}:
            yield from apart(one.get(name), other.get(name), f"{path}.{name}" if path else name)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from apart(mine, theirs, f"{path}[{place}]")
    elif one != other:
        yield path
