"""Beside detect: which trained versions judge now.

Exists so that an engineer sees what the replicas hold and not what a registry promises.
"""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from serve_app.api import problems
from serve_app.api.auth import Reader
from serve_app.api.ports import Ports
from serve_app.api.schemas import ModelsReply

router = APIRouter(prefix="/api/models", tags=["models"])


@router.get("/", response_model=ModelsReply, responses=problems.documented(401, 503), summary="List trained versions")
async def list_models(caller: Reader, services: Ports) -> Response:
    """Return every detector's version of every family; it is usable once it has judged a canary window."""
    members = await services.diagnoser.members()
    ordered = sorted(members, key=lambda member: (member.family, member.detector))
    models = [
        {
            "family": member.family,
            "detector": member.detector,
            "version": member.version,
            "sha256": member.sha256,
            "usable": member.scored_canary,
            "reason": member.reason,
        }
        for member in ordered
    ]
    return JSONResponse({"models": models})
