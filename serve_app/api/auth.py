"""Who is calling, and what that role may do; log-in, refresh and log-out.

Routes name the roles they serve and never see a credential; `shared.credentials` checks them, the store knows them.
"""

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
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
from serve_app.api.schemas.auth import LoginBody, PasswordChangeBody, RefreshBody, TokenReply
from serve_app.api.scopes import check_scopes
from serve_app.shared import logs
from serve_app.shared.completion import completed
from serve_app.shared.credentials import KEY_PREFIX, TokenIssuer, TokenPair, digest, hash_password
from serve_app.shared.limits import LogInLimits
from serve_app.shared.password_checks import STRANGERS, PasswordChecks
from serve_app.shared.passwords import check_password
from serve_app.shared.token_keys import DEVICE_LIVES, HELD
from serve_app.store.records import Account, Principal, Role

# Between two looks at whose credentials were withdrawn, and at which keys sign: an access token is believed without the
# database, and one whose account was disabled that much longer at most. Source: own choice; two queries of a few rows.
WITHDRAWN_S = 2.0
# Between two times that the last uses of keys are written. Source: own choice; a write a key and minute, not a request.
USES_S = 60.0
LOG_IN = "login"
WRONG = "user name or password is wrong"
GONE = "the account is gone"
WITHDRAWN = "the account was disabled, or its password or role changed; log in again"

router = APIRouter(prefix="/api/auth", tags=["auth"])
BEARER = HTTPBearer(auto_error=False, bearerFormat="JWT", scheme_name="accessToken")
API_KEY = APIKeyHeader(name="X-API-Key", auto_error=False, scheme_name="apiKey")


