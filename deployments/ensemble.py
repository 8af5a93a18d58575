"""Below the gateway: features once a batch, one call to each detector, one diagnosis a window.

Exists so that a failed or missing detector is an abstention and never a failed answer.
"""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from configs.families import read_family
from deployments.listening import keep_to_node_address
from pipelines.detectors.base import Sheet
from pipelines.detectors.bundle import MemberVotes
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.records import Diagnosis, Inspection, MemberStatus
from pipelines.errors import HdxError, NoQuorum
from pipelines.signals.reading import make_sheet

ATTEMPTS = 2  # a replica that died mid-call is not retried by Serve; one more try lands on another


@serve.deployment
class Ensemble:
    """Fans a micro-batch out to the detectors and combines their votes."""

    def __init__(self, detectors: Mapping[str, DeploymentHandle[object]], quorum: int, timeout_s: float) -> None:
        keep_to_node_address()
        self._detectors = dict(detectors)
        self._quorum = min(quorum, len(self._detectors))
        self._timeout_s = timeout_s

    async def diagnose(self, inspections: Sequence[Inspection]) -> list[Diagnosis | HdxError]:
        """Answer each inspection at its own place; an error fills only the places it belongs to."""
        places: defaultdict[str, list[int]] = defaultdict(list)
        for place, inspection in enumerate(inspections):
            places[inspection.family].append(place)
        answers: list[Diagnosis | HdxError] = [NoQuorum("ensemble", "not judged")] * len(inspections)
        groups = [[inspections[place] for place in group] for group in places.values()]
        outcomes = await asyncio.gather(*map(self._judge, places, groups))
        for group, outcome in zip(places.values(), outcomes, strict=True):
            for place, answer in zip(group, outcome, strict=True):
                answers[place] = answer
        return answers

    async def _judge(self, name: str, inspections: list[Inspection]) -> Sequence[Diagnosis | HdxError]:
        family = read_family(name)
        sheet = make_sheet([i.window for i in inspections], [i.baseline for i in inspections], family)
        replies = await asyncio.gather(*(self._vote(detector, name, sheet) for detector in self._detectors))
        votes = {reply.detector: reply for reply in replies if isinstance(reply, MemberVotes)}
        absent = {d: r for d, r in zip(self._detectors, replies, strict=True) if isinstance(r, str)}
        try:
            return judge(family, inspections, sheet, votes, absent, self._quorum)
        except NoQuorum as error:
            return [error] * len(inspections)

    async def _vote(self, detector: str, family: str, sheet: Sheet) -> MemberVotes | str:
        """Return the detector's votes, or in words why there are none."""
        reason = ""
        for _ in range(ATTEMPTS):
            try:
                async with asyncio.timeout(self._timeout_s):
                    votes: MemberVotes = await self._detectors[detector].vote.remote(family, sheet)
                    return votes
            except HdxError as error:
                return str(error)
            except TimeoutError:
                return f"no vote within {self._timeout_s:g} s"
            except (RayError, RayServeException):
                reason = "its replica failed"
        return reason

    async def members(self) -> list[MemberStatus]:
        """Report every detector's versions; one that cannot be reached has none."""
        replies = await asyncio.gather(*map(self._members, self._detectors))
        return [status for reply in replies for status in reply]

    async def _members(self, detector: str) -> list[MemberStatus]:
        try:
            async with asyncio.timeout(self._timeout_s):
                statuses: list[MemberStatus] = await self._detectors[detector].members.remote()
                return statuses
        except (TimeoutError, RayError, RayServeException):
            return []
