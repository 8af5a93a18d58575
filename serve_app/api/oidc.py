"""Log-in at a provider of OpenID Connect: there, back, and in by an identity that is linked to an account."""

import hmac
from typing import Annotated, Any, NoReturn

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from pipelines.errors import Forbidden, HdxError, Overloaded, Unauthenticated
from serve_app.api import problems
from serve_app.api.auth import Authenticator, address_of, known
from serve_app.api.limiter import network_of
from serve_app.api.ports import Services
from serve_app.api.schemas.auth import TokenReply
from serve_app.shared.completion import completed
from serve_app.shared.oidc import REFUSED, Begun, Provider
from serve_app.shared.token_keys import OIDC_LIVES
from serve_app.store.protocols import StoreParts
from serve_app.store.records import Account
from serve_app.store.records_identities import Identity, Newcomer

COOKIE, PATH = "hdx_oidc", "/api/auth/oidc/"
# Codes that are being exchanged at a time. Source: own choice; while a provider hangs, each waits for some seconds.
EXCHANGED_MAX, RETRY_S = 16, 5
UNLINKED = "no account here is linked to your identity at the provider; ask an administrator to link it"
DISABLED = "the account that your identity is linked to is disabled"
FAILED = "login.oidc.failed"

router = APIRouter(prefix="/api/auth/oidc", tags=["auth"])


class OidcLogIn:
    """Takes people to the provider and back; what it needs to know of each their own browser holds, signed.

    Args:
        authenticator: Counts attempts, and begins sessions.
        store: Whose accounts identities open.
        provider: Who vouches for them.
        redirect_uri: Where it sends them back to; empty for the host that each request names.
        nobody: Hash of a password that nobody knows.
    """

    def __init__(
        self, authenticator: Authenticator, store: StoreParts, provider: Provider, redirect_uri: str, nobody: str
    ) -> None:
        self._authenticator, self._store, self._provider = authenticator, store, provider
        self._redirect_uri, self._nobody = redirect_uri, nobody
        self._in_hand = 0

    @classmethod
    def of(
        cls, services: Services, authenticator: Authenticator, provider: Provider | None = None
    ) -> "OidcLogIn | None":
        """Return the log-in that the settings name, by another provider where one is given; None where none is."""
        settings = services.settings.oidc
        if not settings.issuer:
            return None
        given = provider or Provider(settings)
        return cls(authenticator, services.store, given, settings.redirect_uri, authenticator.nobody)

    async def begin(self, request: Request, invited: dict[str, str] | None = None) -> tuple[str, str]:
        """Return where the browser goes, and the cookie that it comes back with.

        Raises:
            Overloaded: Too many log-ins of this address have failed.
            Unavailable: The provider does not answer.
        """
        await self._authenticator.limits.check(network_of(address_of(request)))
        begun, back = Begun.fresh(), self._redirect_uri or str(request.url_for("finish_oidc_log_in"))
        address = await self._provider.authorization_url(begun, back)
        claims = {**begun._asdict(), "redirect_uri": back, "invited": invited}
        return address, self._authenticator.issuer.issue_log_in(claims)

    async def finish(
        self, cookie: str | None, state: str | None, code: str | None, issuer: str | None, address: str
    ) -> tuple[dict[str, Any], str]:
        """Return the same as a log-in by password.

        Raises:
            Conflict: Of an invitation: a name, or the identity, is taken.
            Forbidden: The identity is linked to no account, or to a disabled one.
            Overloaded: Too many log-ins of this address have failed, or are in hand.
            Unauthenticated: The log-in was not begun by this browser, is done, or the provider refuses it.
            Unavailable: The provider does not answer.
        """
        await self._authenticator.limits.check(network_of(address))
        try:
            claims = await self._begun(cookie, state, issuer)
            identity = await self._identified(code, claims)
            account = await self._account(identity, claims["invited"])
        except Unauthenticated as error:
            await self._refuse(None, address, error)
        if account is None or not account.active:
            await self._refuse(account, address, Forbidden(DISABLED if account else UNLINKED))
        return await self._authenticator.session(account, address), self._authenticator.device(account)

    async def _begun(self, cookie: str | None, state: str | None, issuer: str | None) -> dict[str, Any]:
        """Return what this very browser has begun, once."""
        claims = self._authenticator.issuer.read_log_in(cookie) if cookie else None
        if claims is None or not hmac.compare_digest(claims["state"].encode(), (state or "").encode()):
            raise Unauthenticated(REFUSED)
        # Source: RFC 9207: the answer of another provider is none of this one's.
        foreign = issuer is not None and issuer != self._provider.issuer
        if foreign or not await self._authenticator.limits.is_first(claims["jti"]):
            raise Unauthenticated(REFUSED)
        return claims

    async def _identified(self, code: str | None, claims: dict[str, Any]) -> Identity:
        if not code:
            raise Unauthenticated(REFUSED)
        if self._in_hand >= EXCHANGED_MAX:
            raise Overloaded(RETRY_S)
        self._in_hand += 1
        try:
            begun = Begun(claims["state"], claims["nonce"], claims["verifier"])
            return await self._provider.identify(code, begun, claims["redirect_uri"])
        finally:
            self._in_hand -= 1

    async def _account(self, identity: Identity, invited: dict[str, str] | None) -> Account | None:
        if invited is None:
            return await self._store.identities.account(identity)
        newcomer = Newcomer(invited["username"], invited["email"], self._nobody, identity)
        return await self._store.invitations.redeem(bytes.fromhex(invited["sha256"]), newcomer)

    async def _refuse(self, account: Account | None, address: str, error: HdxError) -> NoReturn:
        """Count a failure, keep it in the audit, and raise it."""
        await self._authenticator.limits.failed(network_of(address))
        await self._authenticator.refused(account, address, FAILED)
        raise error


