"""Detects by how far a window lies from what is normal for its own system, also where no trained detector has been.

It keeps no state: the system's baseline comes with the table. A short baseline is shrunk towards the family's prior
(empirical Bayes): the system's mean by the ratio of its own to the family's variance, its scatter by a pseudo-count.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Ballot, Detail, Examples, FeatureTable
from pipelines.diagnosis.calibration import logit
from pipelines.errors import InvalidInput
from pipelines.machines.baseline import SETTLED
from pipelines.signals.features import CROSS, TAIL, scope_of, statistic_of
from pipelines.signals.windows import Floats

PRIOR = "prior.json"
# Source: what is left out depends on a window's length or repeats the level; nothing is lost by it: AUC 0.853 on
# left-out groups of the water loop, 0.847 with all statistics.
STATISTICS = ("mean", "std", "flat", *CROSS)
# Source: water loop, left-out groups: AUC 0.853 with 10 windows' worth of prior in the scatter, 0.838 with 50, 0.807
# with 500.
SCATTER_PSEUDO_COUNT = 10.0
# Source: own choice; a feature is never taken to be more certain than a tenth of the family's own deviation, nor
# than a thousandth of its size.
SCATTER_FLOOR, SIZE_FLOOR = 0.1, 1e-3
# Source: a fault moves a few statistics of one or two channels (1, 3, 5 and 8 of them: AUC 0.853 on the water loop);
# own choice: beyond 20 deviations no feature counts for more.
LARGEST, CAP = 3, 20.0
# Source: own choice; the score of one half is where one healthy window in twenty lies farther out.
HALF_QUANTILE = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Prior:
    """What healthy machines of a family look like.

    Attributes:
        mean: Of each raw feature over healthy windows.
        within: Its variance inside one group.
        between: Variance of the groups' means.
        half: Distance at which the score is one half.

    Shapes: `float64[F]`; NaN for a feature that is not read or that no healthy window has.
    """

    mean: Floats
    within: Floats
    between: Floats
    half: float

    def distances(self, table: FeatureTable) -> Floats:
        """Return each feature's distance from the system's normal in standard deviations.

        Shapes: `float64[N, F]`; NaN where the feature is missing or never was healthy.
        """
        count = table.count
        centre, scatter = np.nan_to_num(table.centre), np.nan_to_num(table.scatter)
        # The posterior of a normal mean under a normal prior; a settled baseline knows better than any prior.
        posterior = count * self.between / (count * self.between + self.within)
        trust = np.where(count >= SETTLED, 1.0, posterior)
        expected = trust * centre + (1 - trust) * self.mean
        spread = (count * scatter**2 + SCATTER_PSEUDO_COUNT * self.within) / (count + SCATTER_PSEUDO_COUNT)
        variance = np.maximum(spread, SCATTER_FLOOR**2 * self.within) + (1 - trust) * self.between
        distance: Floats = (table.raw - expected) / np.sqrt(variance)
        return distance


class Adaptive:
    """Distance from the system's own normal, mapped to 0..1."""

    name: ClassVar[str] = "adaptive"
    supervised: ClassVar[bool] = False
    space: ClassVar[Mapping[str, tuple[float, ...]]] = {}

    def __init__(self, prior: Prior) -> None:
        self._prior = prior

    @classmethod
    def fit(cls, examples: Examples, seed: int, **settings: float) -> Self:
        """Fit the prior on the healthy windows alone; nothing in it is drawn, so `seed` does not matter.

        Raises:
            InvalidInput: No window is healthy.
        """
        healthy = ~examples.anomaly
        if not healthy.any():
            raise InvalidInput("anomaly", True, "must hold normal windows")
        table = examples.table.rows(healthy)
        moments = _variances(table.raw, examples.groups[healthy])
        scope = _scope(table.names)
        # What the family never reads, as the level of a channel that tells only the day, is not judged either.
        is_read = np.isfinite(table.read[:, : len(table.names)]).any(axis=0)
        judged = [statistic_of(name) in STATISTICS and scope_of(name) == scope for name in table.names]
        reads = np.logical_and(is_read, judged)
        mean, within, between = (np.where(reads, part, np.nan) for part in moments)
        far, _ = _distance(Prior(mean, within, between, 1.0).distances(table))
        half = max(float(np.nanquantile(far, HALF_QUANTILE)), 1e-3)
        return cls(Prior(mean, within, between, half))

    def vote(self, table: FeatureTable, detail: Detail = "full") -> Ballot:
        """Judge windows; contributions divide the log-odds as the distance is made up."""
        far, shares = _distance(self._prior.distances(table))
        score = far / (far + self._prior.half)
        if detail != "full":
            return Ballot(score)
        contributions = np.zeros(table.read.shape)
        contributions[:, : shares.shape[1]] = shares * np.nan_to_num(logit(score))[:, None]
        return Ballot(score, {}, contributions)

    def save(self) -> dict[str, bytes]:
        """Return the prior as JSON; a number's shortest decimal form reads back as the same number."""
        values = {name: getattr(self._prior, name) for name in Prior.__slots__}
        content = {name: value if isinstance(value, float) else _listed(value) for name, value in values.items()}
        return {PRIOR: json.dumps(content, sort_keys=True, allow_nan=False).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `save`."""
        content = json.loads(files[PRIOR])
        half = float(content.pop("half"))
        arrays = {name: np.array(values, dtype=np.float64) for name, values in content.items()}
        return cls(Prior(**arrays, half=half))


def _listed(values: Floats) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in values]


def _scope(names: Sequence[str]) -> str:
    """Return the part of a window to judge: the longest tail of those that the family reads apart, else the whole.

    Source: water loop, windows of 60 s: 0.87 mean AUC of a recording from the last 20 s, 0.85 from the whole window.
    """
    tails = {scope_of(name) for name in names if scope_of(name).endswith(TAIL)}
    return max(tails, key=lambda scope: float(scope.removesuffix(TAIL)), default="")


def _variances(raw: Floats, groups: NDArray[np.str_]) -> tuple[Floats, Floats, Floats]:
    """Return mean, variance inside a group and variance of the groups' means, of each feature.

    Inside, the median group counts: one long recording that drifts must not widen what is normal for all.
    """
    tables = [raw[groups == group] for group in np.unique(groups)]
    count = np.array([np.isfinite(table).sum(axis=0) for table in tables])
    means = np.array([_moment(table, np.nanmean) for table in tables])
    inside = np.where(count > 1, np.array([_moment(table, np.nanvar) for table in tables]), np.nan)
    mean, apart, within = _moment(means, np.nanmean), _moment(means, np.nanvar), _moment(inside, np.nanmedian)
    # Groups of a single window each know no difference between inside and between.
    within = np.where(np.isnan(within), apart, within)
    floor = SIZE_FLOOR**2 * _moment(raw * raw, np.nanmean)
    within = np.maximum(within, floor)
    # Machines to come differ more than those in training: one window of its own outweighs the prior's mean.
    between = np.maximum(apart, within)
    # A feature that is 0 in every healthy window has no scale at all, and says nothing.
    speaks = within > 0
    return np.where(speaks, mean, np.nan), np.where(speaks, within, np.nan), np.where(speaks, between, np.nan)


def _moment(table: Floats, moment: Callable[..., Floats]) -> Floats:
    """Return a statistic of each column over what is known; NaN for a column without any.

    Shapes: `float64[N, F]` -> `float64[F]`.
    """
    known = ~np.all(np.isnan(table), axis=0)
    result = np.full(table.shape[1], np.nan)
    result[known] = moment(table[:, known], axis=0)
    return result


def _distance(distances: Floats) -> tuple[Floats, Floats]:
    """Return one distance a window, the mean of the largest few squares, and each feature's share in it.

    Shapes: `float64[N, F]` -> `float64[N]` (NaN where no feature is known), `float64[N, F]` with rows adding up to 1.
    """
    size = np.minimum(distances * distances, CAP * CAP)
    known = ~np.isnan(size)
    size = np.where(known, size, -1.0)
    place = np.argsort(-size, axis=1, kind="stable")[:, :LARGEST]
    rows = np.arange(len(size))[:, None]
    chosen = np.zeros_like(size)
    chosen[rows, place] = np.maximum(size[rows, place], 0.0)
    total = chosen.sum(axis=1)
    count = np.minimum(known.sum(axis=1), LARGEST)
    far = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return far, chosen / np.maximum(total, 1e-300)[:, None]
