"""Holds Page's charts, which add up evidence of a change until there is enough of it.

Every kind of drift has one statistic, one threshold and one stated rate of false alarms by them.

A chart adds up gains, each the logarithm of a likelihood ratio, and never falls below zero. As long as each ratio has a
mean of at most one while nothing has changed, the mean number of steps to a height of h is at least e^h, and the odds
of reaching it within n steps are at most n e^-h, whatever the data's distribution is. Source: Page 1954; Lorden,
"Procedures for reacting to a change in distribution" (1971); Shin, Ramdas, Rinaldo, "E-detectors" (2024).
"""

import math
from dataclasses import dataclass

import numpy as np

from pipelines.diagnosis.calibration import expit, logit
from pipelines.signals.windows import Floats

# Steps from one false alarm to the next, at least, in the mean, over all charts of a kind together. Source: own choice;
# 1000 blocks are six weeks of one window in five minutes.
RUN = 1000.0
# A chart grows to so many thresholds and no further, so that it comes down again soon after a change has gone.
HEIGHT_MAX = 2.0

# Windows whose mean is one step. Source: as many as `settled` cuts out of one window's length; means of batches are
# nearly normal and nearly independent: Runger, Willemain, "Batch-means control charts" (1996).
BLOCK = 12
# Blocks that the reference is of. Source: own choice; its mean is known to 0.22 of a block's deviation.
REFERENCE = 20
# Share of the reference's blocks that must know a stream. Source: own choice; half of them still give its scatter.
KNOWN_SHARE = 0.5
# Deviations of a block's mean that count as no change. Source: an error of the reference's own mean beyond it has odds
# of 1 in 4000 (t of 19 degrees of freedom, 20 blocks), so that the bound above holds for the rest.
TOLERANCE = 1.0
# Deviations beyond the tolerance that a chart is tuned to. Source: the usual shift of one deviation, Montgomery,
# "Statistical Quality Control", chapter 9.
SHIFT = 1.0
# Deviations at which a block's say ends. Source: own choice; an alarm takes four blocks or more.
CLIP = 4.0
# Largest autocorrelation of neighbouring blocks that is believed. Source: own choice; it multiplies the deviation by
# 4.4, and a reference of 20 blocks cannot tell more of it from a trend.
CORRELATION_MAX = 0.9

# Odds and slopes of miscalibration that are looked for, beside none. Source: own choice; odds wrong by the factor e, or
# stated twice too sure or too unsure. Intercept and slope: Cox, "Two further applications of a model for binary
# regression" (1958).
ALTERNATIVES = np.array(
    [(shift, slope) for shift in (-1.0, 0.0, 1.0) for slope in (0.5, 1.0, 2.0) if (shift, slope) != (0, 1)]
)
# Source: as the ensemble's own limit on what a member can be sure of.
CERTAINTY = 1e-3


def threshold(charts: int, run: float = RUN) -> float:
    """Return the height that is an alarm of any of so many charts. Source: Lorden's bound; their rates add up."""
    return math.log(charts * run)


@dataclass(slots=True, eq=False)
class Chart:
    """Heights of K charts, and how many steps ago each began to rise.

    Shapes: each `float64[K]`.
    """

    height: Floats
    age: Floats

    @classmethod
    def flat(cls, count: int) -> "Chart":
        """Return charts that have seen nothing."""
        return cls(np.zeros(count), np.zeros(count))

    def add(self, gain: Floats, limit: Floats | float) -> None:
        """Go one step; a gain that is not known (NaN) changes nothing."""
        known = ~np.isnan(gain)
        height = np.clip(self.height + np.where(known, gain, 0.0), 0.0, HEIGHT_MAX * limit)
        self.age = np.where(height > 0, self.age + known, 0.0)
        self.height = height


