"""Outermost layer of the application: trace id, limits of a body, security headers and one log line for every request.

Plain ASGI, so that it holds on paths that no route answers, too, and costs little.
"""

import asyncio
import re
import time
from collections.abc import Awaitable
from contextlib import suppress
from uuid import uuid4

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.errors import MalformedBody, TooLarge, TooSlow, UnsupportedContent
from serve_app.api import problems
from serve_app.api.auth import Authenticator
from serve_app.api.limiter import BALANCES, Limiter, fields_of
from serve_app.api.scopes import check_scopes
from serve_app.shared import logs
from serve_app.shared.json_once import read_once

REQUEST_ID = "x-request-id"
JSON_TYPE = "application/json"
FORM_TYPE = "multipart/form-data"
CSV_TYPE = "text/csv"
PARQUET_TYPE = "application/vnd.apache.parquet"
XLSX_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLS_TYPE = "application/vnd.ms-excel"
BINARY_TYPE = "application/octet-stream"
FILE_TYPES = (CSV_TYPE, XLSX_TYPE, XLS_TYPE, PARQUET_TYPE, BINARY_TYPE)
UPLOADS = "/api/rag/documents/"  # the one path that takes a form
READINGS = re.compile(r"/api/systems/[^/]+/readings/")  # takes files as they are, and JSON
FILES = re.compile(r"/api/systems/[^/]+/baseline/file/|/api/families/proposal/")  # take files alone
PACKED = ("gzip", "x-gzip")  # the content codings of what takes files
IS_LONG = "hdx.is_long"  # in the scope: the body is more than one request takes, and comes in pieces
WRITES = frozenset({"POST", "PUT", "PATCH"})
# Paths whose callers are known, but for those that make them so, and what is read of a body before they
# are. Source: own choice; more than any body of a person who tries the API without a credential.
OF_CALLERS, OF_STRANGERS, STRANGERS_BYTES = ("/api/", "/v1/"), "/api/auth/", 16_384
# How long such a body may take, from its headers to its end. Source: own choice; as long as HAProxy gives the headers
# (`timeout http-request`), and 13 kbit/s at the least.
STRANGERS_S = 10.0
# Without a credential in the headers a service's calls alone may be longer: its key is looked at later.
OF_SERVICES = "/internal/"
# Source: OWASP Secure Headers Project, its list for REST APIs.
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
NO_CONTENT = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
# The interactive page loads its script and style from here, also on a site without internet, and starts them inline.
DOCS_CONTENT = (
    b"content-security-policy",
    b"default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self' 'unsafe-inline'; "
    b"style-src 'self' 'unsafe-inline'; "
    b"frame-ancestors 'none'",
)


