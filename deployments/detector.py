"""Below the ensemble: one detector, in replicas of its own or in the ensemble's process, with every family's champion.

Exists so that a detector scales, fails and changes version without the others, by the same code in both placements.
"""

import threading
import time
from dataclasses import dataclass

from ray import serve

from configs.families import family_names
from deployments.listening import keep_to_node_address
from pipelines.detectors.base import Detail, Sheet
from pipelines.detectors.bundle import MemberVotes
from pipelines.diagnosis.records import MemberStatus
from pipelines.lifecycle.follower import Follower
from pipelines.lifecycle.registry import Registry


@dataclass(frozen=True, slots=True)
class Following:
    """Which detector follows which alias.

    Units: `poll_s` seconds between two looks at the registry.
    """

    detector: str
    tracking_url: str
    alias: str
    poll_s: float


class Member:
    """Votes with the champion that the registry names, and follows it when it moves."""

    def __init__(self, following: Following) -> None:
        registry = Registry(following.tracking_url, following.alias)
        self._follower = Follower(registry, following.detector, family_names())
        self._follower.refresh()
        self._poll_s = following.poll_s
        threading.Thread(target=self._follow, name=f"follow-{following.detector}", daemon=True).start()

    def _follow(self) -> None:
        while True:
            time.sleep(self._poll_s)
            self._follower.refresh()

    async def vote(self, family: str, sheet: Sheet, detail: Detail) -> MemberVotes:
        """Judge windows of one family.

        Raises:
            Unavailable: No usable version of this detector for that family.
        """
        return self._follower.vote(family, sheet, detail)

    async def members(self) -> list[MemberStatus]:
        """Report the version held for each family that has one."""
        return self._follower.statuses()

    def check_health(self) -> None:
        """Score the canary window again; a replica that cannot is replaced."""
        self._follower.rescore()


@serve.deployment
class DetectorReplica(Member):
    """A detector in replicas of its own."""

    def __init__(self, following: Following) -> None:
        keep_to_node_address()
        super().__init__(following)
