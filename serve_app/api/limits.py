"""How many requests a caller may make, and how many it has made."""

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serve_app.api import problems
from serve_app.api.auth import Authenticator, Reader
from serve_app.api.limiter import KINDS, Limiter
from serve_app.api.ports import Services
from serve_app.api.schemas.limits import LimitsReply
from serve_app.shared.completion import completed
from serve_app.shared.quotas import PERIOD_S, Balance, RedisLedger
from serve_app.store.protocols_rates import Ledger

router = APIRouter(prefix="/api/limits", tags=["limits"])


def limiter_of(services: Services, authenticator: Authenticator) -> Limiter:
    """Return what limits the requests of one gateway: all count in Redis, or else in PostgreSQL."""
    redis = services.settings.redis.url
    ledger: Ledger = services.store.rates if redis is None else RedisLedger(redis.get_secret_value())
    return Limiter(services.settings.rates, ledger, authenticator.is_device)


@router.get("/", response_model=LimitsReply, responses=problems.documented(401), summary="Read your quotas")
async def read_limits(request: Request, caller: Reader) -> Response:
    """Return every quota that the caller's requests count against, its tenant's and its own, with what is used of it.

    A kind of requests that is not listed has no limit. Every answer tells those of its own kind by the headers
    `RateLimit-Policy` and `RateLimit`.
    """
    limiter: Limiter = request.app.state.limiter
    quotas = [quota for kind in KINDS for quota in limiter.quotas_of(kind, caller)] if limiter.on else []
    # All callers' counts are settled, whether this one waits for it or not.
    await completed(limiter.quotas.settle([quota.name for quota in quotas]))
    balances = limiter.quotas.balances(quotas)
    reset_s = balances[0].reset_s if balances else PERIOD_S
    return JSONResponse({"window_s": PERIOD_S, "reset_s": reset_s, "quotas": [_shown(each) for each in balances]})


def _shown(balance: Balance) -> dict[str, object]:
    of, _, requests = balance.quota.policy.partition("-")
    limit, remaining = balance.quota.limit, balance.remaining
    names = {"policy": balance.quota.policy, "of": of, "requests": requests}
    return {**names, "limit": limit, "used": limit - remaining, "remaining": remaining}