@dataclass(slots=True, eq=False)
class Levels:
    """Charts of the levels of K streams against their first blocks, one upward and one downward each.

    Attributes:
        floor: `float64[K]` least deviation that a block's mean is taken to have.
        limit: `float64[K]` threshold of the kind that each stream belongs to.
        pending: `float64[<BLOCK, K]` rows of the block under way.
        blocks: `float64[<REFERENCE, K]` means while the reference is gathered; empty afterwards.
        centre: `float64[K]` mean of the reference, or None until it is known; NaN for a stream that it lacks.
        scale: `float64[K]` deviation of a new block's mean from it.
        freedom: `float64[K]` degrees of freedom of that deviation.
        chart: Of 2K heights: upward, then downward.
    """

    floor: Floats
    limit: Floats
    pending: Floats
    blocks: Floats
    centre: Floats | None
    scale: Floats
    freedom: Floats
    chart: Chart

    @classmethod
    def empty(cls, floor: Floats, limit: Floats) -> "Levels":
        """Return charts that have seen nothing."""
        count = len(floor)
        none, blank = np.zeros((0, count)), np.full(count, np.nan)
        return cls(floor, limit, none, none, None, blank, blank, Chart.flat(2 * count))

    def add(self, rows: Floats) -> None:
        """Take in the rows of consecutive windows; NaN where a stream is not known.

        Shapes: `float64[N, K]`.
        """
        waiting = np.concatenate([self.pending, rows])
        if len(waiting) < BLOCK:
            self.pending = waiting
            return
        whole = len(waiting) // BLOCK * BLOCK
        for block in waiting[:whole].reshape(-1, BLOCK, waiting.shape[1]):
            self._close(_mean(block))
        self.pending = waiting[whole:].copy()

    def _close(self, mean: Floats) -> None:
        if self.centre is not None:
            self._judge(mean - self.centre)
            return
        self.blocks = np.concatenate([self.blocks, mean[None]])
        if len(self.blocks) == REFERENCE:
            self._settle()

    def _settle(self) -> None:
        """Turn the blocks gathered into the reference."""
        known = (~np.isnan(self.blocks)).sum(axis=0)
        enough = known >= KNOWN_SHARE * REFERENCE
        count = np.where(enough, known, np.nan)
        self.centre = np.where(enough, _mean(self.blocks), np.nan)
        deviation = np.maximum(_deviation(self.blocks - self.centre, count), self.floor)
        self.scale = deviation * np.sqrt(1 + 1 / count)
        self.freedom = count - 1
        self.blocks = self.blocks[:0].copy()

    def _judge(self, apart: Floats) -> None:
        """Go one step by a block whose mean lies so far from the reference."""
        z = _normal(apart / self.scale, self.freedom)
        beyond = np.concatenate([z, -z]) - TOLERANCE
        self.chart.add(SHIFT * beyond - SHIFT * SHIFT / 2, np.concatenate([self.limit, self.limit]))


def _mean(rows: Floats) -> Floats:
    """Return the mean of what is known of each column; NaN where nothing is."""
    known = ~np.isnan(rows)
    count = known.sum(axis=0)
    mean: Floats = np.where(known, rows, 0.0).sum(axis=0) / np.where(count > 0, count, np.nan)
    return mean


def _deviation(apart: Floats, count: Floats) -> Floats:
    """Return the standard deviation of block means as it counts over a long run.

    Neighbouring blocks that resemble each other stray together: the variance grows by (1 + r) / (1 - r).

    Source: Runger, Willemain 1996; the estimate of r is raised by its bias at r = 0, 1 / count (Kendall 1954).
    """
    filled = np.nan_to_num(apart)
    squares = (filled * filled).sum(axis=0)
    shared = (filled[1:] * filled[:-1]).sum(axis=0)
    alike = np.divide(shared, squares, out=np.zeros_like(squares), where=squares > 0) + 1 / count
    alike = np.clip(alike, 0.0, CORRELATION_MAX)
    deviation: Floats = np.sqrt(squares / (count - 1) * (1 + alike) / (1 - alike))
    return deviation


def _normal(distance: Floats, freedom: Floats) -> Floats:
    """Turn distances that are t-distributed while nothing has changed into normal ones, clipped.

    Source: Hawkins, "Self-starting CUSUM charts for location and scale" (1987).
    """
    from scipy.special import ndtri, stdtr  # type: ignore[import-untyped]  # it ships no types

    beyond = -ndtri(stdtr(freedom, -np.abs(distance)))
    clipped: Floats = np.sign(distance) * np.minimum(beyond, CLIP)
    return clipped


def miscalibration(probability: Floats, truth: Floats) -> Floats:
    """Return how much better each alternative foretold what was found than the stated probabilities did.

    Its exponential has a mean of exactly one where probabilities are calibrated, so that no sample is too small.

    Shapes: `float64[N]`, `float64[N]` of 0 and 1 -> `float64[N, A]`.

    Source: Arnold, Henzi, Ziegel, "Sequentially valid tests for forecast calibration" (2023).
    """
    stated = np.clip(probability, CERTAINTY, 1 - CERTAINTY)
    shift, slope = ALTERNATIVES.T
    other = expit(shift + slope * logit(stated)[:, None])
    gain: Floats = np.log(np.where(truth[:, None] > 0, other / stated[:, None], (1 - other) / (1 - stated[:, None])))
    return gain
