"""Says whether the parts behind the routes work now; a detector counts only when it has judged a window.

`live` is for whoever restarts processes, `ready` for whoever sends them requests, `/health/` for people and monitoring.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, Response

from pipelines.detectors.members import registry
from pipelines.diagnosis.records import MemberStatus
from serve_app.api.ports import Health, Services
from serve_app.api.schemas.health import HealthReply, LiveReply
from serve_app.shared import logs

# Source: shorter than the 10 s period of Kubernetes' probes, longer than a burst of them; anyone may call health,
# and each round of checks asks every replica.
FRESH_S = 1.0
# Source: Kubernetes' probes give up after 1 s by default; five leave room for a slow part to be told from a dead one.
CHECK_TIMEOUT_S = 5.0
NEEDED = frozenset({"database", "ml_service"})
# How long a replica that starts waits for its assistant, which comes up seconds after the detectors; one that is
# missing longer is an outage, and no reason to keep windows waiting. Source: own choice; some ten times what it takes.
STARTING_S = 60.0
FIRST_FAMILY = "generic"

Found = TypeVar("Found")

router = APIRouter(prefix="/health", tags=["health"])
DOWN: dict[int | str, dict[str, Any]] = {503: {"model": HealthReply, "description": "A needed part is down"}}
NOT_READY: dict[int | str, dict[str, Any]] = {
    503: {"model": HealthReply, "description": "A needed part is down, or the replica is still starting"}
}


@dataclass(frozen=True, slots=True)
class Report:
    """One round of checks.

    Attributes:
        loaded: Detectors that can be relied on, in the registry's order.
    """

    checks: Mapping[str, Health]
    loaded: tuple[str, ...]
    timestamp: float

    @property
    def status(self) -> str:
        """The whole in one word."""
        if any(self.checks[part] == "down" for part in NEEDED):
            return "unhealthy"
        return "healthy" if set(self.checks.values()) == {"ok"} else "degraded"


class HealthCheck:
    """Checks all parts at once, at most once in `FRESH_S`, for however many callers."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._report: Report | None = None
        self._running: asyncio.Task[Report] | None = None
        self._begun = time.monotonic()
        self._started = False

    async def ready(self) -> tuple[Report, bool]:
        """Return the last round of checks, and whether requests can be taken: at first of every kind, then windows."""
        report = await self.report()
        if not self._started:
            whole = all(report.checks[part] != "down" for part in NEEDED | {"rag_service"})
            self._started = whole or time.monotonic() - self._begun > STARTING_S
        return report, self._started and report.status != "unhealthy"

    async def report(self) -> Report:
        """Return the last round of checks, or run one."""
        if self._report is not None and time.time() - self._report.timestamp < FRESH_S:
            return self._report
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._round())
        # A caller that hangs up must not cancel the round for the others.
        self._report = await asyncio.shield(self._running)
        return self._report

    async def _round(self) -> Report:
        services = self._services
        database, cache, members, rag = await asyncio.gather(
            _checked("database", self._database),
            _checked("cache", self._cache),
            _checked("ml_service", services.diagnoser.members),
            _checked("rag_service", services.assistant.health),
        )
        loaded = loaded_detectors(members or ())
        checks: dict[str, Health] = {"database": database or "down", "cache": cache or "down"}
        if services.settings.redis.url is not None:
            checks["redis"] = checks["cache"]
        checks["ml_service"] = members_health(members or (), loaded)
        checks["rag_service"] = rag or "down"
        return Report(checks, loaded, time.time())

    async def _database(self) -> Health:
        await self._services.store.ping()
        return "ok"

    async def _cache(self) -> Health:
        return "ok" if await self._services.cache.ping() else "down"


async def _checked(part: str, check: Callable[[], Awaitable[Found]]) -> Found | None:
    """Return what a check finds, or None when it fails or does not end."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check()
    except Exception as error:
        logs.write("health.failed", logging.WARNING, error, part=part)
        return None


def loaded_detectors(members: Sequence[MemberStatus]) -> tuple[str, ...]:
    """Return the detectors that have judged a window with their version of each family that has one."""
    by_detector = {name: [member for member in members if member.detector == name] for name in registry()}
    return tuple(name for name, own in by_detector.items() if own and all(member.scored_probe for member in own))


def members_health(members: Sequence[MemberStatus], loaded: Sequence[str]) -> Health:
    """Return `down` when no detector can judge the first family, `degraded` when one is missing anywhere."""
    first = {member.detector for member in members if member.family == FIRST_FAMILY and member.scored_probe}
    if not first:
        return "down"
    return "ok" if set(loaded) == first == set(registry()) else "degraded"


async def health_check_of(request: Request) -> HealthCheck:
    """Return this application's health check."""
    health_check: HealthCheck = request.app.state.health_check
    return health_check


CheckedParts = Annotated[HealthCheck, Depends(health_check_of)]


def _shown(report: Report, fine: bool) -> Response:
    body = {"status": report.status, "timestamp": round(report.timestamp, 3), "checks": dict(report.checks)}
    return JSONResponse(body, 200 if fine else 503)


@router.get("/", response_model=HealthReply, responses=DOWN, summary="Check all parts")
async def health(health_check: CheckedParts) -> Response:
    """Say how each part is now, for people and monitoring.

    503 and `unhealthy` while database or detectors are down; any other part that is not `ok` makes it `degraded`, and
    is answered around.
    """
    report = await health_check.report()
    return _shown(report, report.status != "unhealthy")


@router.get("/ready", response_model=HealthReply, responses=NOT_READY, summary="Check whether requests can be taken")
async def ready(health_check: CheckedParts) -> Response:
    """Say whether requests may be sent here, for load balancers, readiness probes and `hdx run`.

    200 promises that windows are judged and stored. While a replica starts it also waits until questions are answered,
    for a minute at most; an assistant that is lost later takes no replica out.
    """
    return _shown(*await health_check.ready())


@router.get("/live", response_model=LiveReply, summary="Check that the process answers")
async def live() -> Response:
    """Say that this process answers, for liveness probes; what stands behind it no restart would mend."""
    return JSONResponse({"status": "alive"})