async def log_in_of(request: Request) -> OidcLogIn:
    """Return this application's log-in at a provider; without one its routes are not there."""
    found: OidcLogIn | None = request.app.state.oidc
    if found is None:
        raise HTTPException(404)
    return found


Federated = Annotated[OidcLogIn, Depends(log_in_of)]
Given = Annotated[str | None, Query(max_length=4096)]


@router.get(
    "/login/",
    status_code=302,
    response_class=RedirectResponse,
    responses=problems.documented(404, 429, 503),
    summary="Log in at the provider",
)
async def begin_oidc_log_in(request: Request, log_in: Federated) -> Response:
    """Send the browser to the provider of OpenID Connect; it comes back to `/api/auth/oidc/callback/`.

    There is no such path unless `HDX_OIDC__ISSUER` is set.
    """
    address, cookie = await log_in.begin(request)
    return remembering(request, RedirectResponse(address, 302), cookie)


@router.get(
    "/callback/",
    response_model=TokenReply,
    responses=problems.documented(401, 403, 404, 409, 429, 503),
    summary="Come back from the provider",
)
async def finish_oidc_log_in(
    request: Request, log_in: Federated, state: Given = None, code: Given = None, iss: Given = None
) -> Response:
    """Return what `/api/auth/login/` does, to the browser that has begun; the provider sends it here with a code.

    The account is the one that the identity is linked to, by issuer and subject; e-mail and name open none.
    """
    given = request.cookies.get(COOKIE), state, code, iss, address_of(request)
    response = known(request, *await completed(log_in.finish(*given)))
    response.delete_cookie(COOKIE, PATH)
    return response


def remembering(request: Request, response: Response, cookie: str) -> Response:
    """Have the browser hold what it has begun, until it is back, by a redirect of the provider."""
    lives, secure = int(OIDC_LIVES.total_seconds()), request.url.scheme == "https"
    response.set_cookie(COOKIE, cookie, lives, path=PATH, secure=secure, httponly=True, samesite="lax")
    return response
