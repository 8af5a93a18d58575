"""Asks all detectors about a micro-batch, over features that are computed once, and combines their votes.

It runs in replicas of its own or inside the gateway. A detector that fails, whatever it raises, is an abstention.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from ray import serve
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from deployments.detector import DetectorConfig, Member
from deployments.runtime.bind_address import keep_to_node_address
from deployments.runtime.cancellation import replica_may_stop
from pipelines.detectors.base import Detail, FeatureTable
from pipelines.detectors.bundle import MemberVotes
from pipelines.detectors.untrained import BUILT_IN, untrained
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.findings import judgement_of
from pipelines.diagnosis.labels import labelled
from pipelines.diagnosis.records import Inspection, Judgement, MemberStatus, Versions
from pipelines.errors import HdxError, NoQuorum, Unavailable, cause_of, reason_of
from pipelines.machines.definition import find_family
from pipelines.machines.family import Family
from pipelines.machines.labelling import OTHER_READING, reading_digest
from pipelines.promotion.tenant_models import tenant_of
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats

LOGGER = logging.getLogger(__name__)
LOST = (RayError, RayServeException)  # what a caller sees of a replica that died, or cannot be reached
ATTEMPTS = 2  # a replica that died mid-call is not retried by Serve; one more try lands on another


class Voter(Protocol):
    """A detector, wherever it lives."""

    async def vote(
        self, family: str, table: FeatureTable, detail: Detail, hash_buckets: Floats, version: str
    ) -> MemberVotes:
        """Judge windows of one family."""
        ...

    async def members(self) -> list[MemberStatus]:
        """Report the version held for each family that has one."""
        ...


class Remote:
    """A detector in replicas of its own."""

    def __init__(self, name: str, handle: DeploymentHandle[object], timeout_s: float) -> None:
        self._name = name
        # Naming a method makes a new handle: once here, and not once a call.
        self._vote, self._members = handle.vote, handle.members
        self._timeout_s = timeout_s

    async def vote(
        self, family: str, table: FeatureTable, detail: Detail, hash_buckets: Floats, version: str
    ) -> MemberVotes:
        """Ask a replica, and once more when it dies meanwhile.

        Raises:
            Unavailable: It did not answer in time, or died both times.
            Exception: Whatever was raised down there: by actor calls Ray wraps it, by gRPC it hands it over as it is.
        """
        # Serve sends it to a replica that holds this model already, where there is one.
        vote = self._vote.options(multiplexed_model_id=f"{family}/{version}") if tenant_of(version) else self._vote
        for _ in range(ATTEMPTS):
            try:
                async with asyncio.timeout(self._timeout_s):
                    with replica_may_stop():
                        votes: MemberVotes = await vote.remote(family, table, detail, hash_buckets, version)
                        return votes
            except RayTaskError:
                raise
            except LOST:
                continue
            except TimeoutError:
                raise Unavailable(self._name, f"no vote within {self._timeout_s:g} s") from None
        raise Unavailable(self._name, "its replica failed")

    async def members(self) -> list[MemberStatus]:
        """Ask a replica.

        Raises:
            Exception: As in `vote`, or that it cannot be reached.
        """
        with replica_may_stop():
            statuses: list[MemberStatus] = await self._members.remote()
            return statuses


class Ensemble:
    """Asks all detectors about a micro-batch and combines their votes.

    A detector is reached by its handle, or lives in this process where it is given as what it follows.
    """

    def __init__(
        self,
        detectors: Mapping[str, DeploymentHandle[object] | DetectorConfig],
        quorum: int,
        timeout_s: float,
        promoter: DeploymentHandle[object] | None = None,
    ) -> None:
        self._inside = {
            name: Member(place, promoter) for name, place in detectors.items() if isinstance(place, DetectorConfig)
        }
        self._voters: dict[str, Voter] = {
            name: self._inside[name] if isinstance(place, DetectorConfig) else Remote(name, place, timeout_s)
            for name, place in detectors.items()
        }
        self._quorum = min(quorum, len(self._voters))
        self._limit_s = ATTEMPTS * timeout_s

    async def diagnose(self, inspections: Sequence[Inspection]) -> list[Judgement | HdxError]:
        """Answer each inspection at its own place; an error fills only the places it belongs to."""
        places: defaultdict[tuple[str, Detail, Versions, Versions], list[int]] = defaultdict(list)
        for place, each in enumerate(inspections):
            places[each.family, each.detail, each.versions, each.own].append(place)
        answers: list[Judgement | HdxError] = [NoQuorum("ensemble", "not judged")] * len(inspections)
        groups = [[inspections[place] for place in group] for group in places.values()]
        outcomes = await asyncio.gather(*(self._answer(*kind, g) for kind, g in zip(places, groups, strict=True)))
        for group, outcome in zip(places.values(), outcomes, strict=True):
            for place, answer in zip(group, outcome, strict=True):
                answers[place] = answer
        return answers

    async def _answer(
        self, name: str, detail: Detail, versions: Versions, own: Versions, inspections: list[Inspection]
    ) -> Sequence[Judgement | HdxError]:
        """Judge one group; whatever fails in it is its own error."""
        try:
            return await self._judge(name, detail, versions, own, inspections)
        except HdxError as error:
            return [error] * len(inspections)
        except Exception as error:
            LOGGER.exception("%d windows of family %s not judged", len(inspections), name)
            return [Unavailable("ensemble", reason_of(error))] * len(inspections)

    async def _judge(
        self, name: str, detail: Detail, versions: Versions, own: Versions, inspections: list[Inspection]
    ) -> Sequence[Judgement]:
        family = find_family(name, inspections[0].definition)
        table = make_feature_table([i.window for i in inspections], [i.baseline for i in inspections], family)
        hash_buckets = np.array([inspection.hash_bucket for inspection in inspections])
        wanted = dict(versions)
        asked = [detector for detector in self._voters if not wanted or detector in wanted]
        if family.definition:
            named = wanted or dict(own)
            votes, absent = await self._of_own_family(asked, family, table, detail, hash_buckets, named, not wanted)
            family, votes = labelled(family, votes)
            quorum = len(asked) if wanted else 1
        else:
            named = wanted or dict(own)
            table_of = family.name, table, detail, hash_buckets
            ballots = (self._vote(each, *table_of, named.get(each, "")) for each in asked)
            replies = await asyncio.gather(*ballots)
            votes = {reply.detector: reply for reply in replies if isinstance(reply, MemberVotes)}
            absent = {d: r for d, r in zip(asked, replies, strict=True) if isinstance(r, str)}
            quorum = len(asked) if wanted else self._quorum  # an answer of that day needs all who gave it
        found = judge(family, inspections, table, votes, absent, quorum, detail=detail)
        judged = map(judgement_of, found)
        # Nobody's system learns nothing, and what travels for nothing costs as much as a vote.
        return [each if i.owner else each._replace(learned=None) for i, each in zip(inspections, judged, strict=True)]

    async def _of_own_family(
        self,
        asked: Sequence[str],
        family: Family,
        table: FeatureTable,
        detail: Detail,
        hash_buckets: Floats,
        named: Mapping[str, str],
        live: bool,
    ) -> tuple[dict[str, MemberVotes], dict[str, str]]:
        """Return the votes on a family that a tenant defined, and why others have none.

        The tenant's trained versions vote where they read windows as the family does today. What needs no training
        votes where none is trained, and live also in place of one that cannot.
        """
        trained = [detector for detector in asked if tenant_of(named.get(detector, ""))]
        ballots = (self._vote(each, family.name, table, detail, hash_buckets, named[each]) for each in trained)
        replies = dict(zip(trained, await asyncio.gather(*ballots), strict=True))
        known = {d: r for d, r in replies.items() if isinstance(r, MemberVotes) and r.reading == reading_digest(family)}
        lost = {d: r if isinstance(r, str) else OTHER_READING for d, r in replies.items() if d not in known}
        stand_ins = [detector for detector in asked if detector not in replies or (live and detector in lost)]
        votes, absent = _untrained(stand_ins, family, table, detail)
        votes |= known
        absent |= lost
        # Sums run in the order of answers, live and in replays.
        return {d: votes[d] for d in asked if d in votes}, {d: r for d, r in absent.items() if d not in votes}

    async def _vote(
        self, detector: str, family: str, table: FeatureTable, detail: Detail, hash_buckets: Floats, version: str
    ) -> MemberVotes | str:
        """Return the detector's votes, or in words why there are none."""
        try:
            async with asyncio.timeout(self._limit_s):  # one in this process may wait for its registry, too
                votes = await self._voters[detector].vote(family, table, detail, hash_buckets, version)
            if len(votes.anomaly) != len(table.raw):
                raise ValueError(f"{len(votes.anomaly)} votes on {len(table.raw)} windows")
            return votes
        except Exception as error:
            if not isinstance(cause_of(error), HdxError):
                LOGGER.exception("%s does not vote on family %s", detector, family)
            return reason_of(error)

    async def members(self) -> list[MemberStatus]:
        """Report every detector's versions; one that cannot be reached holds none."""
        replies = await asyncio.gather(*map(self._held, self._voters))
        return [status for reply in replies for status in reply]

    async def _held(self, detector: str) -> list[MemberStatus]:
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._voters[detector].members()
        except Exception as error:
            LOGGER.warning("%s does not say what it holds: %s", detector, reason_of(error))
            return []

    async def check_health(self) -> None:
        """Let the detectors in this process score the probe window again."""
        for member in self._inside.values():
            await member.check_health()


def _untrained(
    asked: Sequence[str], family: Family, table: FeatureTable, detail: Detail
) -> tuple[dict[str, MemberVotes], dict[str, str]]:
    """Return the votes of those who need no training, in this process, and why the others have none."""
    votes, absent = {}, {}
    for detector in asked:
        try:
            votes[detector] = untrained(detector, family).votes(table, BUILT_IN, detail)
        except Unavailable as error:
            absent[detector] = error.reason
    return votes, absent


@serve.deployment(name="Ensemble")
class EnsembleReplica(Ensemble):
    """An ensemble in replicas of its own."""

    def __init__(self, detectors: Mapping[str, DeploymentHandle[object]], quorum: int, timeout_s: float) -> None:
        keep_to_node_address()
        super().__init__(detectors, quorum, timeout_s)
