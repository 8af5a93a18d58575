"""How the numbers of a machine's windows are spread, and how far from that a window lies.

Means and the scatter about them; more windows merge without loss. `commissioning` makes them, one set an operating
point, `signals/reading` measures windows by them. A short history is filled up with what healthy machines show.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.machines.baseline import MEMORY
from pipelines.signals.windows import Floats

# Standard deviations of its temperature within which the machine itself has shown what heat does. Source: own choice.
WITHIN = 2.0
# Scatter may grow by so much of the leash beyond what commissioning showed, and windows teach that lie no farther
# beyond the leash than so many of those deviations. Source: own choice; three deviations at the end of the leash are as
# far as the mean may follow.
WIDER, TEACHING = 1 / 3, 3.0
# A number that no more than this share of the windows shows is not known. Source: own choice; most of them must.
KNOWN = 0.5


class Scale(NamedTuple):
    """What is known of D numbers on any healthy machine.

    Attributes:
        floor: Standard deviation that each has at least, beside what the machine itself has shown.
        leash: How far its mean may follow the machine away from where it was commissioned.
        warm: Places of the numbers that are temperatures.
        cold: Their floor where the machine is colder than it was learned, which by itself is no fault.
        per_kelvin: Standard deviation added for each kelvin that the machine is warmer or colder than it was learned.

    Shapes: `floor`, `leash`, `per_kelvin` `float64[D]`.
    """

    floor: Floats
    leash: Floats
    warm: tuple[int, ...]
    cold: float
    per_kelvin: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Mean and scatter of D numbers.

    Attributes:
        count: Windows behind the mean.
        weight: Windows' worth behind the scatter.
        origin: The mean when it was commissioned.
        mean: NaN for a number that is not known.
        scatter: Sum of the outer products of the distances from the mean; 0 for numbers that are not known.
        warming: How much warmer than it was learned the machine may yet run, as a standard deviation in kelvin.
        shown: Variances that its commissioning showed; None for those of today.

    Shapes: `origin`, `mean`, `shown` `float64[D]`, `scatter` `float64[D, D]`.
    """

    count: float
    weight: float
    origin: Floats
    mean: Floats
    scatter: Floats
    warming: float = 0.0
    shown: Floats | None = None

    @property
    def learned(self) -> Floats:
        """Variances that its commissioning showed: `float64[D]`."""
        return np.diagonal(self.scatter) / max(self.weight, 1.0) if self.shown is None else self.shown

    @classmethod
    def of(cls, rows: Floats) -> "Moments":
        """Return those of some windows; a number that half of them lack is not known, others' lacks are their mean.

        Shapes: `rows` `float64[N, D]`.
        """
        known = np.isfinite(rows).mean(axis=0) > KNOWN
        filled = np.where(np.isfinite(rows), rows, 0.0)
        total = filled.sum(axis=0) / np.maximum(np.isfinite(rows).sum(axis=0), 1)
        mean = np.where(known, total, np.nan)
        apart = np.where(np.isfinite(rows) & known, rows - total, 0.0)
        return cls(float(len(rows)), float(len(rows)), mean, mean, apart.T @ apart)

    def __add__(self, row: Floats) -> "Moments":
        """Add one window; beyond the memory what is older fades a little.

        Shapes: `row` `float64[D]`; where it is NaN it says nothing.
        """
        said = np.isfinite(row)
        apart = np.where(said & np.isfinite(self.mean), row - self.mean, 0.0)
        count, weight = self.count + 1, self.weight + 1
        mean = self.mean + apart / count
        # One more window in the weight must not make steadier what it does not say.
        wider = np.where(said, 1.0, np.sqrt(weight / max(self.weight, 1.0)))
        scatter = self.scatter * np.outer(wider, wider) + np.outer(apart, apart) * (self.count / count)
        kept = min(1.0, MEMORY / count)
        return Moments(count * kept, weight * kept, self.origin, mean, scatter * kept, self.warming, self.learned)

    def lent(self, scatter: Floats, weight: float) -> "Moments":
        """Return them with scatter that other windows of the machine have shown, too."""
        return replace(self, weight=self.weight + weight, scatter=self.scatter + scatter)

    def to_array(self) -> Floats:
        """Return all numbers as one row, `float64[3 + 3 D + D D]`."""
        numbers = [self.count, self.weight, self.warming]
        return np.concatenate([numbers, self.origin, self.mean, self.scatter.ravel(), self.learned])

    @classmethod
    def from_array(cls, numbers: Floats) -> "Moments":
        """Rebuild from `to_array`; what was stored before variances were bounded ends with the scatter."""
        count, weight, warming = numbers[:3].tolist()
        size = math.isqrt(len(numbers) - 2) - 1
        whole = 2 * size + size * size
        origin, mean, scatter = np.split(numbers[3 : 3 + whole], [size, 2 * size])
        shown = numbers[3 + whole :]
        return cls(count, weight, origin, mean, scatter.reshape(size, size), warming, shown if len(shown) else None)


