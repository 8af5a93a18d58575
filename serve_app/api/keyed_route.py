"""Lets callers repeat a POST under an `Idempotency-Key`: it is done once, and its first answer is given again.

`route_class=KeyedRoute` on a router marks its POST routes; nothing else of them changes, and a request without the
header takes its usual way. Source: draft-ietf-httpapi-idempotency-key-header-07.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from hashlib import sha256
from typing import Any, ClassVar
from uuid import UUID

from fastapi import Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from fastapi.sse import EventSourceResponse
from starlette.types import Message

from pipelines.errors import AnswerLost, InvalidInput, KeyInUse, KeyReused, Unavailable
from serve_app.api import problems
from serve_app.api.auth import Authenticator
from serve_app.api.limiter import Limiter
from serve_app.api.middleware.request import IS_LONG, OF_CALLERS, REQUEST_ID, media_type
from serve_app.api.scopes import check_scopes
from serve_app.shared import logs
from serve_app.shared.completion import completed
from serve_app.store.protocols_idempotency import IdempotencyStore
from serve_app.store.records import Principal
from serve_app.store.records_idempotency import HELD, HeldKey, KeptAnswer, KeyScope, KnownKey

NAME, REPLAYED = "idempotency-key", "idempotency-replayed"
# Source: own choice; a UUID has 36, and the longest that Stripe takes are of 255.
KEY = re.compile(r"[!-~]{1,255}")
RULE = "must be 1 to 255 visible characters of ASCII, once"
STREAMED_RULE = "must be left out where the answer is streamed"
# Most bytes of an answer that is kept. Source: own choice; the answers on 256 windows have a megabyte.
ANSWER_BYTES = 2 * 2**20
# Seconds that a request under a key may take, whether its caller waits or not. Source: `request_timeout_s` of
# serve_config.yaml; the lease of `store/idempotency` is longer.
REQUEST_S = 60.0
# Statuses that say nothing of the request itself, and may be another one the next time. So are all from 500 on.
NOT_KEPT = frozenset({401, 403, 408, 429})
KEPT_HEADERS = ("content-type", "location")
BOUNDARY = re.compile(r'boundary="?([^";]+)')
PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "Sent again with the same request within 24 h, the first answer is given again and nothing changes",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class KeyedRoute(APIRoute):
    """A route of callers that, where it is a POST, may be repeated under a key.

    Attributes:
        keeps_answers: Whether answers are kept. Where they hold a secret they are not: a repeat is told that the
            request was done.
    """

    keeps_answers: ClassVar[bool] = True

    def __init__(self, path: str, endpoint: Callable[..., Any], **given: Any) -> None:
        if _is_keyed(path, given.get("methods")):
            given["openapi_extra"] = (given.get("openapi_extra") or {}) | {"parameters": [PARAMETER]}
            given["responses"] = problems.documented(409) | (given.get("responses") or {})
        super().__init__(path, endpoint, **given)

    def get_route_handler(self) -> Handler:
        """Return what answers a request of this route."""
        handle = super().get_route_handler()
        if not _is_keyed(self.path, self.methods):
            return handle

        async def once(request: Request) -> Response:
            if NAME not in request.headers:
                return await handle(request)
            return await completed(_Once(request, self.path_format, handle, self.keeps_answers).answer())

        return once


class SecretRoute(KeyedRoute):
    """One whose answers hold a secret, which is shown once."""

    keeps_answers = False


def check_no_key() -> None:
    """Refuse a key, for an answer that is streamed.

    Raises:
        InvalidInput: The request was sent under one.
    """
    if HELD.get() is not None:
        raise InvalidInput(NAME, "", STREAMED_RULE)


def _is_keyed(path: str, methods: Any) -> bool:
    return set(methods or ()) == {"POST"} and path.startswith(OF_CALLERS)


class _Once:
    """A request under a key."""

    def __init__(self, request: Request, route: str, handle: Handler, keeps_answers: bool) -> None:
        self._body = _Body(request)
        self._route, self._handle, self._keeps_answers = route, handle, keeps_answers
        self._store: IdempotencyStore = request.app.state.services.store.idempotency
        self._authenticator: Authenticator = request.app.state.authenticator
        self._limiter: Limiter = request.app.state.limiter

    async def answer(self) -> Response:
        """Do what is asked, or give again what the first request under the key was answered.

        Raises:
            InvalidInput: The key is none, or stands for another request.
            Unauthenticated: Nobody knows who calls.
            Forbidden: The caller's scopes open other paths.
            KeyInUse: The first request is not answered yet.
            AnswerLost: It changed something, and its answer was not kept.
            QuotaExceeded: The caller has had its quota.
        """
        request = self._body.request
        key = _key_of(request)
        if EventSourceResponse.media_type in request.headers.get("accept", ""):
            raise InvalidInput(NAME, key, STREAMED_RULE)
        caller = await self._authenticator.by_headers(request.headers)
        self._limiter.count(request.scope, caller)
        check_scopes(caller, request.method, request.scope["path"])  # an answer that is given again asks no route
        scope = KeyScope(caller.tenant_id, _account(caller), self._route, key)
        await self._body.begin()
        held = HeldKey(caller.tenant_id, UUID(logs.trace_id()), self._body.fingerprint)
        known = await self._store.begin(scope, held.trace_id, held.fingerprint())
        if known is not None:
            return await self._again(known, key)
        try:
            async with asyncio.timeout(REQUEST_S):
                return await self._first(held)
        except TimeoutError:
            raise Unavailable("request", "took too long") from None

    async def _first(self, held: HeldKey) -> Response:
        """Do what is asked, and keep the answer; where there is none, let the key go."""
        kept = None
        HELD.set(held)
        try:
            response = await self._handled()
            kept = self._kept(response)
            return response
        finally:
            HELD.set(None)
            with logs.surviving("idempotency.unkept"):
                await (self._store.release(held) if kept is None else self._store.keep(held, kept))

    async def _handled(self) -> Response:
        request = self._body.request
        try:
            return await self._handle(request)
        except Exception as error:
            if problems.problem_of(error).status >= 500:
                raise
            return problems.response_of(error, request.scope["path"])

    def _kept(self, response: Response) -> KeptAnswer | None:
        """Return what is kept of an answer; None where it is too long, streamed, secret, or may be another one soon."""
        body = getattr(response, "body", None)
        if response.status_code >= 500 or response.status_code in NOT_KEPT or not isinstance(body, bytes):
            return None
        is_secret = not self._keeps_answers and response.status_code < 400
        if is_secret or len(body) > ANSWER_BYTES or self._body.fingerprint() is None:
            return None
        headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        return KeptAnswer(response.status_code, headers, body)

    async def _again(self, known: KnownKey, key: str) -> Response:
        running = KeyInUse(NAME, key, f"must wait until request {known.trace_id}, the first under it, has ended")
        if known.state == "running" and None in (known.fingerprint, self._body.fingerprint()):
            raise running
        if known.fingerprint is not None and known.fingerprint != await self._body.read():
            rule = f"must stand for one request: {known.trace_id}, the first under it, had another path, query or body"
            raise KeyReused(NAME, key, rule)
        if known.state == "running":
            raise running
        if known.answer is None:
            rule = f"must be a new one: look first what request {known.trace_id} changed, its answer was not kept"
            raise AnswerLost(NAME, key, rule)
        logs.note(replayed=str(known.trace_id))
        # The id of the first answer, which it is known by from now on.
        headers = {**known.answer.headers, REPLAYED: "true", REQUEST_ID: str(known.trace_id)}
        return Response(known.answer.body, known.answer.status, headers)


def _key_of(request: Request) -> str:
    """Return the key that a request is sent under; one in quotes, as the draft writes it, is the same without.

    Raises:
        InvalidInput: It is none.
    """
    given = request.headers.getlist(NAME)
    key = given[0].strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if len(given) > 1 or not KEY.fullmatch(key):
        raise InvalidInput(NAME, key, RULE)
    return key


def _account(caller: Principal) -> str:
    """Return whose key it is: a caller whose role has changed is another one, who may no longer see the answer."""
    who = f"key {caller.name}" if caller.user_id is None else f"user {caller.user_id}"
    return f"{who}, {caller.role}"


class _Body:
    """The body of a request, whose digest is taken as it is read.

    Attributes:
        request: Hands it out, once.
    """

    def __init__(self, request: Request) -> None:
        self.request, self._receive = request, request.receive
        self._digest, self._is_whole = sha256(_head(request)), False

    async def begin(self) -> None:
        """Take the digest of a body that is there; of one that comes in pieces, see to it that it is taken."""
        if self.request.scope.get(IS_LONG):
            self.request = Request(self.request.scope, self._next)
            return
        content = await self.request.body()
        await asyncio.to_thread(self._add, content, self.request.headers.get("content-type", ""))
        self._is_whole = True

    async def read(self) -> bytes | None:
        """Return the fingerprint once the body has come to its end."""
        if not self._is_whole:
            async for _ in self.request.stream():
                pass
        return self.fingerprint()

    def fingerprint(self) -> bytes | None:
        """Return what tells the request from others; None until its body has come to its end."""
        return self._digest.digest() if self._is_whole else None

    def _add(self, content: bytes, kind: str) -> None:
        """Add a body; the boundary of a form is drawn anew each time, and says nothing."""
        drawn = BOUNDARY.search(kind)
        for part in content.split(drawn[1].encode()) if drawn else [content]:
            self._digest.update(part)
            self._digest.update(b"\n" if drawn else b"")

    async def _next(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            await asyncio.to_thread(self._digest.update, message.get("body", b""))
            self._is_whole = not message.get("more_body", False)
        return message


def _head(request: Request) -> bytes:
    """Return what tells a request from others besides its body."""
    told = media_type(request.headers.get("content-type", "")), request.headers.get("content-encoding", "")
    head = "\n".join((request.method, request.scope["path"], *told, ""))
    return head.encode() + bytes(request.scope["query_string"]) + b"\n"
