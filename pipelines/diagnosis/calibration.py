"""Maps a detector's raw score to a probability, and measures how well probabilities hold.

Detectors fit and apply the map, the ensemble weighs votes by it; tuning, evaluation and gates use the measures.
`logit` and `expit` are not SciPy's: every replica uses them, importing `scipy.special` costs 6 to 11 MB there, and its
last bit differs on 2 % and 23 % of arguments, which would change answers that are given today.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats

CLIP = 1e-6  # a single-precision score cannot say more than this about being sure
STEPS = 100
BINS = 10


@dataclass(frozen=True, slots=True)
class Platt:
    """Logistic map of a raw score's log-odds; never turns the order of scores round.

    Source: Platt, "Probabilistic outputs for support vector machines" (1999), with his smoothed targets.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, raw: Floats) -> Floats:
        """Return probabilities; NaN stays NaN."""
        return expit(self.slope * logit(raw) + self.intercept)


def logit(probability: Floats) -> Floats:
    """Return log-odds, finite also at 0 and 1."""
    clipped = np.clip(probability, CLIP, 1 - CLIP)
    odds: Floats = np.log(clipped / (1 - clipped))
    return odds


def expit(odds: Floats) -> Floats:
    """Return the probability of log-odds."""
    probability: Floats = 1 / (1 + np.exp(-np.minimum(np.maximum(odds, -700), 700)))  # `clip` costs three times as much
    return probability


def fit_platt(raw: Floats, truth: NDArray[np.bool_]) -> Platt:
    """Fit by Newton's method on scores that the detector was not fitted on.

    Without both classes, or where the score ranks no better than chance, the order teaches nothing and every
    score maps to the share of anomalies.
    """
    known = np.isfinite(raw)
    x, y = logit(raw[known]), truth[known]
    positive, negative = int(y.sum()), int((~y).sum())
    target = np.where(y, (positive + 1) / (positive + 2), 1 / (negative + 2))
    flat = Platt(0.0, float(np.log((positive + 1) / (negative + 1))))
    if not positive or not negative or np.ptp(x) < CLIP:
        return flat
    centre, scale = float(x.mean()), float(x.std())
    design = np.stack([(x - centre) / scale, np.ones_like(x)], axis=1)
    weights = np.array([1.0, flat.intercept])
    for _ in range(STEPS):
        p = expit(design @ weights)
        gradient = design.T @ (p - target)
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        # A full Newton step overshoots where the classes are far apart.
        step *= min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        weights = weights - step
        if np.abs(step).max() < 1e-10:
            break
    slope = float(weights[0]) / scale
    return Platt(slope, float(weights[1]) - slope * centre) if slope > 0 else flat


def auc(scores: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, ties counted half; 0.5 without both classes."""
    known = np.isfinite(scores)
    values, y = scores[known], truth[known]
    if y.all() or not y.any():
        return 0.5
    from sklearn.metrics import roc_auc_score  # here: it costs 77 MB, and only offline work measures areas

    return float(roc_auc_score(y, values))


def log_loss(probability: Floats, truth: NDArray[np.bool_]) -> Floats:
    """Return each window's logarithmic loss, in nats.

    Shapes: `float64[N]`.
    """
    given = np.clip(np.where(truth, probability, 1 - probability), CLIP, 1.0)
    loss: Floats = -np.log(given)
    return loss


def expected_calibration_error(probability: Floats, truth: NDArray[np.bool_], bins: int = BINS) -> float:
    """Return the mean gap between stated probability and observed share, over equal-width bins.

    Source: Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning" (AAAI 2015).
    """
    known = np.isfinite(probability)
    p, y = probability[known], truth[known].astype(np.float64)
    if not len(p):
        return float("nan")
    place = np.minimum((p * bins).astype(np.int64), bins - 1)
    gaps = np.bincount(place, p, bins) - np.bincount(place, y, bins)
    return float(np.abs(gaps).sum() / len(p))
