"""Below the ensemble: one detector's replicas, each holding the champion of every family.

Exists so that a detector scales, fails and changes version without the others.
"""

import threading
import time

from ray import serve

from configs.families import family_names
from deployments.listening import keep_to_node_address
from pipelines.detectors.base import Sheet
from pipelines.detectors.bundle import MemberVotes
from pipelines.diagnosis.records import MemberStatus
from pipelines.lifecycle.follower import Follower
from pipelines.lifecycle.registry import Registry


@serve.deployment
class DetectorReplica:
    """Votes with the champion that the registry names, and follows it when it moves."""

    def __init__(self, detector: str, tracking_url: str, alias: str, poll_s: float) -> None:
        keep_to_node_address()
        self._follower = Follower(Registry(tracking_url, alias), detector, family_names())
        self._follower.refresh()
        self._poll_s = poll_s
        threading.Thread(target=self._follow, name="follow-champion", daemon=True).start()

    def _follow(self) -> None:
        while True:
            time.sleep(self._poll_s)
            self._follower.refresh()

    async def vote(self, family: str, sheet: Sheet) -> MemberVotes:
        """Judge windows of one family.

        Raises:
            Unavailable: No usable version of this detector for that family.
        """
        return self._follower.vote(family, sheet)

    async def members(self) -> list[MemberStatus]:
        """Report the version held for each family that has one."""
        return self._follower.statuses()

    def check_health(self) -> None:
        """Score the canary window again; a replica that cannot is replaced."""
        self._follower.rescore()
