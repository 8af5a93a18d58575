"""Takes what a person knows of a window, and sets it against what was answered.

No label that contradicts its own answer reaches training.
"""

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from pipelines.errors import InvalidInput
from pipelines.machines.family import Family
from pipelines.machines.labelling import CALLED, CALLED_RULE
from serve_app.api import problems
from serve_app.api.auth import Worker
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.feedback import FeedbackBody, FeedbackReply
from serve_app.families import Families
from serve_app.shared import logs

router = APIRouter(prefix="/api/diagnostics", tags=["diagnostics"], route_class=KeyedRoute)


@router.post(
    "/{trace_id}/feedback/",
    response_model=FeedbackReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415, 503),
    summary="Say whether an answer was right",
)
async def give(trace_id: UUID, body: FeedbackBody, caller: Worker, services: Ports) -> Response:
    """Keep what is true of the window, for the next training; said again, the last word counts."""
    stored = await services.store.diagnoses.get(caller.tenant_id, trace_id)
    anomalous = truth_of(stored.read_answer()["prediction"], body)
    if body.component is not None:
        check_component(await Families(services.store).of_answer(caller.tenant_id, stored.family), body, anomalous)
    kept = await services.store.feedback.give(
        caller.tenant_id, trace_id, body.verdict, body.component, body.note, caller.name
    )
    logs.note(system_id=stored.system_id, verdict=body.verdict)
    shown = {
        "trace_id": str(kept.trace_id),
        "verdict": kept.verdict,
        "anomalous": anomalous,
        "component": kept.component,
        "note": kept.note,
        "actor": kept.actor,
        "created_at": kept.created_at.isoformat(),
    }
    return JSONResponse(shown)


def truth_of(prediction: dict[str, Any], body: FeedbackBody) -> bool:
    """Return whether the window is anomalous, by what was answered and what is said of it.

    Raises:
        InvalidInput: The two contradict each other.
    """
    alarm: bool = prediction["is_anomaly"]
    if body.verdict == "false_alarm" and not alarm:
        raise InvalidInput("verdict", body.verdict, "the answer was no alarm: must be confirmed or missed")
    if body.verdict == "missed" and alarm:
        raise InvalidInput("verdict", body.verdict, "the answer was an alarm: must be confirmed or false_alarm")
    if body.verdict == "confirmed" and prediction["abstained"]:
        raise InvalidInput("verdict", body.verdict, "the answer was none, there is nothing to confirm: may be missed")
    return body.verdict == "missed" or (body.verdict == "confirmed" and alarm)


def check_component(family: Family, body: FeedbackBody, anomalous: bool) -> None:
    """Check that a component is one that the family has, and is named only where something was wrong.

    A family that a tenant has defined has no list: whatever its people call a part is one.

    Raises:
        InvalidInput: It is not.
    """
    known = family.components
    if family.definition:
        # A training names the parts by these very words: shown in answers, and one of a bounded number.
        if not CALLED.match(body.component or ""):
            raise InvalidInput("component", body.component, CALLED_RULE)
    elif body.component not in known:
        rule = f"must be one of {', '.join(known)}" if known else "must be left out: this family names no component"
        raise InvalidInput("component", body.component, rule)
    if not anomalous:
        raise InvalidInput("component", body.component, "must be left out where nothing was wrong")
