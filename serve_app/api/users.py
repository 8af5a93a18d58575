"""The people of a tenant: who may log in and as what, and which sessions are open; for administrators."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from serve_app.api import problems
from serve_app.api.auth import Admin, Authenticating
from serve_app.api.keyed_route import KeyedRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.people import (
    PasswordBody,
    SessionsReply,
    UserBody,
    UserChangeBody,
    UserReply,
    UsersReply,
)
from serve_app.api.systems import KEY_MAX
from serve_app.shared.passwords import check_password
from serve_app.store.records import Account, Session, written

router = APIRouter(prefix="/api/users", tags=["people"], route_class=KeyedRoute)

UserId = Annotated[int, Path(ge=1, le=KEY_MAX)]


@router.get("/", response_model=UsersReply, responses=problems.documented(401, 403), summary="List people")
async def list_users(
    caller: Admin,
    services: Ports,
    after: Annotated[int, Query(ge=0, le=KEY_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return one page, in order of the id, the disabled ones too."""
    found = await services.store.accounts.page(caller.tenant_id, after, limit + 1)
    page = found[:limit]
    following = page[-1].user_id if len(found) > limit else None
    return JSONResponse({"users": [_shown(account) for account in page], "next": following})


@router.post(
    "/",
    status_code=201,
    response_model=UserReply,
    responses=problems.documented(400, 401, 403, 409, 413, 415),
    summary="Add a person",
)
async def add_user(body: UserBody, caller: Admin, services: Ports, authenticator: Authenticating) -> Response:
    """Add an account to your tenant; user names and e-mail addresses are taken once, whatever their case."""
    check_password(body.password, body.username)
    hashed = await authenticator.passwords.hash(caller.tenant_id, body.password)
    given = body.username, body.email, hashed, body.role
    account = await services.store.accounts.add(caller.tenant_id, *given, caller.name)
    return JSONResponse(_shown(account), 201, {"location": f"/api/users/{account.user_id}/"})


@router.get(
    "/{user_id}/", response_model=UserReply, responses=problems.documented(401, 403, 404), summary="Read a person"
)
async def read_user(user_id: UserId, caller: Admin, services: Ports) -> Response:
    """Return one of the tenant's accounts."""
    return JSONResponse(_shown(await services.store.accounts.own(caller.tenant_id, user_id)))


@router.patch(
    "/{user_id}/",
    response_model=UserReply,
    responses=problems.documented(400, 401, 403, 404, 409, 413, 415),
    summary="Change a person",
)
async def change_user(user_id: UserId, body: UserChangeBody, caller: Admin, services: Ports) -> Response:
    """Change the role, disable or enable; either end of access holds in all replicas within seconds.

    The last active administrator of a tenant can be neither disabled nor given another role.
    """
    changed = await services.store.accounts.change(caller.tenant_id, user_id, caller.name, body.role, body.active)
    return JSONResponse(_shown(changed))


@router.post(
    "/{user_id}/password/",
    status_code=204,
    responses=problems.documented(400, 401, 403, 404, 413, 415),
    summary="Set a person's password",
)
async def set_password(
    user_id: UserId, body: PasswordBody, caller: Admin, services: Ports, authenticator: Authenticating
) -> Response:
    """Set the password of an account, which ends its sessions and its access; your own: `/api/auth/password/`."""
    account = await services.store.accounts.own(caller.tenant_id, user_id)
    check_password(body.password, account.username)
    hashed = await authenticator.passwords.hash(caller.tenant_id, body.password)
    await services.store.accounts.set_password(account, hashed, caller.name)
    return Response(status_code=204)


@router.get(
    "/{user_id}/sessions/",
    response_model=SessionsReply,
    responses=problems.documented(401, 403, 404),
    summary="List a person's sessions",
)
async def list_sessions(user_id: UserId, caller: Admin, services: Ports) -> Response:
    """Return the open sessions of an account, the newest first."""
    found = await services.store.sessions.page(caller.tenant_id, user_id)
    return JSONResponse({"sessions": [_shown_session(session) for session in found]})


@router.delete(
    "/{user_id}/sessions/",
    status_code=204,
    responses=problems.documented(401, 403, 404),
    summary="End a person's sessions",
)
async def end_sessions(user_id: UserId, caller: Admin, services: Ports) -> Response:
    """End all sessions of an account, its access tokens within seconds too; the person may log in again."""
    await services.store.accounts.end_sessions(caller.tenant_id, user_id, caller.name)
    return Response(status_code=204)


@router.delete(
    "/{user_id}/sessions/{session_id}/",
    status_code=204,
    responses=problems.documented(401, 403, 404),
    summary="End a session",
)
async def end_session(user_id: UserId, session_id: UUID, caller: Admin, services: Ports) -> Response:
    """End one session: it is refreshed no more; its access token holds until it expires, as after a log-out."""
    await services.store.sessions.end_one(caller.tenant_id, user_id, session_id, caller.name)
    return Response(status_code=204)


def _shown(account: Account) -> dict[str, Any]:
    names = ("user_id", "username", "email", "role", "active")
    return {name: getattr(account, name) for name in names}


def _shown_session(session: Session) -> dict[str, Any]:
    return {
        "session_id": str(session.session_id),
        "begun_at": written(session.begun_at),
        "used_at": session.used_at and written(session.used_at),
        "expires_at": written(session.expires_at),
    }
