"""Turns the members' votes into one diagnosis a window: weighs, decides, then puts what is decided into words.

The Ensemble deployment and offline scoring both call it, so that a window is judged the same way wherever it is sent.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Detail, FeatureTable
from pipelines.detectors.bundle import MemberVotes
from pipelines.detectors.members import registry
from pipelines.diagnosis.attribution import attribute
from pipelines.diagnosis.calibration import expit
from pipelines.diagnosis.components import Parts, affected, judge_parts, kinds, loudest, ranked
from pipelines.diagnosis.records import (
    Attribution,
    Diagnosis,
    Inspection,
    Quality,
    SeverityName,
    Vote,
)
from pipelines.diagnosis.situation import COMMISSIONING, Situations, completed, situations
from pipelines.errors import NoQuorum
from pipelines.machines.baseline import SETTLED, learn_each
from pipelines.machines.commissioning import LEAST, TAUGHT_WITHIN, Learned
from pipelines.machines.family import Family
from pipelines.signals.features import level_columns
from pipelines.signals.quality import qualities, quality, still_channels
from pipelines.signals.reading import reads_deviations
from pipelines.signals.windows import Floats

# Source: held-out sets have some thousand windows, so no member can have earned more certainty than this.
CERTAINTY = 1e-3
# Source: own choice; a member no better than chance is heard only where nobody else votes.
WEIGHT_LEAST = 1e-6
# Share of the warning threshold below which a window is normal enough to learn from. Source: water loop, the adaptive
# member alone: mean AUC of a recording 0.867 at 0.5, 0.888 at 0.7, 0.871 at 1, where faults begin to be absorbed.
LEARN_BELOW = 0.7
# Source: own choice; a window of less than half the length asked for shows levels, not spreads.
LEARN_LENGTH = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Tally:
    """The votes of M members on N windows, weighed.

    Attributes:
        scores: `float64[M, N]`; NaN where a member abstains.
        weights: `float64[M, N]`; each column adds up to 1, or to 0 where all abstain.
        score: `float64[N]`; NaN where all abstain.
        spread: `float64[N]` weighted standard deviation of the members' scores.
        contributions: `float64[N, R]` in log-odds, by the members that can explain themselves.
        base: `float64[N]` log-odds that the contributions add to.
        heads: By head `float64[N, K]`.
    """

    members: tuple[MemberVotes, ...]
    scores: Floats
    weights: Floats
    score: Floats
    spread: Floats
    contributions: Floats
    base: Floats
    heads: Mapping[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """What is decided of N windows, before it is put into words.

    Attributes:
        quality: `float64[N]` how much the data allow to be said.
        thresholds: `float64[N]` that each score was compared with.
        is_anomaly: `bool[N]`; False where nobody could judge.
        left: `bool[N]` whether the system is in alarm after it; an abstention leaves its state as it was.
        confidence: `float64[N]`; 0 where nobody could judge.
        parts: What the heads say of each component.
        kinds: `object[N]` what each window would be called if it is an anomaly; None where no head says.
    """

    tally: Tally
    quality: Floats
    thresholds: Floats
    is_anomaly: NDArray[np.bool_]
    left: NDArray[np.bool_]
    confidence: Floats
    parts: Parts
    kinds: NDArray[np.object_]

    def severities(self, family: Family) -> list[SeverityName]:
        """Return the band of each window's score."""
        critical = self.tally.score >= family.severity.critical
        band = np.where(self.is_anomaly, np.where(critical, "critical", "warning"), "normal")
        bands: list[SeverityName] = np.where(np.isnan(self.tally.score), "unknown", band).tolist()
        return bands

    def silence(self, row: int) -> str:
        """Return in words why no member judges a window."""
        by_reason: dict[str, list[str]] = {}
        for member in self.tally.members:
            by_reason.setdefault(member.reasons[row], []).append(member.detector)
        return "; ".join(f"{reason} ({', '.join(detectors)})" for reason, detectors in by_reason.items())


