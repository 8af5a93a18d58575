"""Holds one detector's versions of every family in a replica, and decides which of them answers which system.

A version comes from `mlflow_client`, is ready once it has scored the probe window, and is swapped by one reference. The
promoter says which versions stand where, or the registry itself.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from configs.gates import Gates, read_gates
from pipelines.detectors.base import Detail, FeatureTable, joined
from pipelines.detectors.bundle import Bundle, MemberVotes, probe, unpack
from pipelines.diagnosis.records import MemberStatus
from pipelines.errors import ArtefactRejected, HdxError, NotFound, Unavailable, reason_of
from pipelines.machines.family import read_family
from pipelines.promotion.gates import Evidence, compared
from pipelines.promotion.mlflow_client import Registry, Release, model_name, owner_of
from pipelines.promotion.rollout import Assignment, Report, assignment_of, canary_rows
from pipelines.signals.windows import Floats

LOGGER = logging.getLogger(__name__)
NONE = "no champion"
PAST = 4  # versions kept for answers of other days; source: own choice, some megabytes each
DETAILS: Sequence[Detail] = ("score", "components", "full")
ROWS = 16  # windows of a batch that a copy keeps; source: own choice, as much as a vote costs a few milliseconds


@dataclass(frozen=True, slots=True)
class Held:
    """A version in memory that has judged the probe window."""

    release: Release
    bundle: Bundle
    files: tuple[str, ...]

    def votes(self, table: FeatureTable, detail: Detail) -> MemberVotes:
        """Judge windows."""
        return self.bundle.votes(table, self.release.version, detail)


@dataclass(slots=True)
class Trial:
    """A candidate beside the live version, and what it did so far in this stage.

    Attributes:
        copies: Live windows that wait to be scored by both; the oldest go first.
    """

    held: Held
    stage: str
    share: float
    evidence: Evidence
    copies: deque[tuple[FeatureTable, Detail]]
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, piece: Evidence) -> None:
        """Add what was seen."""
        with self.lock:
            self.evidence += piece


@dataclass(frozen=True, slots=True)
class Serving:
    """What answers for one family: replaced whole, by one reference."""

    live: Held
    trial: Trial | None = None


class ModelLoader:
    """Holds one detector's versions of each family and follows what stands in the registry.

    A registry that is down, or a version that does not load, changes nothing but the reported reason.
    """

    def __init__(self, registry: Registry, detector: str, families: Sequence[str], gates: Gates | None = None) -> None:
        self._registry = registry
        self._detector = detector
        self._families = tuple(families)
        self._gates = gates or read_gates()
        self._replica = uuid4().hex
        self._serving: dict[str, Serving] = {}
        self._shelf: dict[tuple[str, str], Held] = {}
        self._past: dict[tuple[str, str], Held] = {}
        self._reasons: dict[str, str] = {}
        self._rejected: dict[str, dict[str, str]] = {}

    def refresh(self) -> None:
        """Ask the registry once, and load what has moved."""
        try:
            states = self._registry.states(self._detector)
        except Exception as error:  # an answer may be of any shape
            for family in self._families:
                if self._reasons.get(family) != NONE:
                    self._note(family, error)
            return
        self.steer({family: assignment_of(state, self._gates) for family, state in states.items()})
        for family, serving in list(self._serving.items()):
            try:
                if not self._registry.present(serving.live.release, serving.live.files):
                    version = serving.live.release.version
                    self._reasons[family] = f"artefact of version {version} is missing from the registry"
            except Exception as error:  # as above
                self._note(family, error)

    def _note(self, family: str, error: Exception) -> None:
        """Keep why a family is not as it should be, and log it once."""
        reason = reason_of(error)
        if self._reasons.get(family) != reason:
            unforeseen = None if isinstance(error, HdxError) else error
            LOGGER.warning("%s, %s, replica %s: %s", self._detector, family, self._replica, reason, exc_info=unforeseen)
        self._reasons[family] = reason

    @property
    def amiss(self) -> bool:
        """Whether something that is wanted could not be had at the last try."""
        return any(reason not in ("", NONE) for reason in self._reasons.values())

    def steer(self, assignments: Mapping[str, Assignment]) -> None:
        """Load what is wanted beside what answers, then swap; what is wanted no more is let go."""
        for family in self._families:
            assignment = assignments.get(family)
            if assignment is None or not assignment.live:
                self._serving.pop(family, None)
                self._reasons[family] = NONE
                continue
            try:
                self._serving[family] = self._prepared(family, assignment)
                self._reasons[family] = ""
            except Exception as error:  # of this family; the others go on
                self._note(family, error)
            self._tidy(family, assignment)

    def _prepared(self, family: str, assignment: Assignment) -> Serving:
        held = self._serving.get(family)
        try:
            live = self._take(family, assignment.live)
        finally:  # what shall answer next is loaded also where what should answer now cannot be
            if assignment.previous:
                self._load_candidate(family, assignment.previous)
            candidate = self._load_candidate(family, assignment.candidate) if assignment.candidate else None
        if candidate is None:
            return Serving(live)
        trial = held.trial if held else None
        if trial and (trial.held, trial.stage) == (candidate, assignment.stage):
            return Serving(live, trial)
        nothing = Evidence(family, assignment.candidate, stage=assignment.stage)
        copies: deque[tuple[FeatureTable, Detail]] = deque(maxlen=self._gates.copies)
        return Serving(live, Trial(candidate, assignment.stage, assignment.share, nothing, copies))

    def _load_candidate(self, family: str, version: str) -> Held | None:
        """Return a version that is not needed yet; None where it cannot be had, noted where it never will be."""
        try:
            return self._take(family, version)
        except (ArtefactRejected, NotFound) as error:
            self._rejected.setdefault(family, {})[version] = str(error)
        except Exception as error:
            self._note(family, error)
        return None

    def _take(self, family: str, version: str) -> Held:
        """Return a version from memory, or from the registry once it has scored the probe window."""
        held = self._shelf.get((family, version))
        if held is None:
            held = take(self._registry, model_name(family, self._detector), version)
            self._shelf[family, version] = held
        return held

    def _tidy(self, family: str, assignment: Assignment) -> None:
        serving = self._serving.get(family)
        kept = {assignment.live, assignment.previous, assignment.candidate} | (
            {serving.live.release.version} if serving else set()
        )
        for key in [key for key in self._shelf if key[0] == family and key[1] not in kept]:
            del self._shelf[key]
        failed = self._rejected.get(family, {})
        self._rejected[family] = {
            version: reason for version, reason in failed.items() if version == assignment.candidate
        }

    def vote(
        self, family: str, table: FeatureTable, detail: Detail = "full", hash_buckets: Floats | None = None
    ) -> MemberVotes:
        """Judge windows with the live version, and those of a few systems with the candidate.

        Args:
            family: The windows'.
            table: Their features.
            detail: What is wanted.
            hash_buckets: `float64[N]` each window's `Inspection.hash_bucket`.

        Raises:
            Unavailable: None is held.
        """
        serving = self._serving.get(family)
        if serving is None:
            raise Unavailable(self._detector, self._reasons.get(family) or "no version loaded")
        votes, trial = serving.live.votes(table, detail), serving.trial
        if trial is None:
            return votes
        trial.copies.append((table.rows(np.arange(min(ROWS, len(table.raw)))), detail))
        if hash_buckets is None or not trial.share:
            return votes
        release = trial.held.release
        rows = canary_rows(release.name, release.version, trial.share, hash_buckets)
        return self._answered_by(trial, votes, table, detail, rows) if len(rows) else votes

    def past(self, family: str, version: str) -> Held:
        """Return a version that once answered, from memory or from the registry.

        Raises:
            NotFound: There is none.
            ArtefactRejected: It is no longer what it was.
            Unavailable: The registry does not answer.
        """
        key = (family, version)
        held = self._shelf.get(key) or self._past.pop(key, None)
        if held is None:
            held = take(self._registry, model_name(family, self._detector), version)
        self._past[key] = held
        for oldest in list(self._past)[:-PAST]:
            self._past.pop(oldest, None)
        return held

    def _answered_by(
        self, trial: Trial, votes: MemberVotes, table: FeatureTable, detail: Detail, rows: NDArray[np.int64]
    ) -> MemberVotes:
        """Return the votes with the candidate's for some windows; where it fails, the live version's stand."""
        try:
            own = trial.held.votes(table.rows(rows), detail)
            laid = votes.overlaid(own, rows)
        except Exception as error:  # whatever a new version raises, the answer stands
            LOGGER.warning("candidate failed: %s", type(error).__name__)
            trial.add(Evidence(trial.evidence.family, trial.evidence.version, errors=len(rows)))
            return votes
        seen = self._compared(trial, votes.anomaly[rows], own.anomaly)
        trial.add(seen._replace(served=len(rows)))
        return laid

    @staticmethod
    def _compared(trial: Trial, live: Floats, candidate: Floats) -> Evidence:
        family, version = trial.evidence.family, trial.evidence.version
        return compared(family, version, live, candidate, read_family(family).severity.warning)

    def score_shadow(self) -> bool:
        """Score the copies of live windows that wait with both versions; tell whether there were any."""
        for serving in list(self._serving.values()):
            trial = serving.trial
            if trial and trial.copies:
                waiting = [trial.copies.popleft() for _ in range(len(trial.copies))]
                details = {detail for _, detail in waiting}
                # The scores do not depend on the detail; the most that is asked is what a version must be able to do.
                detail: Detail = max(details, key=DETAILS.index)
                trial.add(self._beside(serving.live, trial, joined([table for table, _ in waiting]), detail))
                return True
        return False

    def _beside(self, live: Held, trial: Trial, table: FeatureTable, detail: Detail) -> Evidence:
        begun = time.perf_counter()
        known = live.votes(table, detail).anomaly
        between = time.perf_counter()
        try:
            found = trial.held.votes(table, detail).anomaly
        except Exception as error:  # as above
            LOGGER.warning("candidate failed: %s", type(error).__name__)
            return Evidence(trial.evidence.family, trial.evidence.version, errors=len(known))
        ratio = (time.perf_counter() - between) / (between - begun)
        return self._compared(trial, known, found)._replace(ratios=(ratio,))

    def rescore(self) -> None:
        """Score the probe window with every version that answers.

        Raises:
            Unavailable: A version no longer judges it.
        """
        for serving in list(self._serving.values()):
            probe(serving.live.bundle)

    def statuses(self) -> list[MemberStatus]:
        """Report each family that has, or should have, a version."""
        return [self._status(family) for family in self._families if self._reasons.get(family) != NONE]

    def _status(self, family: str) -> MemberStatus:
        serving, reason = self._serving.get(family), self._reasons.get(family, "not looked at yet")
        version = serving.live.release.version if serving else ""
        sha256 = serving.live.release.sha256 if serving else ""
        return MemberStatus(self._detector, family, version, sha256, serving is not None and not reason, reason)

    def report(self) -> Report:
        """Say what is held, what cannot be, and what the candidates did."""
        ready: dict[str, tuple[str, ...]] = {}
        for family, version in list(self._shelf):
            ready[family] = (*ready.get(family, ()), version)
        rejected = {family: dict(versions) for family, versions in self._rejected.items() if versions}
        return Report(self._replica, self._detector, self.statuses(), ready, rejected, list(self._evidence()))

    def _evidence(self) -> Iterator[Evidence]:
        for serving in list(self._serving.values()):
            if serving.trial:
                yield serving.trial.evidence

    @property
    def trying(self) -> bool:
        """Whether any version is on its way in."""
        return any(serving.trial for serving in list(self._serving.values()))


def take(registry: Registry, name: str, version: str) -> Held:
    """Fetch a version that is signed, check every file of it, and let it score the probe window.

    Raises:
        NotFound: There is none.
        ArtefactRejected: It is not what was signed, is no model of this detector, or judges nothing.
        Unavailable: The registry does not answer.
    """
    release = registry.release(name, version)
    return examined(release, registry.fetch(release))


def examined(release: Release, files: Mapping[str, bytes]) -> Held:
    """Return a version of its files once it has scored the probe window.

    Raises:
        ArtefactRejected: It is no model of this detector, or judges nothing.
    """
    name, version = release.name, release.version
    bundle = unpack(files)
    meant = model_name(bundle.card.family, bundle.card.detector, owner_of(name))
    if meant != name:
        raise ArtefactRejected(name, f"version {version} is of {meant}")
    if bundle.card.definition and not owner_of(name):
        raise ArtefactRejected(name, f"version {version} is of a family that one tenant defined")
    probe(bundle)
    return Held(release, bundle, tuple(files))