@dataclass(frozen=True, slots=True, eq=False)
class Gauge:
    """How far N windows lie from their machine's normal.

    Attributes:
        distance: Squared Mahalanobis distance over the numbers known, per number; about 1 for a healthy window.
        shares: What each number adds to it; rows add up to 1, and a share may be negative.
        apart: Each number's distance from its mean in its own standard deviations; NaN where it is not known.
        strayed: How far each number lies from where it was commissioned, in shares of how far the normal may follow.

    Shapes: `distance` `float64[N]`, the others `float64[N, D]`.
    """

    distance: Floats
    shares: Floats
    apart: Floats
    strayed: Floats


def measure(rows: Floats, moments: Sequence[Moments], scale: Scale) -> Gauge:
    """Measure windows, each by its own moments.

    Shapes: `rows` `float64[N, D]`, N moments.
    """
    if not len(rows):
        return Gauge(np.zeros(0), np.zeros(rows.shape), np.zeros(rows.shape), np.zeros(rows.shape))
    # Many windows of one batch share theirs: of a system, or of all machines of which nothing is known.
    found = {id(each): each for each in moments}
    which = np.unique([id(each) for each in moments], return_inverse=True)[1]
    distinct = [found[key] for key in sorted(found)]
    origin = np.stack([each.origin for each in distinct])
    centre = np.clip(np.stack([each.mean for each in distinct]), origin - scale.leash, origin + scale.leash)[which]
    origin, shown = origin[which], _shown(distinct, scale)
    apart = rows - centre
    spread = _spread(distinct, which, shown, apart, scale)
    known: NDArray[np.bool_] = np.isfinite(apart)
    both = known[:, :, None] & known[:, None, :]
    filled = np.where(both, spread, np.eye(rows.shape[1]))
    away = np.where(known, apart, 0.0)
    parts = away * np.linalg.solve(filled, away[:, :, None])[:, :, 0]
    total, numbers = parts.sum(axis=1), known.sum(axis=1)
    distance = np.where(numbers > 0, total / np.maximum(numbers, 1), np.nan)
    shares = parts / np.maximum(total, 1e-300)[:, None]
    strayed = (rows - origin) / (scale.leash + TEACHING * np.sqrt(shown)[which])
    return Gauge(distance, shares, apart / np.sqrt(np.diagonal(spread, axis1=1, axis2=2)), strayed)


def _shown(moments: Sequence[Moments], scale: Scale) -> Floats:
    """Return the variances that commissioning showed, heat that was yet to come included: `float64[N, D]`."""
    shown = np.stack([each.learned for each in moments])
    shown[:, scale.warm] += np.array([each.warming for each in moments])[:, None] ** 2
    return shown


def _spread(moments: Sequence[Moments], which: NDArray[np.intp], shown: Floats, apart: Floats, scale: Scale) -> Floats:
    """Return the covariance that each window is measured by, `which[n]` of M moments: `float64[N, D, D]`.

    The machine's own, widened by what is known of its mean after so many windows, by the least that any machine has,
    and by the heat: oil thins, so that flow, pressure and sound of a healthy machine move with its temperature, how
    much is each machine's own.
    """
    count = np.array([each.count for each in moments])
    weight = np.array([each.weight for each in moments])
    own: Floats = np.stack([each.scatter for each in moments]) / np.maximum(weight, 1.0)[:, None, None]
    most = shown + (WIDER * scale.leash) ** 2
    narrower = np.sqrt(np.minimum(1.0, most / np.maximum(np.diagonal(own, axis1=1, axis2=2), 1e-300)))
    own = own * narrower[:, :, None] * narrower[:, None, :]
    own = (own * (1 + 1 / np.maximum(count, 1.0))[:, None, None])[which]
    learned = np.diagonal(own, axis1=1, axis2=2)[:, scale.warm]
    warmer = np.nan_to_num(apart[:, scale.warm])
    heat = np.maximum(warmer * warmer - WITHIN * WITHIN * learned, 0.0).max(axis=1, initial=0.0)
    floor = np.tile(scale.floor, (len(apart), 1))
    warming = np.array([each.warming for each in moments])[which, None]
    floor[:, scale.warm] = np.where(warmer < 0, scale.cold, np.hypot(floor[:, scale.warm], warming))
    added = floor * floor + heat[:, None] * (scale.per_kelvin * scale.per_kelvin)
    place = np.arange(apart.shape[1])
    own[:, place, place] += added
    return own
