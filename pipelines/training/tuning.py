"""Tries settings of a detector's fit on groups left out, within a bound on the work."""

from dataclasses import dataclass
from itertools import product
from zlib import crc32

import numpy as np

from pipelines.detectors.base import Detector, Examples
from pipelines.detectors.members import registry
from pipelines.diagnosis.calibration import auc, fit_platt, log_loss
from pipelines.training.train import SHIPPED, Settings, out_of_fold


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings and how they did out of fold.

    Attributes:
        detector: Whose.
        settings: In place of the shipped ones; empty for those.
        loss: Mean log loss of the calibrated scores, in nats.
        auc: Of the scores.
    """

    detector: str
    settings: Settings
    loss: float
    auc: float


def candidates(detector: type[Detector], seed: int, count: int) -> list[Settings]:
    """Return the shipped settings and as many drawn ones from the detector's space; none twice."""
    grid = list(product(*detector.space.values())) if detector.space else []
    random = np.random.default_rng([seed, crc32(detector.name.encode())])
    drawn = random.permutation(len(grid))[:count]
    return [SHIPPED, *(dict(zip(detector.space, grid[place], strict=True)) for place in drawn)]


def attempt(detector: str, examples: Examples, seed: int, settings: Settings) -> Trial:
    """Fit and score out of fold with some settings."""
    raw = out_of_fold(registry()[detector], examples, seed, settings)
    known = np.isfinite(raw)
    raw, truth = raw[known], examples.anomaly[known]
    loss = log_loss(fit_platt(raw, truth).apply(raw), truth)
    return Trial(detector, settings, float(loss.mean()), auc(raw, truth))


def best(trials: list[Trial]) -> Settings:
    """Return the settings of the least loss; the shipped ones, which stand first, where nothing beats them."""
    return min(trials, key=lambda trial: trial.loss).settings if trials else SHIPPED
