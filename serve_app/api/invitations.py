"""Makes tenants, each by an invitation, with the first administrator."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from pipelines.errors import InvalidInput, Unauthenticated
from serve_app.api import problems
from serve_app.api.auth import Authenticating, Authenticator, address_of, known
from serve_app.api.limiter import network_of
from serve_app.api.oidc import OidcLogIn, remembering
from serve_app.api.ports import Ports, Services
from serve_app.api.schemas.auth import InvitationBody, ProviderReply, TokenReply
from serve_app.shared.completion import completed
from serve_app.shared.credentials import digest
from serve_app.shared.password_checks import STRANGERS
from serve_app.shared.passwords import check_password
from serve_app.store.invitations import REFUSED
from serve_app.store.records import Account
from serve_app.store.records_identities import Newcomer

router = APIRouter(prefix="/api/auth/invitations", tags=["auth"])
FAILED = "invitation.failed"


@router.post(
    "/",
    status_code=201,
    response_model=TokenReply,
    responses={
        **problems.documented(400, 401, 409, 413, 415, 429, 503),
        202: {"model": ProviderReply, "description": "The person logs in at the provider first"},
    },
    summary="Redeem an invitation",
)
async def redeem_invitation(
    request: Request, body: InvitationBody, services: Ports, authenticator: Authenticating
) -> Response:
    """Make a tenant with you as its administrator, and log in; an invitation does that once.

    Without a password you log in at the provider: open `location` in the browser that sent this, within ten minutes.
    Unknown, used, revoked and late invitations are refused alike. A name that is taken leaves the invitation as it was.
    """
    if body.password is None:
        return await completed(_by_provider(request, body, services, authenticator))
    check_password(body.password, body.username)
    account = await completed(_by_password(body, body.password, address_of(request), services, authenticator))
    session = await authenticator.session(account, address_of(request))
    return known(request, session, authenticator.device(account), 201)


async def _by_password(
    body: InvitationBody, password: str, address: str, services: Services, authenticator: Authenticator
) -> Account:
    await _check(body, address, services, authenticator)
    hashed = await authenticator.passwords.hash(STRANGERS, password)
    newcomer = Newcomer(body.username, body.email, hashed)
    try:
        account = await services.store.invitations.redeem(digest(body.invitation), newcomer)
    except Unauthenticated:
        await _refused(address, authenticator)
        raise
    await authenticator.limits.succeeded(_who(body), network_of(address))
    return account


async def _by_provider(
    request: Request, body: InvitationBody, services: Services, authenticator: Authenticator
) -> Response:
    log_in: OidcLogIn | None = request.app.state.oidc
    if log_in is None:
        raise InvalidInput("password", None, "is required, as there is no provider to log in at")
    await _check(body, address_of(request), services, authenticator)
    invited = {"sha256": digest(body.invitation).hex(), "username": body.username, "email": body.email}
    address, cookie = await log_in.begin(request, invited)
    return remembering(request, JSONResponse({"location": address}, 202), cookie)


async def _check(body: InvitationBody, address: str, services: Services, authenticator: Authenticator) -> None:
    """Count an attempt, and refuse an invitation that does not hold before anything is done for it.

    Raises:
        Overloaded: There were too many.
        Unauthenticated: It does not hold.
    """
    await authenticator.limits.begin(_who(body), network_of(address))
    if not await services.store.invitations.is_open(digest(body.invitation)):
        await _refused(address, authenticator)
        raise Unauthenticated(REFUSED)


async def _refused(address: str, authenticator: Authenticator) -> None:
    await authenticator.limits.failed(network_of(address))
    await authenticator.refused(None, address, FAILED)


def _who(body: InvitationBody) -> str:
    return f"invitation {digest(body.invitation).hex()}"
