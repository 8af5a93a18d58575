"""Runs one detector with every family's versions, in replicas of its own or in the ensemble's process.

The ensemble asks it for votes; a thread follows the versions that the promoter or the registry names.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from configs.gates import read_gates
from deployments.runtime.bind_address import keep_to_node_address
from deployments.runtime.cancellation import replica_may_stop
from pipelines.detectors.base import Detail, FeatureTable
from pipelines.detectors.bundle import MemberVotes
from pipelines.diagnosis.records import MemberStatus
from pipelines.machines.family import family_names
from pipelines.promotion.mlflow_client import Access, Registry
from pipelines.promotion.model_loader import ModelLoader
from pipelines.promotion.rollout import Assignment
from pipelines.promotion.tenant_model import TenantModel
from pipelines.promotion.tenant_models import tenant_of
from pipelines.signals.windows import Floats

LOGGER = logging.getLogger(__name__)
MOST_REST_S = 1.0  # after a copy that took long; a report is not late for longer than that
# Models of single tenants that a detector's replica holds. Source: docs/capacity.md, four detectors of a family take
# 12 MB; 64 of each are 0.8 GB.
OWN_MAX = 64
# A replica's own looks at the registry come so much more rarely while the promoter is heard. Source: own measurement,
# the looks of two packed replicas kept MLflow at an eighth of a core.
RARER = 5
REPORT_TIMEOUT_S = 2.0  # a promoter that is away is asked again; the registry says the same, later


@dataclass(frozen=True, slots=True)
class DetectorConfig:
    """Which detector follows which registry.

    Units: `poll_s` seconds between two looks at the registry where nobody else looks.
    """

    detector: str
    access: Access
    poll_s: float


class Member:
    """Votes with the versions that the registry names, and follows them when they move.

    One thread loads, when the promoter says so or by its own look at the registry: rarely while the promoter is there.
    A task reports, and lets candidates try copies of live windows for a small share of the time. Answers wait for
    neither.
    """

    def __init__(self, following: DetectorConfig, promoter: DeploymentHandle[Any] | None = None) -> None:
        self._registry = Registry(following.access)
        self._detector = following.detector
        self._loader = ModelLoader(self._registry, following.detector, family_names())
        self._loader.refresh()
        self._poll_s = following.poll_s
        self._promoter = promoter
        self._assignments: Mapping[str, Assignment] | None = None
        self._news = threading.Event()
        self._heard = -math.inf
        self._reporting: asyncio.Task[None] | None = None
        threading.Thread(target=self._follow, name=f"follow-{following.detector}", daemon=True).start()

    def _follow(self) -> None:
        looked = time.monotonic()
        while True:
            is_news = self._news.wait(self._poll_s)
            try:
                if is_news:
                    self._news.clear()
                    if self._assignments:
                        self._loader.steer(self._assignments)
                elif not self._is_led() or time.monotonic() - looked >= RARER * self._poll_s:
                    self._loader.refresh()
                    looked = time.monotonic()
            except Exception:
                LOGGER.exception("%s: versions not followed", self._detector)

    def _is_led(self) -> bool:
        """Tell whether the promoter, which looks for all replicas, was heard of late, and nothing is missing here."""
        return time.monotonic() - self._heard < self._poll_s and not self._loader.amiss

    async def _report(self, promoter: DeploymentHandle[Any]) -> None:
        gates, report = read_gates(), promoter.report
        while True:
            try:
                held = await self._tell(report)
                if self._loader.trying:
                    await self._score_shadow(time.monotonic() + gates.report_s)
                elif not held:
                    await asyncio.sleep(gates.report_s)
            except Exception:
                LOGGER.exception("%s: not reported", self._detector)
                await asyncio.sleep(gates.report_s)

    async def _score_shadow(self, end: float) -> None:
        """Try candidates until the next report is due, for no more than their share of the time."""
        gates = read_gates()
        while (now := time.monotonic()) < end:
            worked = await asyncio.to_thread(self._loader.score_shadow)
            rest_s = (time.monotonic() - now) * (1 / gates.duty - 1) if worked else gates.report_s / 5
            await asyncio.sleep(min(rest_s, MOST_REST_S))

    async def _tell(self, report: DeploymentHandle[Any]) -> bool:
        """Report once; what the promoter answers, at once or when there is news, is loaded by the thread.

        Returns:
            Whether it would have held its answer back while there was no news.
        """
        try:
            async with asyncio.timeout(REPORT_TIMEOUT_S):
                with replica_may_stop():
                    assignments: Mapping[str, Assignment] = await report.remote(self._loader.report())
        except (TimeoutError, RayError, RayServeException):
            return False
        if assignments:
            self._heard = time.monotonic()
        if assignments and assignments != self._assignments:
            self._assignments = assignments
            self._news.set()
        return bool(assignments) and not any(assignment.candidate for assignment in assignments.values())

    async def vote(
        self, family: str, table: FeatureTable, detail: Detail, hash_buckets: Floats | None = None, version: str = ""
    ) -> MemberVotes:
        """Judge windows of one family with what is live for their systems, or with one version, shared or a tenant's.

        Raises:
            Unavailable: No usable version of this detector for that family.
            NotFound: There is no such version.
        """
        if tenant_of(version):
            own: TenantModel = await self._own(f"{family}/{version}")
            if own.is_due():
                await asyncio.to_thread(own.load)
            return own.votes(table, detail)
        if version:
            held = await asyncio.to_thread(self._loader.past, family, version)
            return held.votes(table, detail)
        return self._loader.vote(family, table, detail, hash_buckets)

    @serve.multiplexed(max_num_models_per_replica=OWN_MAX)  # type: ignore[untyped-decorator]  # Ray's has no types
    async def _own(self, model_id: str) -> TenantModel:
        """Load a tenant's own model, whose id is `family/version`; Serve keeps those that were used last."""
        family, _, version = model_id.partition("/")
        own = TenantModel(self._registry, family, self._detector, version)
        await asyncio.to_thread(own.load)
        return own

    async def members(self) -> list[MemberStatus]:
        """Report the version held for each family that has one."""
        return self._loader.statuses()

    async def check_health(self) -> None:
        """Score the probe window again, and keep reporting; Ray calls this first when the replica starts.

        Raises:
            Unavailable: A version no longer judges it; the replica is replaced.
        """
        if self._promoter is not None and (self._reporting is None or self._reporting.done()):
            self._reporting = asyncio.create_task(self._report(self._promoter))
        await asyncio.to_thread(self._loader.rescore)


@serve.deployment
class DetectorReplica(Member):
    """A detector in replicas of its own."""

    def __init__(self, following: DetectorConfig, promoter: DeploymentHandle[Any] | None = None) -> None:
        keep_to_node_address()
        super().__init__(following, promoter)
