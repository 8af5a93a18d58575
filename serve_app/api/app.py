"""Makes one FastAPI application of all routes over the ports it is given: stand-ins, a local graph or a cluster."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException

from configs.settings import version
from pipelines.errors import HdxError
from serve_app.api import (
    answers,
    assistant,
    audit,
    auth,
    baselines,
    chat,
    diagnose,
    diagnostics,
    documents,
    events,
    families,
    feedback,
    health,
    internal,
    invitations,
    jobs,
    keys,
    limits,
    models,
    oidc,
    problems,
    readings,
    replay,
    systems,
    token_keys,
    users,
)
from serve_app.api.files import FileReader
from serve_app.api.middleware.fast_path import FastPath
from serve_app.api.middleware.request import RequestMiddleware, json_only
from serve_app.api.middleware.semantics import HttpSemantics, not_allowed
from serve_app.api.ports import Services
from serve_app.detection import Detection
from serve_app.shared import logs

DESCRIPTION = """
A window of pressure, temperature, flow and vibration goes in; one answer comes out: is something wrong, how sure is
that, which component, which channel says so, and what the manuals say to do about it.

Log in under **auth**, press *Authorize*, paste the access token, and every example below runs as it stands.
Errors are `application/problem+json` (RFC 9457) and name field, value and rule. Each answer carries `x-request-id`,
equal to its `trace_id`.
"""
TAGS = [
    {"name": "auth", "description": "Log in with a user name or e-mail; refresh tokens work once."},
    {"name": "diagnostics", "description": "Judge windows, and read stored diagnoses back."},
    {"name": "assistant", "description": "Ask the manuals; every sentence of an answer has its source."},
    {"name": "families", "description": "Machine kinds: those that are shipped, and your own."},
    {"name": "systems", "description": "The machines of your tenant."},
    {"name": "jobs", "description": "Files that take longer than a request: how far each is, and its end."},
    {"name": "limits", "description": "How many requests are taken of you, and how many you have made."},
    {"name": "models", "description": "The trained versions that judge now."},
    {"name": "people", "description": "Who may log in, and keys for programs; for administrators."},
    {"name": "audit", "description": "Who did what in your tenant, and what is signed of it; for administrators."},
    {"name": "health", "description": "Whether the service and its parts work; open to anyone."},
    {"name": "internal", "description": "The service-to-service face, behind `X-Internal-API-Key`."},
]

# In the order in which paths are looked up.
ROUTED = (
    auth,
    oidc,
    invitations,
    token_keys,
    diagnose,
    diagnostics,
    replay,
    feedback,
    assistant,
    answers,
    documents,
    events,
    chat,
    families,
    systems,
    baselines,
    readings,
    jobs,
    limits,
    models,
    users,
    keys,
    audit,
    health,
    internal,
)


def create_app(services: Services) -> FastAPI:
    """Return the application over these services."""
    logs.configure(services.settings)
    app = FastAPIOffline(
        title="HDX",
        summary="Hydraulic diagnostics served on Ray",
        description=DESCRIPTION,
        version=version(),
        openapi_tags=TAGS,
        dependencies=[Depends(json_only)],
        redoc_url=None,
        # A redirect would drop the body; both forms of a path are made one before the routes see it.
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        lifespan=_running,
    )
    app.state.services = services
    app.state.authenticator = auth.Authenticator(services)
    app.state.oidc = oidc.OidcLogIn.of(services, app.state.authenticator)
    app.state.limiter = limiter = limits.limiter_of(services, app.state.authenticator)
    app.state.detection = Detection(services)
    app.state.listeners = Counter()
    app.state.files = FileReader(services.settings.limits)
    app.state.health_check = health.HealthCheck(services)
    for module in ROUTED:
        app.include_router(module.router)
    known: tuple[Any, ...] = (HdxError, RequestValidationError, HTTPException)
    for kind in known:
        app.add_exception_handler(kind, problems.handle)
    app.add_exception_handler(405, not_allowed)
    common = {"authenticator": app.state.authenticator, "limiter": limiter}
    app.add_middleware(FastPath, **common, detection=app.state.detection)
    app.add_middleware(HttpSemantics)
    bounds = services.settings.limits
    app.add_middleware(
        RequestMiddleware,
        **common,
        body_bytes=bounds.body_bytes,
        document_bytes=bounds.document_bytes,
        readings_bytes=bounds.readings_bytes,
        job_bytes=bounds.job_bytes,
    )
    return app


@asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[None]:
    """Keep up with what other replicas and commands change, as long as the application runs."""
    async with app.state.authenticator.watching(), app.state.limiter.quotas.settling():
        yield
