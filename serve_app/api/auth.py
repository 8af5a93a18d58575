"""Who is calling, and what that role may do; log-in, refresh and log-out.

Routes name the roles they serve and never see a credential; `shared.credentials` checks them, the store knows them.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers

from pipelines.errors import Forbidden, Unauthenticated
from serve_app.api import problems
from serve_app.api.limiter import DEVICE_COOKIE, network_of
from serve_app.api.ports import Services
from serve_app.api.schemas.auth import LoginBody, RefreshBody, TokenReply
from serve_app.shared import logs
from serve_app.shared.credentials import DEVICE_LIVES, KEY_PREFIX, TokenIssuer, TokenPair, digest, hash_password
from serve_app.shared.limits import LogInLimits
from serve_app.shared.password_checks import STRANGERS, PasswordChecks
from serve_app.store.records import Account, Principal, Role

# Source: own choice; what is remembered of strangers stays under a few megabytes.
REMEMBERED_MAX = 10_000
# How long a token just verified is believed without doing it again; verifying is a fifth of a detect's cost outside
# the graph. Source: own choice; a token lives that much longer at most, less than two hosts' clocks differ.
KNOWN_S = 1.0
# Between two looks at whose credentials were withdrawn: an access token is believed without the database, and one whose
# account was disabled that much longer at most. Source: own choice; one query of a few rows for a replica.
WITHDRAWN_S = 2.0
WRONG = "user name or password is wrong"
GONE = "the account is gone"
WITHDRAWN = "the account was disabled, or its password changed; log in again"

router = APIRouter(prefix="/api/auth", tags=["auth"])
BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", scheme_name="accessToken")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="apiKey")


class Authenticator:
    """Turns credentials into principals."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self._issuer = TokenIssuer(services.settings)
        redis = services.settings.redis.url
        self._limits = LogInLimits(redis.get_secret_value() if redis else None, services.store.rates)
        self._passwords = PasswordChecks()
        self._known: dict[str, tuple[float, Principal]] = {}
        # Generations that hold, of accounts whose earlier tokens may be alive; of all others any does.
        self._generations: Mapping[int, int] = {}
        self._remembered_s = 60 * services.settings.tokens.access_minutes + 60  # and a minute for clocks that differ
        # Checked for an unknown account, so that the time taken does not tell whether it exists.
        self._nobody = hash_password(secrets.token_hex())

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep up with withdrawn credentials as long as the block lasts."""
        await self._look()
        watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WITHDRAWN_S)
            await self._look()

    async def _look(self) -> None:
        """Read who was withdrawn; while the database is away, what was read last holds."""
        try:
            self._generations = await self._store.accounts.withdrawn(self._remembered_s)
        except Exception as error:
            logs.write("withdrawn.unread", logging.WARNING, error)

    async def caller(self, token: str | None, api_key: str | None) -> Principal:
        """Return whose credential it is.

        Raises:
            Unauthenticated: There is none, or it does not hold.
        """
        if token is not None and not token.startswith(KEY_PREFIX):
            return self.by_token(token)
        api_key = token or api_key  # OpenAI's clients send a key as a bearer token
        if api_key:
            principal = await self._store.keys.principal(digest(api_key))
            if principal is not None:
                return principal
            raise Unauthenticated("the API key is unknown or revoked")
        raise Unauthenticated

    async def by_headers(self, headers: Headers) -> Principal:
        """Return who calls, as `caller` does, by a request's headers alone.

        Raises:
            Unauthenticated: They hold no credential, or one that does not hold.
        """
        scheme, token = get_authorization_scheme_param(headers.get("authorization"))
        is_bearer = scheme.lower() == BEARER.model.scheme
        return await self.caller(token if is_bearer else None, headers.get(API_KEY.model.name))

    def by_token(self, token: str) -> Principal:
        """Return whose access token it is.

        Raises:
            Unauthenticated: It does not hold.
        """
        now = time.monotonic()
        known = self._known.get(token)
        if known is not None and known[0] > now:
            caller = known[1]
        else:
            caller = self._issuer.read_access(token)
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            self._known[token] = (now + KNOWN_S, caller)
        if caller.generation < self._generations.get(caller.user_id or 0, 0):
            raise Unauthenticated(WITHDRAWN)
        return caller

    def is_device(self, cookie: str) -> bool:
        """Tell whether it is of a device that has logged in, to whatever account."""
        return self._issuer.read_device(cookie) is not None

    async def log_in(
        self, login: str, password: str, address: str, cookie: str | None = None
    ) -> tuple[dict[str, Any], str]:
        """Return a pair of tokens of a new session, and what its device is known by from now on.

        Whether there is such an account neither the answer tells nor the time that it takes: both ways do the same.

        Args:
            login: User name or e-mail.
            password: To check.
            address: Where it comes from.
            cookie: What the device was given when it logged in before.

        Raises:
            Overloaded: Too many attempts failed, or are being checked.
            Unauthenticated: The account is unknown or inactive, or the password is wrong.
        """
        account = await self._store.accounts.by_login(login)
        # As the store looks accounts up: another spelling, or the e-mail, must not be another count.
        name = await self._store.accounts.folded(login)
        is_right = await self._attempt(account, name, password, address, cookie)
        if account is None or not is_right:
            raise Unauthenticated(WRONG)
        return await self._session(account, address), self._issuer.issue_device(account.user_id, account.generation)

    async def _attempt(
        self, account: Account | None, name: str, password: str, address: str, cookie: str | None = None
    ) -> bool:
        """Tell whether a password opens an account, and count the attempt; one that fails is kept in the audit.

        Raises:
            Overloaded: Too many attempts failed, or are being checked.
        """
        device = self._issuer.read_device(cookie) if cookie else None
        if device and not (account and device.is_of(account.user_id, account.generation)):
            device = None  # a stranger to this account
        who = f"user {account.user_id}" if account else f"name {digest(name).hex()}"
        where = network_of(address)
        place, known = (device.user_id, device.name) if device else (STRANGERS, None)
        with self._passwords.place(place):
            await self._limits.begin(who, where, known)
            stored = account.password_hash if account else self._nobody
            right = await self._passwords.verify(place, stored, password)
        if account is None or not (right and account.active):
            await self._limits.failed(where, known)
            await self._refused(account, address)
            return False
        await self._limits.succeeded(who, where, known)
        return True

    async def refresh(self, token: str) -> dict[str, Any]:
        """Return a new pair and end the old one; a token used twice ends its whole family.

        Raises:
            Unauthenticated: The token does not hold, or its account is gone, disabled, or has a new password.
        """
        claims = self._issuer.read_refresh(token)
        account = await self._store.accounts.get(claims.user_id)
        if account is None or not account.active:
            await self._store.sessions.end(claims.token_id)
            raise Unauthenticated(GONE)
        if claims.generation < account.generation:
            raise Unauthenticated(WITHDRAWN)
        pair = self._issuer.issue(_principal(account), claims.family)
        await self._store.sessions.rotate(claims.token_id, pair.token_id, pair.expires_at)
        return _shown(pair)

    async def log_out(self, token: str) -> None:
        """End the session of a refresh token.

        Raises:
            Unauthenticated: The token does not hold.
        """
        claims = self._issuer.read_refresh(token)
        await self._store.sessions.end(claims.token_id)

    async def _session(self, account: Account, address: str) -> dict[str, Any]:
        pair = self._issuer.issue(_principal(account))
        await self._store.sessions.start(account.user_id, pair.family, pair.token_id, pair.expires_at)
        await self._store.audit.note(account.tenant_id, account.username, "login", f"user {account.user_id}", address)
        return _shown(pair)

    async def _refused(self, account: Account | None, address: str) -> None:
        """Keep a failed attempt: in the tenant's audit where there is one, else in the platform's."""
        if account is None:
            logs.write("login.failed", logging.WARNING, address=address, reason="unknown account")
            await self._store.audit.note(None, "unknown", "login.failed", "unknown account", address)
            return
        logs.write("login.failed", logging.WARNING, address=address, user_id=account.user_id)
        await self._store.audit.note(
            account.tenant_id, account.username, "login.failed", f"user {account.user_id}", address
        )


def _principal(account: Account) -> Principal:
    return Principal(account.tenant_id, account.user_id, account.username, account.role, account.generation)


def _shown(pair: TokenPair) -> dict[str, Any]:
    return {
        "access": pair.access,
        "refresh": pair.refresh,
        "token_type": "Bearer",
        "expires_in": pair.expires_in,
    }


async def authenticator_of(request: Request) -> Authenticator:
    """Return this application's authenticator."""
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