def decide(
    family: Family,
    table: FeatureTable,
    seconds: Floats,
    alarms: NDArray[np.bool_],
    votes: Mapping[str, MemberVotes],
    consecutive: bool = False,
    situation: Situations | None = None,
) -> Verdicts:
    """Combine the votes on each window.

    Args:
        seconds: `float64[N]` length of each window.
        situation: What holds before anybody votes; None where nobody looked.
        alarms: `bool[N]` whether its system is in alarm.
        consecutive: The windows follow each other on one system: each meets the state that the last one left.
    """
    tally = _told(votes, table, family, situation)
    # Between the two thresholds the state stays as it was, so that it does not flicker.
    begin, release = family.severity.warning, family.severity.release
    if consecutive:
        alarms = _carried(tally.score, alarms, begin, release)
    thresholds = np.where(alarms, release, begin)
    quality = qualities(table, seconds, family)
    sure = np.maximum(tally.score, 1 - tally.score) * quality * (1 - tally.spread)
    unknown = np.isnan(tally.score)
    is_anomaly = tally.score >= thresholds
    left = np.where(unknown, alarms, is_anomaly)
    confidence = np.where(unknown, 0.0, sure)
    parts = judge_parts(family, tally.heads)
    named = kinds(family, parts, len(unknown))
    return Verdicts(tally, quality, thresholds, is_anomaly, left, confidence, parts, named)


def _told(votes: Mapping[str, MemberVotes], table: FeatureTable, family: Family, situation: Situations | None) -> Tally:
    """Weigh the votes where they count; what is wrong on any machine needs none."""
    if situation is None:
        return weigh(tuple(votes.values()), table, family.trust)
    silent = situation.silent
    heard = [member.silent(silent, situation.reasons) if silent.any() else member for member in votes.values()]
    tally = weigh(tuple(heard), table, family.trust)
    ruled, moved = situation.ruled, situation.moved
    # Slow faults end here: a warning where members see no more, and more only where nobody needs to look twice.
    warning, critical = family.severity.warning, family.severity.critical
    least = np.where(situation.far, critical, 0.5 * (warning + critical))
    score = np.where(moved, np.fmax(tally.score, least), tally.score)
    return replace(tally, score=np.where(ruled, 1 - CERTAINTY, score)) if (ruled | moved).any() else tally


def _carried(scores: Floats, alarms: NDArray[np.bool_], begin: float, release: float) -> NDArray[np.bool_]:
    """Return the state that each window meets when the first meets its own and each other what the last one left."""
    met = np.empty_like(alarms)
    state = bool(alarms[0]) if len(alarms) else False
    for row, score in enumerate(scores.tolist()):
        met[row] = state
        if not math.isnan(score):
            state = score >= (release if state else begin)
    return met


def judge(
    family: Family,
    inspections: Sequence[Inspection],
    table: FeatureTable,
    votes: Mapping[str, MemberVotes],
    absent: Mapping[str, str],
    quorum: int,
    consecutive: bool = False,
    detail: Detail = "full",
) -> list[Diagnosis]:
    """Combine the votes on each inspection, and put what is decided into words.

    A window on which some members abstain is answered by the rest; one on which all abstain has a diagnosis
    that says why, and no score.

    Args:
        consecutive: As in `decide`.
        detail: As in `worded`.

    Raises:
        NoQuorum: Fewer members than the quorum are there at all.
    """
    if len(votes) < max(quorum, 1):
        missing = "; ".join(f"{detector}: {reason}" for detector, reason in absent.items())
        raise NoQuorum("ensemble", f"{len(votes)} of {quorum} detectors needed are there ({missing or 'none known'})")
    seconds = np.array([inspection.window.seconds for inspection in inspections])
    alarms = np.array([inspection.alarm for inspection in inspections], dtype=np.bool_)
    unknown = np.array([inspection.commissioning for inspection in inspections], dtype=np.bool_)
    heard = {name: silenced(each, family, unknown) for name, each in votes.items()}
    samples = np.array([inspection.window.samples for inspection in inspections], dtype=np.int64)
    limits = [inspection.limits for inspection in inspections]
    situation = situations(family, table, samples, limits if any(limits) else None)
    verdicts = decide(family, table, seconds, alarms, heard, consecutive, situation)
    return worded(family, inspections, table, verdicts, absent, detail, situation)


