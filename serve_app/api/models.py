"""Shows which trained versions the replicas hold and which is on its way in, and lets admins move them."""

import base64
import hashlib
import hmac
import time
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyHeader

from configs.gates import read_gates
from pipelines.diagnosis.records import MemberStatus
from pipelines.errors import Forbidden, HdxError, reason_of
from pipelines.promotion.mlflow_client import model_name, owner_of
from pipelines.promotion.rollout import PromotionRequest
from serve_app.api import problems
from serve_app.api.auth import Admin, Reader
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports, Services
from serve_app.api.schemas.models import ModelsReply, MoveReply, PromoteBody
from serve_app.shared import logs
from serve_app.shared.completion import completed
from serve_app.shared.credentials import webhook_secret
from serve_app.shared.fleet import FleetModel
from serve_app.store.records import Principal

router = APIRouter(tags=["models"], route_class=KeyedRoute)
SIGNATURE = APIKeyHeader(name="X-MLflow-Signature", auto_error=False, scheme_name="mlflowSignature")


@router.get(
    "/api/models/", response_model=ModelsReply, responses=problems.documented(401, 503), summary="List trained versions"
)
async def list_models(caller: Reader, services: Ports) -> Response:
    """Return every detector's version of every family; it is usable once it has judged a probe window."""
    members = await services.diagnoser.members()
    fleet = await _fleet(services)
    ordered = sorted(members, key=lambda member: (member.family, member.detector))
    return JSONResponse({"models": [_model(member, fleet, caller.tenant_id) for member in ordered]})


async def _fleet(services: Services) -> dict[str, FleetModel]:
    try:
        return {model.state.name: model for model in await services.promotions.fleet()}
    except HdxError:
        return {}


def _model(member: MemberStatus, fleet: dict[str, FleetModel], tenant_id: int) -> dict[str, Any]:
    name = model_name(member.family, member.detector)
    return {
        "name": name,
        "family": member.family,
        "detector": member.detector,
        "version": member.version,
        "sha256": member.sha256,
        "usable": member.scored_probe,
        "reason": member.reason,
        "fleet": _state(fleet[name], tenant_id) if name in fleet else None,
    }


def _state(model: FleetModel, tenant_id: int) -> dict[str, Any]:
    state, rollout, evidence = model.state, model.state.rollout, model.evidence
    shown = None
    if rollout and evidence:
        shown = {
            "version": rollout.version,
            "stage": rollout.stage,
            "since": datetime.fromtimestamp(rollout.since, UTC).isoformat(),
            "windows": evidence.windows,
            "errors": evidence.errors,
            "disagreements": evidence.flips,
            "answered": evidence.served,
        }
    return {
        "champion": state.champion,
        "live": state.live,
        "previous": state.previous,
        "replicas": dict(model.replicas),
        "rollout": shown,
        "drift": [
            {"system_id": int(state.system.partition("/")[2]) if state.system else None}
            | {name: getattr(drift, name) for name in ("kind", "what", "since", "statistic", "threshold")}
            for state in model.drift
            if not state.system or state.system.startswith(f"{tenant_id}/")
            for drift in state.drifts
            if drift.drifting
        ],
    }


@router.post(
    "/api/models/{name}/promote/",
    status_code=202,
    response_model=MoveReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415, 503),
    summary="Make a version live",
)
async def promote(name: str, body: PromoteBody, caller: Admin, services: Ports) -> Response:
    """Move the alias as a click in MLflow does: shadow, canary, then all replicas, or back by the gates.

    `urgent` skips the gates; that it did, by whom and why is in the audit.
    """
    await _may_move(name, caller, services)
    request = PromotionRequest(name, body.version, caller.name, body.reason if body.urgent else "")
    action = "model.promote.urgent" if body.urgent else "model.promote"
    version = await completed(_moved(services, caller, request, action, f"; {body.reason}"))
    return JSONResponse({"name": name, "version": version}, 202)


@router.post(
    "/api/models/{name}/rollback/",
    status_code=202,
    response_model=MoveReply,
    responses=problems.documented(401, 403, 404, 409, 503),
    summary="Go back",
)
async def rollback(name: str, caller: Admin, services: Ports) -> Response:
    """Leave the rollout that runs, or make the previous version live again; it is still in every replica's memory."""
    await _may_move(name, caller, services)
    version = await completed(_moved(services, caller, PromotionRequest(name, "", caller.name), "model.rollback"))
    return JSONResponse({"name": name, "version": version}, 202)


async def _moved(
    services: Services, caller: Principal, request: PromotionRequest, action: str, reason: str = ""
) -> str:
    """Move a model as asked, and return the version that shall answer.

    The registry is outside of the database: the audit says what is about to be done before it is, and then its end.
    """
    noted = partial(services.store.audit.note, caller.tenant_id, caller.name)
    await noted(f"{action}.asked", request.name, f"version {request.version or 'before'}{reason}")
    try:
        version = await services.promotions.request(request)
    except Exception as error:
        with logs.surviving("promotion.unnoted", model=request.name):
            await noted(f"{action}.failed", request.name, reason_of(error))
        raise
    with logs.surviving("promotion.unnoted", model=request.name):
        await noted(action, request.name, f"version {version}{reason}")
    return version


async def _may_move(name: str, caller: Principal, services: Services) -> None:
    """Let in the owner's administrators alone: a tenant's for its own model, for one that all share those of one.

    Raises:
        Forbidden: The caller is of another tenant.
    """
    owner = owner_of(name) or await services.store.tenants.ensure(services.settings.models.owner)
    if caller.tenant_id != owner:
        raise Forbidden("needs an administrator of the tenant that owns the model")


@router.post(
    "/internal/mlflow/webhook",
    status_code=202,
    tags=["internal"],
    responses=problems.documented(403, 413, 415),
    summary="Hear from MLflow that an alias has moved",
)
async def hear(
    request: Request,
    services: Ports,
    delivery: Annotated[str, Header(alias="X-MLflow-Delivery-Id")] = "",
    timestamp: Annotated[str, Header(alias="X-MLflow-Timestamp")] = "",
    signature: Annotated[str | None, Depends(SIGNATURE)] = None,
) -> Response:
    """Look at the registry now; the message says when and at which model, and no version in it is believed."""
    secret = webhook_secret(services.settings.secret_key.get_secret_value())
    signed = f"{delivery}.{timestamp}.".encode() + await request.body()
    expected = "v1," + base64.b64encode(hmac.new(secret.encode(), signed, hashlib.sha256).digest()).decode()
    age_s = abs(time.time() - int(timestamp)) if timestamp.isdecimal() and len(timestamp) < 12 else float("inf")
    if not hmac.compare_digest(expected.encode(), (signature or "").encode()) or age_s > read_gates().webhook_age_s:
        raise Forbidden("the signature of the message does not hold")
    logs.note(delivery=delivery[:64])
    services.promotions.look(_named(await request.body()))
    return Response(status_code=202)


def _named(body: bytes) -> str:
    """Return the model that a message is about; empty where it names none."""
    try:
        return str(orjson.loads(body)["data"]["name"])
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return ""
