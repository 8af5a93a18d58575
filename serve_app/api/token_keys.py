"""The public keys by which other services verify access tokens; no secret is shared with them."""

from fastapi import APIRouter
from fastapi.responses import JSONResponse, Response

from serve_app.api import problems
from serve_app.api.auth import Authenticating
from serve_app.api.schemas.auth import PublicKeysReply

router = APIRouter(prefix="/.well-known", tags=["auth"])


@router.get(
    "/jwks.json", response_model=PublicKeysReply, responses=problems.documented(503), summary="Read public keys"
)
async def read_public_keys(authenticator: Authenticating) -> Response:
    """Return two keys: the one that signs, and the one before it while it holds, after that the one to come.

    So whoever reads them again when a token names another one always finds it. Refresh tokens are signed otherwise.
    """
    return JSONResponse({"keys": await authenticator.public_keys()})
