"""Decides the next step of a version's way into the fleet, from plain values and without I/O.

Replicas, promoter and registry exchange these values.

    champion moves -> shadow -> canary -> live         a gate breaks, anywhere on the way: champion moves back
                  \\-> urgent ----------> live          loaded and scored the probe window, no gate asked
    champion moves to the previous version -> live     it is still in every replica's memory
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, NamedTuple, get_args
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from configs.gates import Gates
from pipelines.diagnosis.records import MemberStatus
from pipelines.promotion.gates import Evidence, broken, enough, pooled
from pipelines.signals.windows import Floats

Stage = Literal["shadow", "canary", "urgent"]


@dataclass(frozen=True, slots=True)
class Rollout:
    """A version on its way in, as the registered model's tag carries it.

    Attributes:
        since: When its stage began, seconds since the epoch.
        actor: Who asked for it; empty for a click in MLflow.
        reason: Why the gates are skipped; empty where they are not.
    """

    version: str
    stage: Stage
    since: float
    actor: str = ""
    reason: str = ""

    def to_json(self) -> str:
        """Return the tag's text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Rollout | None":
        """Rebuild from `to_json`; text that is none of ours is no rollout."""
        try:
            found = cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError):
            return None
        return found if found.stage in get_args(Stage) and isinstance(found.since, float | int) else None


class ModelState(NamedTuple):
    """What stands where for one registered model; a version that is not there is empty.

    Attributes:
        champion: What people want to be live.
        live: What the replicas answer with.
        previous: What they answered with before, kept in memory.
        adopted: Whether `live` has been set; before that it is the champion.
    """

    name: str
    champion: str
    live: str
    previous: str
    adopted: bool
    rollout: Rollout | None


class Assignment(NamedTuple):
    """What a replica does with one model.

    Attributes:
        share: Share of the systems that the candidate answers.
    """

    live: str
    previous: str = ""
    candidate: str = ""
    stage: str = ""
    share: float = 0.0


class Report(NamedTuple):
    """What one detector in one replica has to say.

    Attributes:
        replica: Unique in the fleet.
        ready: By family, the versions in memory that have scored the probe window.
        rejected: By family, what cannot be loaded: version and reason.
    """

    replica: str
    detector: str
    statuses: Sequence[MemberStatus]
    ready: Mapping[str, tuple[str, ...]]
    rejected: Mapping[str, Mapping[str, str]]
    evidence: Sequence[Evidence]


class PromotionRequest(NamedTuple):
    """What somebody asks for.

    Attributes:
        version: Shall answer; empty goes back: out of a rollout that runs, else to the previous version.
        reason: Why the gates are skipped; empty where they are not.
    """

    name: str
    version: str
    actor: str
    reason: str = ""


class Transition(NamedTuple):
    """The next step of one model.

    Attributes:
        kind: `adopt` names what is live for the first time; `begin` and `stage` write the rollout; `finish` makes the
            champion live; `back` returns the alias; `drop` forgets a rollout that nobody wants any more.
    """

    kind: Literal["wait", "adopt", "begin", "stage", "finish", "back", "drop"]
    rollout: Rollout | None = None
    reason: str = ""


def assignment_of(state: ModelState, gates: Gates) -> Assignment:
    """Return what replicas do while a model stands so."""
    rollout = state.rollout
    if rollout is None or rollout.version == state.live:
        return Assignment(state.live, state.previous)
    share = gates.canary.share if rollout.stage == "canary" else 0.0
    return Assignment(state.live, state.previous, rollout.version, rollout.stage, share)


def canary_rows(name: str, version: str, share: float, hash_buckets: Floats) -> NDArray[np.int64]:
    """Return the windows whose systems a canary answers: always the same ones, and others for every version.

    Args:
        hash_buckets: `float64[N]` each window's `Inspection.hash_bucket`.
    """
    turn = crc32(f"{name}/{version}".encode()) / 2**32
    rows: NDArray[np.int64] = np.flatnonzero((hash_buckets + turn) % 1 < share)
    return rows


def next_transition(
    state: ModelState, reports: Sequence[Report], family: str, backtest: Evidence | None, gates: Gates, now: float
) -> Transition:
    """Decide the next step of one model.

    Args:
        state: As the registry has it.
        reports: Of every replica that holds the model's detector.
        family: The model's.
        backtest: What the candidate did on stored windows; None while that is not known.
        gates: What a candidate must hold.
        now: Seconds since the epoch.
    """
    rollout, wanted = state.rollout, state.champion
    if not wanted:
        return Transition("wait")  # an alias that was removed changes nothing
    if not state.adopted:
        return Transition("adopt")
    if wanted == state.live:
        return Transition("drop") if rollout else Transition("wait")
    if rollout is None or rollout.version != wanted:
        if wanted == state.previous:
            return Transition("finish", reason="back to the previous version")
        return Transition("begin", Rollout(wanted, "shadow", now))
    return _judged(rollout, reports, family, backtest, gates, now)


def apply_transition(state: ModelState, transition: Transition) -> ModelState:
    """Return how a model stands once a step has been written."""
    match transition.kind:
        case "adopt":
            return state._replace(live=state.champion, adopted=True)
        case "begin" | "stage":
            return state._replace(rollout=transition.rollout)
        case "finish":
            return state._replace(live=state.champion, previous=state.live, rollout=None)
        case "back":
            return state._replace(champion=state.live, rollout=None)
        case "drop":
            return state._replace(rollout=None)
        case "wait":
            return state


def _judged(
    rollout: Rollout, reports: Sequence[Report], family: str, backtest: Evidence | None, gates: Gates, now: float
) -> Transition:
    """Decide the next step of a candidate from what the replicas report of it."""
    seen = seen_of(rollout, reports, family)
    reason = _refused(rollout, reports, family)
    if rollout.stage != "urgent":
        reason = reason or broken(seen, gates) or (broken(backtest, gates) if backtest else "")
    if reason:
        return Transition("back", rollout, reason)
    if not reports or not all(rollout.version in report.ready.get(family, ()) for report in reports):
        return Transition("wait")  # whoever answers must be able to, before anybody does
    if rollout.stage == "urgent":
        return Transition("finish", rollout, f"urgent, gates skipped: {rollout.reason}")
    if backtest is None or not enough(seen, rollout.stage, gates, now - rollout.since):
        return Transition("wait")
    if rollout.stage == "canary":
        return Transition("finish", rollout, "every gate held")
    return Transition("stage", Rollout(rollout.version, "canary", now, rollout.actor, rollout.reason))


def _refused(rollout: Rollout, reports: Sequence[Report], family: str) -> str:
    """Return why a replica cannot load the candidate, or an empty string."""
    reasons = (report.rejected.get(family, {}).get(rollout.version, "") for report in reports)
    return next((f"cannot be loaded: {reason}" for reason in reasons if reason), "")


def seen_of(rollout: Rollout, reports: Iterable[Report], family: str) -> Evidence:
    """Return what the candidate did so far in the whole fleet."""
    wanted = (family, rollout.version, rollout.stage)
    pieces = [piece for report in reports for piece in report.evidence]
    return pooled(piece for piece in pieces if (piece.family, piece.version, piece.stage) == wanted)
