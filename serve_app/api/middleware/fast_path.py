"""Calls the four routes that judge windows without FastAPI's machinery, which costs more than the judgement itself.

A body or a right that is not plainly as it should be is left to FastAPI, which then says what is wrong with it: rules
and `/openapi.json` exist once. Credentials are `api/auth`'s to judge on both ways.
"""

from collections.abc import Awaitable, Callable

import orjson
from fastapi.security.utils import get_authorization_scheme_param
from pydantic import ValidationError
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api import diagnostics, internal, problems
from serve_app.api.auth import WORKERS, Authenticator
from serve_app.api.keyed_route import NAME
from serve_app.api.limiter import Limiter
from serve_app.api.middleware.request import JSON_TYPE
from serve_app.api.schemas.detection import DetectBatchBody, DetectBody, PredictBatchBody, PredictBody
from serve_app.api.scopes import allows
from serve_app.detection import Detection
from serve_app.shared import logs
from serve_app.shared.credentials import same_key
from serve_app.store.records import Principal

Take = Callable[["FastPath", Request, object], Awaitable[Awaitable[Response] | None]]


class FastPath:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, detection: Detection, limiter: Limiter) -> None:
        self._app, self.authenticator, self.detection, self.limiter = app, authenticator, detection, limiter
        self.key = detection.services.settings.ml_internal_api_key.get_secret_value()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        take = TAKES.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if take is None or not _is_plain(Headers(scope=scope)):
            await self._app(scope, receive, send)
            return
        whole = await receive()  # the outermost layer has read the body to its end
        try:
            response = await self._answered(take, Request(scope), whole["body"])
        except Exception as error:
            response = problems.response_of(error, scope["path"])
        if response is None:
            await self._app(scope, _again(whole, receive), send)
        else:
            await response(scope, receive, send)

    async def _answered(self, take: Take, request: Request, body: bytes) -> Response | None:
        """Return the answer, or None where FastAPI shall say what is wrong."""
        try:
            answering = await take(self, request, orjson.loads(body))
        except (orjson.JSONDecodeError, ValidationError):
            return None
        return None if answering is None else await answering

    async def caller(self, request: Request) -> Principal | None:
        """Return who calls, with an access token or an API key, and may judge windows.

        Raises:
            Unauthenticated: The credential does not hold.
            QuotaExceeded: The caller has had its quota.
            Unavailable: The database cannot say whether it does.
        """
        given = request.headers.get("authorization", "")
        scheme, token = get_authorization_scheme_param(given)
        api_key = request.headers.get("x-api-key")
        if (given and scheme != "Bearer") or not (token or api_key):
            return None
        caller = await self.authenticator.caller(token or None, api_key)
        if caller.role not in WORKERS or not allows(caller, request.method, request.scope["path"]):
            return None
        self.limiter.count(request.scope, caller)
        logs.note(tenant_id=caller.tenant_id, caller=caller.name)
        return caller

    def holds_key(self, request: Request) -> bool:
        """Tell whether the caller holds the key of the detectors' side."""
        return same_key(request.headers.get(internal.KEY.model.name, ""), self.key)


def _is_plain(headers: Headers) -> bool:
    """Tell whether a body is JSON, and sent under no key: routes alone know those."""
    return headers.get("content-type") == JSON_TYPE and NAME not in headers


def _again(whole: Message, receive: Receive) -> Receive:
    """Return a `receive` that hands out a body that was read already, and then what the server says."""
    waiting = [whole]

    async def once() -> Message:
        return waiting.pop() if waiting else await receive()

    return once


async def _detect(fast_path: FastPath, request: Request, content: object) -> Awaitable[Response] | None:
    caller = await fast_path.caller(request)
    if caller is None:
        return None
    return diagnostics.detect(DetectBody.model_validate(content), caller, fast_path.detection)


async def _detect_batch(fast_path: FastPath, request: Request, content: object) -> Awaitable[Response] | None:
    caller = await fast_path.caller(request)
    if caller is None:
        return None
    return diagnostics.detect_batch(request, DetectBatchBody.model_validate(content), caller, fast_path.detection)


async def _predict(fast_path: FastPath, request: Request, content: object) -> Awaitable[Response] | None:
    if not fast_path.holds_key(request):
        return None
    return internal.predict(PredictBody.model_validate(content), fast_path.detection)


async def _predict_batch(fast_path: FastPath, request: Request, content: object) -> Awaitable[Response] | None:
    if not fast_path.holds_key(request):
        return None
    return internal.predict_batch(request, PredictBatchBody.model_validate(content), fast_path.detection)


TAKES: dict[str, Take] = {
    "/api/diagnostics/anomaly/detect/": _detect,
    "/api/diagnostics/anomaly/detect/batch/": _detect_batch,
    "/internal/ml/api/v1/predict": _predict,
    "/internal/ml/api/v1/predict/batch": _predict_batch,
}
