"""Turns what Ray Serve's own HTTP proxy refuses into problems, and sees to one request id an answer.

Works with `request`, which does the same for the application itself; Ray is told of it by an environment variable.
"""

from uuid import uuid4

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api import problems
from serve_app.api.middleware.request import NO_CONTENT, REQUEST_ID, SECURITY


class RayProxyMiddleware:
    """Outside Ray's own HTTP layer: one request id an answer, and problems also where Ray answers itself.

    Ray adds the caller's `x-request-id` behind ours and refuses overload, time-outs and a starting service in plain
    text; both would break the contract. `RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH` names `middlewares` below.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, with Ray between this and the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Ray takes the id for its own logs from here; a caller must not choose it.
        request = MutableHeaders(scope=scope)
        request[REQUEST_ID] = str(uuid4())
        translating = False

        async def reply(message: Message) -> None:
            nonlocal translating
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                given = headers.getlist(REQUEST_ID) or [request[REQUEST_ID]]
                headers[REQUEST_ID] = given[0]
                translating = message["status"] >= 400 and not _is_ours(headers, scope["path"])
                if translating:
                    await _send_problem(message["status"], headers, scope["path"], send)
                    return
            elif translating:
                return
            await send(message)

        await self._app(scope, receive, reply)


def _is_ours(headers: Headers, path: str) -> bool:
    # Ray's own `/-/healthz` and `/-/routes` are read by load balancers as Ray writes them.
    return headers.get("x-frame-options") is not None or path.startswith("/-/")


async def _send_problem(status: int, given: Headers, path: str, send: Send) -> None:
    problem = problems.problem_of_status(status)
    content = problems.encode(problem.body(path, given[REQUEST_ID]))
    kept = {name: given[name] for name in (REQUEST_ID, "retry-after") if name in given}
    headers = {**kept, "content-type": problems.MEDIA_TYPE, "content-length": str(len(content))}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": problem.status, "headers": [*raw, *SECURITY, NO_CONTENT]})
    await send({"type": "http.response.body", "body": content})


def middlewares() -> list[Middleware]:
    """Return what Ray Serve puts around its own HTTP layer."""
    return [Middleware(RayProxyMiddleware)]
