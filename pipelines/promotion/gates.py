"""Counts what a candidate did on the windows that the live version judged, and decides whether that will do.

Live traffic, stored windows and feedback meet the same gates.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.gates import Gates
from pipelines.diagnosis.calibration import log_loss
from pipelines.signals.windows import Floats

KEYS = ("family", "version", "stage")
RATIOS_MAX = 64  # latest timings kept a replica; source: own choice, their median is steady from twenty on


class Evidence(NamedTuple):
    """What a candidate did so far on the same windows as the live version; counts add up over replicas.

    Attributes:
        windows: Judged by both.
        errors: On which the candidate failed.
        alarms: That the candidate called anomalous.
        live_alarms: That the live version called anomalous.
        flips: That they called differently, an abstention of one alone included.
        served: Answered by the candidate.
        ratios: Of the times that both took, one a batch, latest last.
        labelled: With feedback.
        loss: Sum over these of the candidate's log loss less the live version's.
        loss_squares: Sum of its squares.
        stage: Of the rollout in which this was seen.
    """

    family: str
    version: str
    windows: int = 0
    errors: int = 0
    alarms: int = 0
    live_alarms: int = 0
    flips: int = 0
    served: int = 0
    ratios: tuple[float, ...] = ()
    labelled: int = 0
    loss: float = 0.0
    loss_squares: float = 0.0
    stage: str = ""

    def __add__(self, other: "Evidence") -> "Evidence":  # type: ignore[override]  # one kind of evidence, no tuples
        """Add what was seen elsewhere or later."""
        mine, theirs = self._asdict(), other._asdict()
        summed = {name: mine[name] + theirs[name] for name in mine if name not in KEYS}
        return self._replace(**summed | {"ratios": summed["ratios"][-RATIOS_MAX:]})


def pooled(pieces: Iterable[Evidence]) -> Evidence:
    """Add the evidence of all replicas; every replica's timings count."""
    known = list(pieces)
    if not known:
        return Evidence("", "")
    total = known[0]
    for piece in known[1:]:
        total += piece
    return total._replace(ratios=tuple(ratio for piece in known for ratio in piece.ratios))


def compared(family: str, version: str, live: Floats, candidate: Floats, warning: float) -> Evidence:
    """Return the evidence of windows that both judged.

    Args:
        family: The model's.
        version: The candidate.
        live: `float64[N]` probabilities of the live version; NaN where it abstains.
        candidate: Likewise.
        warning: Probability from which a window is an alarm.
    """
    called, live_called = candidate >= warning, live >= warning
    flips = (called != live_called) | (np.isnan(candidate) != np.isnan(live))
    return Evidence(
        family,
        version,
        windows=len(live),
        alarms=int(called.sum()),
        live_alarms=int(live_called.sum()),
        flips=int(flips.sum()),
    )


def labelled(family: str, version: str, live: Floats, candidate: Floats, truth: NDArray[np.bool_]) -> Evidence:
    """Return the evidence of windows with feedback; where one of both abstains there is none."""
    both = ~(np.isnan(live) | np.isnan(candidate))
    worse = log_loss(candidate[both], truth[both]) - log_loss(live[both], truth[both])
    sums = (float(worse.sum()), float((worse * worse).sum()))
    return Evidence(family, version, labelled=int(both.sum()), loss=sums[0], loss_squares=sums[1])


def broken(evidence: Evidence, gates: Gates) -> str:
    """Return in words which gate is broken, or an empty string."""
    checks = (_errors, _latency, _disagreement, _alarm_rate, _calibration)
    return next((reason for check in checks if (reason := check(evidence, gates))), "")


def _errors(evidence: Evidence, gates: Gates) -> str:
    allowed = gates.limits.errors
    return f"errors: failed on {evidence.errors} windows, {allowed} allowed" if evidence.errors > allowed else ""


def _latency(evidence: Evidence, gates: Gates) -> str:
    if len(evidence.ratios) < gates.batches:
        return ""
    ratio, allowed = float(np.median(evidence.ratios)), gates.limits.latency
    return f"latency: {ratio:.1f} times the live version's, {allowed:g} allowed" if ratio > allowed else ""


def _disagreement(evidence: Evidence, gates: Gates) -> str:
    flips, seen, allowed = evidence.flips, evidence.windows, gates.limits.disagreement
    if least_share(flips, seen, gates.confidence) <= allowed:
        return ""
    return f"disagreement: calls {flips} of {seen} windows otherwise, {allowed:.0%} allowed"


def _alarm_rate(evidence: Evidence, gates: Gates) -> str:
    seen, allowed = evidence.windows, gates.limits.alarm_shift
    if least_shift(evidence, gates.confidence) <= allowed:
        return ""
    return f"alarm rate: {evidence.live_alarms} -> {evidence.alarms} of {seen} windows, {allowed:.0%} allowed"


def _calibration(evidence: Evidence, gates: Gates) -> str:
    known = evidence.labelled
    if known < gates.feedback_windows or least_loss(evidence, gates.confidence) <= gates.limits.log_loss:
        return ""
    return f"calibration: log loss {evidence.loss / known:+.3f} on {known} windows with feedback"


def enough(evidence: Evidence, stage: str, gates: Gates, waited_s: float) -> bool:
    """Tell whether a stage has seen what it asks for, or has waited long enough."""
    rule = gates.canary if stage == "canary" else gates.shadow
    # In a small fleet none of the systems that send may be the candidate's.
    answered = stage == "canary" and evidence.served >= rule.windows
    judged = evidence.windows >= gates.shadow.windows and len(evidence.ratios) >= gates.batches
    return answered or judged or waited_s >= rule.patience_s


def least_share(count: int, total: int, confidence: float) -> float:
    """Return the lower bound of a share. Source: Clopper and Pearson 1934."""
    from scipy.special import betaincinv  # type: ignore[import-untyped]  # it ships no types

    return float(betaincinv(count, total - count + 1, 1 - confidence)) if count else 0.0


def least_shift(evidence: Evidence, confidence: float) -> float:
    """Return the lower bound of the change of the share of alarms. Source: Wald's interval for paired shares."""
    seen, shift = evidence.windows, evidence.alarms - evidence.live_alarms
    if not seen:
        return 0.0
    spread = math.sqrt(max(evidence.flips - shift * shift / seen, 0.0)) / seen
    return abs(shift) / seen - _normal(confidence) * spread


def least_loss(evidence: Evidence, confidence: float) -> float:
    """Return the lower bound of the mean difference of log losses."""
    number = evidence.labelled
    mean = evidence.loss / number
    variance = max(evidence.loss_squares / number - mean * mean, 0.0)
    return mean - _normal(confidence) * math.sqrt(variance / number)


def _normal(confidence: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(confidence)