Authenticating = Annotated[Authenticator, Depends(authenticator_of)]


async def principal(
    request: Request,
    authenticator: Authenticating,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(BEARER)],
    api_key: Annotated[str | None, Depends(API_KEY)],
) -> Principal:
    """Return who is calling, by access token or API key, and count the request against the caller's quotas."""
    caller = await authenticator.caller(bearer.credentials if bearer else None, api_key)
    request.app.state.limiter.count(request.scope, caller)
    logs.note(tenant_id=caller.tenant_id, caller=caller.name)
    return caller


def require(*roles: Role) -> Callable[[Principal], Awaitable[Principal]]:
    """Return a dependency that lets in these roles only."""

    async def allowed(caller: Annotated[Principal, Depends(principal)]) -> Principal:
        if caller.role not in roles:
            raise Forbidden(f"needs one of the roles {', '.join(roles)}")
        return caller

    return allowed


Reader = Annotated[Principal, Depends(principal)]
WORKERS: tuple[Role, ...] = ("admin", "engineer", "operator")
Worker = Annotated[Principal, Depends(require(*WORKERS))]
Editor = Annotated[Principal, Depends(require("admin", "engineer"))]
Admin = Annotated[Principal, Depends(require("admin"))]


def address_of(request: Request) -> str:
    """Return the peer's address; `X-Forwarded-For` is the caller's own word and is read of HAProxy alone."""
    return request.client.host if request.client else ""