class Authenticator:
    """Turns credentials into principals."""

    def __init__(self, services: Services) -> None:
        self._store = services.store
        self.issuer = TokenIssuer(services.settings, asked=False)
        redis = services.settings.redis.url
        self.limits = LogInLimits(redis.get_secret_value() if redis else None, services.store.rates)
        self.passwords = PasswordChecks()
        # Generations that hold, of accounts whose earlier tokens may be alive; of all others any does.
        self._generations: Mapping[int, int] = {}
        # By tenant and digest, when keys were used last, of what is not written yet.
        self._used: defaultdict[int, dict[bytes, datetime]] = defaultdict(dict)
        self._remembered_s = 60 * services.settings.tokens.access_minutes + 60  # and a minute for clocks that differ
        # Checked for an unknown account, so that the time taken does not tell whether it exists.
        self.nobody = hash_password(secrets.token_hex())

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Keep up with withdrawn credentials, and write which keys are used, as long as the block lasts."""
        await self._look()
        tasks = [
            asyncio.create_task(_every(WITHDRAWN_S, self._look)),
            asyncio.create_task(_every(USES_S, self.write_uses)),
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()

    async def _look(self) -> None:
        """Read who was withdrawn, and which keys sign; while the database is away, what was read last holds."""
        try:
            self._generations = await self._store.accounts.withdrawn(self._remembered_s)
            await self._ask_for_keys()
        except Exception as error:
            logs.write("withdrawn.unread", logging.WARNING, error)

    async def _ask_for_keys(self) -> None:
        """Read which keys sign, before anything is signed, too: what a former one signs now might be refused early."""
        self.issuer.hold(await self._store.token_keys.held(HELD))

    async def write_uses(self) -> None:
        """Keep when keys were used last; what cannot be written is forgotten, as their next use says more."""
        used, self._used = self._used, defaultdict(dict)
        for tenant_id, moments in used.items():
            with logs.surviving("keys.uses_unwritten", tenant_id=tenant_id):
                await self._store.keys.used(tenant_id, moments)

    async def caller(self, token: str | None, api_key: str | None) -> Principal:
        """Return whose credential it is.

        Raises:
            Unauthenticated: There is none, or it does not hold.
        """
        if token is not None and not token.startswith(KEY_PREFIX):
            return self.by_token(token)
        api_key = token or api_key  # OpenAI's clients send a key as a bearer token
        if api_key:
            sha256 = digest(api_key)
            principal = await self._store.keys.principal(sha256)
            if principal is not None:
                self._used[principal.tenant_id][sha256] = datetime.now(UTC)
                return principal
            raise Unauthenticated("the API key is unknown, revoked or past its end")
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
        caller = self.issuer.read_access(token)
        self._check_generation(caller)
        return caller

    async def public_keys(self) -> list[dict[str, str]]:
        """Return the keys that access tokens are verified with."""
        if not self.issuer.asked:
            await self._ask_for_keys()
        return self.issuer.public_keys()

    def _check_generation(self, caller: Principal) -> None:
        if caller.generation < self._generations.get(caller.user_id or 0, 0):
            raise Unauthenticated(WITHDRAWN)

    async def check_again(self, caller: Principal, headers: Headers) -> None:
        """Check once more, in the middle of a long answer, that its caller's credential is not withdrawn.

        Raises:
            Unauthenticated: It is.
        """
        if caller.user_id is None:
            await self.by_headers(headers)
        self._check_generation(caller)

    def is_device(self, cookie: str) -> bool:
        """Tell whether it is of a device that has logged in, to whatever account."""
        return self.issuer.read_device(cookie) is not None

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
        is_right = await self._attempt(account, name, password, address, cookie, LOG_IN)
        if account is None or not is_right:
            raise Unauthenticated(WRONG)
        return await self.session(account, address), self.device(account)

    async def change_password(
        self, caller: Principal, current: str, new: str, address: str, cookie: str | None = None
    ) -> tuple[dict[str, Any], str]:
        """Change the caller's own password, which ends all of his sessions; return the same as `log_in`.

        Raises:
            Conflict: The account was changed by others meanwhile.
            Forbidden: It is no person who calls, or the current password is another.
            Overloaded: Too many attempts failed, or are being checked.
            PasswordRefused: The new one breaks a rule.
        """
        account = None if caller.user_id is None else await self._store.accounts.get(caller.user_id)
        if account is None:
            raise Forbidden("needs a person's access token; a key has no password")
        check_password(new, account.username, "new_password")
        if not await self._attempt(account, account.username, current, address, cookie, "user.password"):
            raise Forbidden("current_password must be the password of your account")
        hashed = await self.passwords.hash(account.tenant_id, new)
        changed = await self._store.accounts.set_password(account, hashed, account.username, checked=True)
        return await self.session(changed, address), self.device(changed)

    async def _attempt(
        self, account: Account | None, name: str, password: str, address: str, cookie: str | None, deed: str
    ) -> bool:
        """Tell whether a password opens an account, and count the attempt; one that fails is kept in the audit.

        Raises:
            Overloaded: Too many attempts failed, or are being checked.
        """
        device = self.issuer.read_device(cookie) if cookie else None
        if device and not (account and device.is_of(account.user_id, account.generation)):
            device = None  # a stranger to this account
        who = f"user {account.user_id}" if account else f"name {digest(name).hex()}"
        where = network_of(address)
        # Whoever changes a password has logged in, and waits with no strangers; guesses count as theirs.
        place = account.user_id if account and (device or deed != LOG_IN) else STRANGERS
        known = device.name if device else None
        with self.passwords.place(place):
            await self.limits.begin(who, where, known)
            stored = account.password_hash if account else self.nobody
            right = await self.passwords.verify(place, stored, password)
        if account is None or not (right and account.active):
            await self.limits.failed(where, known)
            await self.refused(account, address, f"{deed}.failed")
            return False
        await self.limits.succeeded(who, where, known)
        return True

    async def refresh(self, token: str) -> dict[str, Any]:
        """Return a new pair and end the old one; a token used twice ends its whole family.

        Raises:
            Unauthenticated: The token does not hold, or its account is gone, disabled, or has a new password.
        """
        claims = self.issuer.read_refresh(token)
        account = await self._store.accounts.get(claims.user_id)
        if account is None or not account.active:
            await self._store.sessions.end(claims.token_id)
            raise Unauthenticated(GONE)
        if claims.generation < account.generation:
            raise Unauthenticated(WITHDRAWN)
        await self._ask_for_keys()
        pair = self.issuer.issue(_principal(account), claims.family)
        await self._store.sessions.rotate(claims.token_id, pair.token_id, pair.expires_at)
        return _shown(pair)

    async def log_out(self, token: str) -> None:
        """End the session of a refresh token.

        Raises:
            Unauthenticated: The token does not hold.
        """
        claims = self.issuer.read_refresh(token)
        await self._store.sessions.end(claims.token_id)

    async def session(self, account: Account, address: str) -> dict[str, Any]:
        """Return the tokens of a new session."""
        await self._ask_for_keys()
        pair = self.issuer.issue(_principal(account))
        await self._store.sessions.start(account.user_id, pair.family, pair.token_id, pair.expires_at, address)
        return _shown(pair)

    def device(self, account: Account) -> str:
        """Return what a device is known by from now on."""
        return self.issuer.issue_device(account.user_id, account.generation)

    async def refused(self, account: Account | None, address: str, action: str) -> None:
        """Keep a failed attempt: in the tenant's audit where there is one, else in the platform's."""
        if account is None:
            logs.write(action, logging.WARNING, address=address, reason="unknown account")
            if await self.limits.is_noted():
                await self._store.audit.note(None, "unknown", action, "unknown account", address)
            return
        logs.write(action, logging.WARNING, address=address, user_id=account.user_id)
        await self._store.audit.note(account.tenant_id, account.username, action, f"user {account.user_id}", address)


async def _every(seconds: float, deed: Callable[[], Awaitable[None]]) -> None:
    """Do something again and again, first when so many seconds have passed."""
    while True:
        await asyncio.sleep(seconds)
        await deed()


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
    """Return who is calling, by access token or API key, whose scopes must open the path; count the request."""
    caller = await authenticator.caller(bearer.credentials if bearer else None, api_key)
    request.app.state.limiter.count(request.scope, caller)
    logs.note(tenant_id=caller.tenant_id, caller=caller.name)
    check_scopes(caller, request.method, request.scope["path"])
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
    # An attempt counts, and is in the audit, whether its caller waits or not.
    given = body.username, body.password, address_of(request), request.cookies.get(DEVICE_COOKIE)
    return known(request, *await completed(authenticator.log_in(*given)))


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


@router.post(
    "/password/",
    response_model=TokenReply,
    responses=problems.documented(400, 401, 403, 409, 413, 415, 429),
    summary="Change your password",
)
async def change_password(
    request: Request, body: PasswordChangeBody, caller: Reader, authenticator: Authenticating
) -> Response:
    """Change your own password; all of your sessions end, and a new pair of tokens is returned.

    Attempts with a wrong current password count as those of log-in do.
    """
    given = body.current_password, body.new_password, address_of(request), request.cookies.get(DEVICE_COOKIE)
    return known(request, *await completed(authenticator.change_password(caller, *given)))


def known(request: Request, tokens: dict[str, Any], device: str, status: int = 200) -> Response:
    """Return tokens, and have the device show from now on that it has logged in: strangers do not lock that one out."""
    response = JSONResponse(tokens, status)
    lives, secure = int(DEVICE_LIVES.total_seconds()), request.url.scheme == "https"
    response.set_cookie(
        DEVICE_COOKIE, device, lives, path="/api/auth/", secure=secure, httponly=True, samesite="strict"
    )
    return response
