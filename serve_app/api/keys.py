"""API keys of a tenant: for programs, with a role, scopes and an end; for administrators."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from fastapi.responses import JSONResponse, Response

from serve_app.api import problems
from serve_app.api.auth import Admin
from serve_app.api.keyed_route import SecretRoute
from serve_app.api.ports import Ports
from serve_app.api.schemas.people import KeyBody, KeysReply, MadeKeyReply
from serve_app.api.systems import KEY_MAX
from serve_app.shared.credentials import SHOWN, check_end, digest, new_api_key
from serve_app.store.records import ApiKey, written

router = APIRouter(prefix="/api/keys", tags=["people"], route_class=SecretRoute)

KeyId = Annotated[int, Path(ge=1, le=KEY_MAX)]


@router.get("/", response_model=KeysReply, responses=problems.documented(401, 403), summary="List keys")
async def list_keys(
    caller: Admin,
    services: Ports,
    after: Annotated[int, Query(ge=0, le=KEY_MAX)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """Return one page, in order of the id, the revoked ones too; the keys themselves are kept nowhere."""
    found = await services.store.keys.page(caller.tenant_id, after, limit + 1)
    page = found[:limit]
    following = page[-1].key_id if len(found) > limit else None
    return JSONResponse({"keys": [_shown(key) for key in page], "next": following})


@router.post(
    "/",
    status_code=201,
    response_model=MadeKeyReply,
    responses=problems.documented(400, 401, 403, 413, 415),
    summary="Make a key",
)
async def make_key(body: KeyBody, caller: Admin, services: Ports) -> Response:
    """Make a key and return it, this once."""
    check_end(body.expires_at)
    key, scopes = new_api_key(), None if body.scopes is None else tuple(sorted(set(body.scopes)))
    given = key[:SHOWN], scopes, body.expires_at
    made = await services.store.keys.add(caller.tenant_id, body.name, body.role, digest(key), caller.name, *given)
    return JSONResponse(_shown(made) | {"key": key}, 201)


@router.delete("/{key_id}/", status_code=204, responses=problems.documented(401, 403, 404), summary="Revoke a key")
async def revoke_key(key_id: KeyId, caller: Admin, services: Ports) -> Response:
    """End a key: its next request is refused."""
    await services.store.keys.revoke(caller.tenant_id, key_id, caller.name)
    return Response(status_code=204)


def _shown(key: ApiKey) -> dict[str, Any]:
    moments = ("created_at", "expires_at", "last_used_at", "revoked_at")
    return {
        "key_id": key.key_id,
        "name": key.name,
        "prefix": key.prefix,
        "role": key.role,
        "scopes": None if key.scopes is None else list(key.scopes),
        **{name: at and written(at) for name in moments for at in (getattr(key, name),)},
    }
