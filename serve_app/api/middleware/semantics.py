"""What HTTP asks of every path (RFC 9110): OPTIONS, HEAD, all methods in `Allow`, and how a body may be packed.

It stands between the outermost layer and the routes, which then say only what is theirs.
"""

from contextlib import suppress

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.errors import UnsupportedCoding
from serve_app.api import problems
from serve_app.api.middleware.request import FILES, PACKED, READINGS, WRITES

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PLAIN = "identity"


class HttpSemantics:
    """Wraps the application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or hand it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] in WRITES:
            check_coding(scope)
        if scope["method"] == "OPTIONS" and (allow := allowed(scope)):
            await Response(status_code=204, headers={"allow": allow})(scope, receive, send)
        elif scope["method"] == "HEAD":
            await self._head(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as GET does, without its content; what would go on for ever ends there."""

        async def head_only(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                return
            await send({"type": "http.response.body", "body": b""})
            raise _Sent

        with suppress(_Sent):
            await self._app({**scope, "method": "GET"}, receive, head_only)


class _Sent(Exception):
    """The head is sent, and nothing more is wanted."""


def allowed(scope: Scope) -> str:
    """Return the methods that a path takes, as `Allow` names them; empty where no route is."""
    root = scope.get("app_root_path", scope.get("root_path", ""))
    asked = {"type": "http", "path": scope["path"], "root_path": root, "headers": []}
    routes = scope["app"].router.routes

    def takes(method: str) -> bool:
        # Files of the interactive page are only read; what mounts them says so when it is asked.
        found = (route for route in routes if method == "GET" or not isinstance(route, Mount))
        return any(route.matches(asked | {"method": method})[0] is Match.FULL for route in found)

    found = [*filter(takes, METHODS)]
    if not found:
        return ""
    return ", ".join([*found, *["HEAD"] * ("GET" in found), "OPTIONS"])


def check_coding(scope: Scope) -> None:
    """Refuse a body that is packed otherwise than its path takes.

    Raises:
        UnsupportedCoding: It is.
    """
    given = ", ".join(Headers(scope=scope).getlist("content-encoding")).strip().lower()
    if given in ("", PLAIN) or not allowed(scope):
        return
    if not (READINGS.fullmatch(scope["path"]) or FILES.fullmatch(scope["path"])):
        raise UnsupportedCoding(given, PLAIN)
    if given not in PACKED:
        raise UnsupportedCoding(given, f"{PACKED[0]}, {PLAIN}")


async def not_allowed(request: Request, error: Exception) -> Response:
    """Return the problem of a method that a path does not take, with all that it does."""
    response = problems.response_of(error, request.scope["path"])
    response.headers["allow"] = allowed(request.scope)
    return response