@router.post(
    "/login/", response_model=TokenReply, responses=problems.documented(400, 401, 413, 415, 429), summary="Log in"
)
async def log_in(request: Request, body: LoginBody, authenticator: Authenticating) -> Response:
    """Return an access token for `Authorization: Bearer`, and a refresh token to get the next one."""
    given = body.username, body.password, address_of(request), request.cookies.get(DEVICE_COOKIE)
    tokens, device = await authenticator.log_in(*given)
    response = JSONResponse(tokens)
    # It proves no more than that this device has logged in before: strangers' attempts do not lock that one out.
    lives, secure = int(DEVICE_LIVES.total_seconds()), request.url.scheme == "https"
    response.set_cookie(
        DEVICE_COOKIE, device, lives, path="/api/auth/", secure=secure, httponly=True, samesite="strict"
    )
    return response


@router.post(
    "/refresh/", response_model=TokenReply, responses=problems.documented(400, 401, 413, 415), summary="Refresh"
)
async def refresh(body: RefreshBody, authenticator: Authenticating) -> Response:
    """Return a new pair of tokens; a refresh token sent a second time ends every session that grew from its log-in."""
    return JSONResponse(await authenticator.refresh(body.refresh))


@router.post("/logout/", status_code=204, responses=problems.documented(400, 401, 413, 415), summary="Log out")
async def log_out(body: RefreshBody, authenticator: Authenticating) -> Response:
    """End the session of a refresh token; the access token holds until it expires."""
    await authenticator.log_out(body.refresh)
    return Response(status_code=204)