def silenced(member: MemberVotes, family: Family, commissioning: NDArray[np.bool_]) -> MemberVotes:
    """Take back the votes on windows whose system's normal a member needs and that it does not have yet.

    Args:
        commissioning: `bool[N]` whether the normal is still being learned.
    """
    if not commissioning.any() or not (reads_deviations(family) or not registry()[member.detector].supervised):
        return member
    return member.silent(commissioning, [COMMISSIONING] * len(commissioning))


def worded(
    family: Family,
    inspections: Sequence[Inspection],
    table: FeatureTable,
    verdicts: Verdicts,
    absent: Mapping[str, str],
    detail: Detail = "full",
    situation: Situations | None = None,
) -> list[Diagnosis]:
    """Put what is decided into words; without `full` detail no channel has a share."""
    shares: Sequence[tuple[Attribution, ...]] = [()] * len(inspections)
    if detail == "full":
        shares = attribute(family, table, verdicts.tally.contributions)
    texts = zip(
        inspections,
        _rows(family, table, verdicts),
        shares,
        still_channels(table, family),
        taught(family, np.array([inspection.window.seconds for inspection in inspections]), table, verdicts),
        strict=True,
    )
    found = [
        _diagnosis(family, verdicts, row, share, absent, quality(inspection, family, row.quality, still), learned)
        for inspection, row, share, still, learned in texts
    ]
    return found if situation is None else completed(family, inspections, table, found, situation)


class _Row(NamedTuple):
    """What is decided of one window, in plain numbers: taking them out of the arrays one by one costs as much again."""

    place: int
    severity: SeverityName
    features: int
    score: float
    is_anomaly: bool
    threshold: float
    confidence: float
    quality: float
    base: float
    scores: list[float]
    weights: list[float]


def _rows(family: Family, table: FeatureTable, verdicts: Verdicts) -> Iterator[_Row]:
    tally = verdicts.tally
    columns = (
        np.isfinite(table.raw).sum(axis=1),
        tally.score,
        verdicts.is_anomaly,
        verdicts.thresholds,
        verdicts.confidence,
        verdicts.quality,
        tally.base + tally.contributions.sum(axis=1),
        tally.scores.T,
        tally.weights.T,
    )
    return map(_Row, count(), verdicts.severities(family), *(column.tolist() for column in columns))


def _diagnosis(
    family: Family,
    verdicts: Verdicts,
    row: _Row,
    attribution: tuple[Attribution, ...],
    absent: Mapping[str, str],
    data: Quality,
    learned: Learned | None,
) -> Diagnosis:
    """Write the answer for one window."""
    found = ranked(family, verdicts.parts, row.place)
    return Diagnosis(
        family=family.name,
        is_anomaly=row.is_anomaly,
        score=row.score,
        severity=row.severity,
        confidence=row.confidence,
        threshold=row.threshold,
        anomaly_type=(verdicts.kinds[row.place] or loudest(attribution)) if row.is_anomaly else None,
        components=found,
        affected=affected(family, found) if row.is_anomaly else (),
        attribution=attribution,
        votes=_votes(verdicts.tally, row),
        absent=absent,
        quality=data,
        features=row.features,
        learned=learned,
        # Trees read a missing channel too: what its lack says belongs to no channel, and so to the base.
        base=row.base - sum(share.contribution for share in attribution),
        abstained=verdicts.silence(row.place) if math.isnan(row.score) else "",
    )


def weigh(members: tuple[MemberVotes, ...], table: FeatureTable, trust: Mapping[str, float]) -> Tally:
    """Weigh the votes by the members' skill, and by what their family trusts them with.

    Scores are averaged as log-odds: calibrated members that look at the same window with some independence add
    evidence, and one sure member is not drowned by three that know little, as it is in a mean of probabilities.
    """
    scores = np.stack([member.anomaly for member in members])
    skill = np.maximum([member.weight * trust.get(member.detector, 1.0) for member in members], WEIGHT_LEAST)
    weights = _shares(np.where(np.isnan(scores), 0.0, skill))
    clipped = np.clip(scores, CERTAINTY, 1 - CERTAINTY)
    odds = np.nan_to_num(np.log(clipped / (1 - clipped)))
    score = np.where(weights.any(axis=0), expit((weights * odds).sum(axis=0)), np.nan)
    apart = np.where(weights > 0, scores - np.nan_to_num(score), 0.0)
    spread = np.sqrt((weights * apart * apart).sum(axis=0))
    return Tally(members, scores, weights, score, spread, *_contributions(members, weights, table), _heads(members))


