"""MLflow's server behind a log-in: the application that `mlflow server --app-name hdx` serves.

MLflow's own `basic-auth` keeps users and passwords in a database of its own; here there is one user, the settings'.
Pages of other origins are refused, for a browser that has logged in would lend them its log-in.
"""

import os
from base64 import b64decode

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from serve_app.shared.credentials import same_key

USER, PASSWORD = "HDX_MLFLOW_USERNAME", "HDX_MLFLOW_PASSWORD"  # in the environment of MLflow's process
HEALTH = "/health"  # says OK and no more
CHALLENGE = {"WWW-Authenticate": 'Basic realm="MLflow of HDX", charset="UTF-8"'}


class Door:
    """Lets in whoever logs in by HTTP Basic authentication (RFC 7617)."""

    def __init__(self, app: ASGIApp, user: str, password: str) -> None:
        if not password:
            raise ValueError(f"{PASSWORD} is empty")
        self._app, self._expected = app, f"{user}:{password}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or let MLflow."""
        if scope["type"] == "lifespan" or scope.get("path") == HEALTH:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if not same_key(_given(headers.get("authorization", "")), self._expected):
            await PlainTextResponse("log in", 401, CHALLENGE)(scope, receive, send)
        elif _is_foreign(headers):
            await PlainTextResponse("not from pages of other origins", 403)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _given(authorization: str) -> str:
    """Return user and password of a header; empty where it has none."""
    scheme, _, code = authorization.partition(" ")
    try:
        return b64decode(code, validate=True).decode() if scheme.lower() == "basic" else ""
    except ValueError:
        return ""


def _is_foreign(headers: Headers) -> bool:
    """Tell whether a page of another origin asks; a browser says of which its page is, and a client says nothing."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def create_app() -> ASGIApp:
    """Return MLflow's application behind the door."""
    from mlflow.server.fastapi_app import app

    return Door(app, os.environ[USER], os.environ[PASSWORD])
