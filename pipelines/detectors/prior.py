"""Judges windows as adaptive versions did before machines were commissioned, so that answers of theirs replay.

They set single features against a system's running sums, shrunk towards what healthy machines of the family show.
"""

import json
from dataclasses import dataclass

import numpy as np

from pipelines.detectors.base import FeatureTable
from pipelines.machines.baseline import SETTLED
from pipelines.signals.windows import Floats

# Source: water loop, left-out groups: AUC 0.853 with 10 windows' worth of prior in the scatter, 0.838 with 50, 0.807
# with 500.
SCATTER_PSEUDO_COUNT = 10.0
# Source: own choice; a feature is never taken to be more certain than a tenth of the family's own deviation.
SCATTER_FLOOR = 0.1
# Source: a fault moves a few statistics of one or two channels (1, 3, 5 and 8 of them: AUC 0.853 on the water loop);
# own choice: beyond 20 deviations no feature counts for more.
LARGEST, CAP = 3, 20.0


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

    @classmethod
    def read(cls, content: bytes) -> "Prior":
        """Rebuild from its file."""
        values = json.loads(content)
        half = float(values.pop("half"))
        return cls(**{name: np.array(each, dtype=np.float64) for name, each in values.items()}, half=half)


def largest(distances: Floats) -> tuple[Floats, Floats]:
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