def _shares(weights: Floats) -> Floats:
    """Scale weights so that each column adds up to 1; a column of zeros stays."""
    total = weights.sum(axis=0)
    return weights / np.where(total > 0, total, 1.0)


def _contributions(members: Sequence[MemberVotes], weights: Floats, table: FeatureTable) -> tuple[Floats, Floats]:
    """Return each column's share over the members that explain themselves, and what the shares add to.

    Shapes: `float64[N, R]`, `float64[N]`.
    """
    speaks = np.array([member.contributions is not None for member in members])
    shares = _shares(np.where(speaks[:, None], weights, 0.0))
    total = np.zeros(table.read.shape)
    for share, member in zip(shares, members, strict=True):
        if member.contributions is not None:
            total += share[:, None] * member.contributions
    base: Floats = (shares * np.array([member.base for member in members])).sum(axis=0)
    return total, base


def _heads(members: Sequence[MemberVotes]) -> dict[str, Floats]:
    """Return each head's probabilities, averaged over the members that know it."""
    heads: dict[str, Floats] = {}
    for head in dict.fromkeys(name for member in members for name in member.heads):
        known = [member for member in members if head in member.heads]
        tables = np.stack([member.heads[head] for member in known])
        skill = np.maximum([member.weight for member in known], WEIGHT_LEAST)
        silent: NDArray[np.bool_] = np.any(np.isnan(tables), axis=2)
        weights = _shares(np.where(silent, 0.0, skill))
        mean = (weights[:, :, None] * np.nan_to_num(tables)).sum(axis=0)
        heads[head] = np.where(np.all(silent, axis=0)[:, None], np.nan, mean)
    return heads


def _votes(tally: Tally, row: _Row) -> tuple[Vote, ...]:
    found = []
    for member, score, weight in zip(tally.members, row.scores, row.weights, strict=True):
        reason = member.reasons[row.place]
        given, sure = (None, 0.0) if reason else (score, max(score, 1 - score) * row.quality)
        version = member.versions[row.place]
        found.append(Vote(member.detector, version, given, sure, weight, member.milliseconds, reason))
    return tuple(found)


def taught(family: Family, seconds: Floats, table: FeatureTable, verdicts: Verdicts) -> list[Learned | None]:
    """Return what each window adds to its system's normal: nothing unless it is clearly normal.

    A window of a commissioned system is, when it lies near that system's own normal, unless it is critical: what
    trained members, who know other machines, take for a fault day by day would never be learned.
    A machine with running sums alone, on which nobody can say anything yet, is taken to be healthy while they settle.
    """
    score = verdicts.tally.score
    first = np.isnan(score) & (table.evidence < SETTLED) & ~table.commissioned
    healthy = ~verdicts.left & (first | (score < LEARN_BELOW * family.severity.warning))
    whole = seconds >= LEARN_LENGTH * family.window_s
    near = (
        (table.distance <= TAUGHT_WITHIN)
        & (np.abs(table.strayed) <= 1).all(axis=1)
        # Of a load that was shown in too few windows to judge by, what looks like it is learned until it can be.
        & ((score < family.severity.critical) | (np.isnan(score) & (table.evidence < LEAST)))
    )
    healthy = np.where(whole & table.commissioned, near, healthy)
    levels = level_columns(table.names)
    shown = np.where(whole[:, None] | levels, table.raw, np.nan)
    summaries = np.where(whole[:, None] | levels[list(table.terms)], table.summary, np.nan)
    found: list[Learned | None] = [None] * len(healthy)
    rows = np.flatnonzero(healthy)
    for row, point, each in zip(rows.tolist(), table.point[rows].tolist(), learn_each(shown[rows]), strict=True):
        found[row] = Learned(point, each, summaries[row])
    return found