class RequestMiddleware:
    """Wraps the application.

    Attributes:
        authenticator: Knows whose credentials headers hold.
        limiter: Has a place for a request, or none.
        body_bytes: Most bytes a body may have, counted as they arrive.
        document_bytes: The same for an upload, the form around the file included.
        readings_bytes: The same for readings and files of them.
        job_bytes: The same for readings that become a job; beyond `readings_bytes` they are handed on as they come.
    """

    def __init__(
        self,
        app: ASGIApp,
        authenticator: Authenticator,
        limiter: Limiter,
        body_bytes: int,
        document_bytes: int,
        readings_bytes: int,
        job_bytes: int,
    ) -> None:
        self._app, self.authenticator, self.limiter = app, authenticator, limiter
        self.body_bytes, self.document_bytes = body_bytes, document_bytes
        self.readings_bytes, self.job_bytes = readings_bytes, max(job_bytes, readings_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        notes = logs.begin(str(uuid4()))
        answer = _Answer(scope, send, notes["trace_id"])
        scope["path"] = one_form(scope["path"])
        try:
            await self.limiter.arrive(scope)
            await self._app(scope, await self._read(scope, receive), answer.send)
        except ClientGone:
            notes["code"] = "client-gone"
        except Exception as error:
            if answer.status:
                raise  # too late for a problem: the server must cut the connection
            await problems.response_of(error, scope["path"])(scope, receive, answer.send)
        finally:
            self.limiter.leave(scope)
            logs.write(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=answer.status,
                milliseconds=round(1e3 * (time.perf_counter() - begun), 2),
                **{name: value for name, value in notes.items() if name != "trace_id"},
            )

    async def _read(self, scope: Scope, receive: Receive) -> Receive:
        """Read the body, of one that becomes a job the beginning; return a `receive` that hands it out.

        Raises:
            TooLarge: It is longer than allowed, whatever its header said.
            TooSlow: Nobody knows yet who sends it, and it did not come in time.
            Overloaded: There is no place for it.
            Unauthenticated: It is long, and nobody knows who sends it.
            Forbidden: It is long, and the scopes of the key that it comes with do not open its path.
            QuotaExceeded: It is long, and its sender has had its quota.
            ClientGone: It never came to its end.
        """
        limit = self._limit_of(scope["method"], scope["path"])
        most = self.job_bytes if _becomes_job(scope) else limit
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > most:
            raise TooLarge("body", most)
        may_be_long = not declared.isdecimal() or int(declared) > STRANGERS_BYTES
        body = _Body(receive, most)
        if may_be_long and scope["method"] in WRITES and _is_of_callers(scope["path"]):
            caller = await self.authenticator.by_headers(headers)
            self.limiter.count(scope, caller)
            check_scopes(caller, scope["method"], scope["path"])
            self.limiter.enter(scope, caller.tenant_id)
            first, more = await body.until(limit)
        else:
            first, more = await _in_time(body.until(limit))
            self.limiter.enter(scope)
        if not more:
            self.limiter.sent(scope)
        scope[IS_LONG] = len(first) > limit
        return _replay(first, more, body, receive)

    def _limit_of(self, method: str, path: str) -> int:
        if method not in WRITES or not path.startswith((*OF_CALLERS, OF_SERVICES)) or path.startswith(OF_STRANGERS):
            return min(self.body_bytes, STRANGERS_BYTES)
        if path == UPLOADS:
            return self.document_bytes
        return self.readings_bytes if READINGS.fullmatch(path) or FILES.fullmatch(path) else self.body_bytes


class ClientGone(Exception):
    """The client hung up before its body was complete."""


class _Answer:
    """Adds the headers of every answer and remembers its status."""

    def __init__(self, scope: Scope, send: Send, trace_id: str) -> None:
        self.status = 0
        self._scope, self._send, self._trace_id = scope, send, trace_id

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            content = DOCS_CONTENT if self._scope["path"] == "/docs" else NO_CONTENT
            given = list(message.get("headers", ()))
            # An answer that is given again has the id of the first one.
            if REQUEST_ID.encode() not in dict(given):
                given.append((REQUEST_ID.encode(), self._trace_id.encode()))
            message["headers"] = [*given, *fields_of(self._scope.get(BALANCES, ())), *SECURITY, content]
        await self._send(message)


class _Body:
    """What comes of a body, counted."""

    def __init__(self, receive: Receive, most: int) -> None:
        self._receive, self._most, self._size = receive, most, 0

    async def next(self) -> tuple[bytes, bool]:
        """Return what comes next, and whether there is more.

        Raises:
            TooLarge: It is longer than allowed.
            ClientGone: It never came to its end.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        self._size += len(chunk)
        if self._size > self._most:
            raise TooLarge("body", self._most)
        return chunk, message.get("more_body", False)

    async def until(self, limit: int) -> tuple[bytes, bool]:
        """Return what comes until it is over the limit, and whether there is more; raises as `next`."""
        chunks, size, more = [], 0, True
        while more and size <= limit:
            chunk, more = await self.next()
            chunks.append(chunk)
            size += len(chunk)
        return b"".join(chunks), more


async def _in_time(first: Awaitable[tuple[bytes, bool]]) -> tuple[bytes, bool]:
    """Return what comes of a stranger's body.

    Raises:
        TooSlow: It is not there in time.
    """
    try:
        async with asyncio.timeout(STRANGERS_S):
            return await first
    except TimeoutError:
        raise TooSlow(STRANGERS_S) from None


def _replay(first: bytes, more: bool, body: _Body, receive: Receive) -> Receive:
    """Return a `receive` that hands out what was read of a body, its rest, and then what the server says."""
    waiting, left = [first], more

    async def once() -> Message:
        nonlocal left
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": left}
        if not left:
            return await receive()
        chunk, left = await body.next()
        return {"type": "http.request", "body": chunk, "more_body": left}

    return once


def _is_of_callers(path: str) -> bool:
    return path.startswith(OF_CALLERS) and not path.startswith(OF_STRANGERS)


def _becomes_job(scope: Scope) -> bool:
    """Tell whether a body may be longer than one request takes; one of another type is read by nobody."""
    given = media_type(Headers(scope=scope).get("content-type", ""))
    return scope["method"] == "POST" and bool(READINGS.fullmatch(scope["path"])) and given in types_of(scope["path"])


def one_form(path: str) -> str:
    """Return the form of a path under which its route stands: `/api/` and `/health/` end in a slash, others do not."""
    if path.startswith("/api/") or path == "/health":
        return path if path.endswith("/") else path + "/"
    if path != "/health/" and len(path) > 1 and path.endswith("/"):
        return path[:-1]
    return path


async def json_only(request: Request) -> None:
    """Refuse a body by its type that its path does not take; asked by every route, so that none stays a 404.

    Raises:
        UnsupportedContent: The content type is another one.
        InvalidInput: An object of it names a member twice.
        MalformedBody: It is JSON in another encoding than UTF-8.
    """
    if request.method not in WRITES:
        return
    given = request.headers.get("content-type", "")
    wanted = types_of(request.scope["path"])
    # A form has been read by now, and its bytes are gone: only what is not one is looked at.
    if media_type(given) not in wanted and await request.body():
        raise UnsupportedContent(given, ", ".join(wanted))
    if media_type(given) == JSON_TYPE and not READINGS.fullmatch(request.scope["path"]):
        body = await request.body()
        check_utf8(body)
        with suppress(ValueError, RecursionError):  # whoever reads it says what is wrong
            read_once(body)


def check_utf8(body: bytes) -> None:
    """Check that JSON is in the one encoding that it has between systems (RFC 8259); others are full of NUL bytes.

    Raises:
        MalformedBody: It is not.
    """
    with suppress(UnicodeDecodeError):
        body.decode()
        if b"\0" not in body:
            return
    raise MalformedBody("must be JSON in UTF-8")


def types_of(path: str) -> tuple[str, ...]:
    """Return the content types that a path takes."""
    if READINGS.fullmatch(path):
        return JSON_TYPE, *FILE_TYPES
    if FILES.fullmatch(path):
        return FILE_TYPES
    return (FORM_TYPE if path == UPLOADS else JSON_TYPE,)


def media_type(header: str) -> str:
    """Return a content type without its parameters."""
    return header.partition(";")[0].strip().lower()
