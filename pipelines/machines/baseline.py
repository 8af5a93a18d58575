"""What is normal for one system: running sums of its features that can be learned, merged, forgotten and compared.

The store keeps them and adds up what concurrent requests have learned.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from pipelines.signals.windows import Floats

# Windows that a baseline remembers. Source: water loop, recordings left out, one window a second: with 400, AUC 0.895
# of the adaptive detector over all recordings; a baseline that never forgets has 0.50, since hours of drift count as
# faults; one that forgets within 100 absorbs the faults (0.74).
MEMORY = 400.0
# Windows before a baseline counts as the system's own. Source: own choice; the mean of ten is known to a third of a
# window's deviation.
SETTLED = 10.0
# Standard deviations between today's level and the first one that count as a drift. Source: own choice; three of the
# healthy scatter, the usual limit of control charts.
DRIFTED = 3.0
# Scatter that running sums resolve at least, as a share of the level. Source: a sum of squares in double precision is
# known to some 1e-13 of itself.
RESOLVED = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """Running sums of a system's raw features over windows scored normal.

    Attributes:
        count: Per feature, windows seen; a feature of a missing channel is not counted.
        total: Sum of the feature's values.
        squares: Sum of their squares.
        origin: The features' means when the baseline had first settled, or None until then.

    Shapes: each `float64[F]`, in the order of the family's feature names.
    """

    count: Floats
    total: Floats
    squares: Floats
    origin: Floats | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes as one block of bytes: four arrays cost several times that."""
        return Baseline.from_bytes, (self.to_bytes(),)

    def to_bytes(self) -> bytes:
        """Return all numbers as they are, bit for bit: 32 bytes a feature."""
        origin = np.full_like(self.count, np.nan) if self.origin is None else self.origin
        return np.stack([self.count, self.total, self.squares, origin]).tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Baseline":
        """Rebuild from `to_bytes`."""
        count, total, squares, origin = np.frombuffer(content).reshape(4, -1)
        return cls(count, total, squares, None if np.isnan(origin).all() else origin)

    def __add__(self, learned: "Baseline") -> "Baseline":
        """Add what further windows teach; beyond the memory everything fades a little, and nothing is dropped.

        Sums add, so changes from concurrent requests merge without loss and, up to the fading, in any order.
        """
        count = self.count + learned.count
        kept = np.minimum(1.0, MEMORY / np.maximum(count, 1.0))
        total, squares = self.total + learned.total, self.squares + learned.squares
        origin = self.origin
        if origin is None and count.max(initial=0.0) >= SETTLED:
            origin = total / np.where(count > 0, count, np.nan)
        return Baseline(count * kept, total * kept, squares * kept, origin)


def learn(row: Floats) -> Baseline:
    """Return what one window adds to its system's baseline.

    Shapes: `row` is one row of raw features, `float64[F]`.
    """
    return next(learn_each(row[None, :]))


def learn_each(rows: Floats) -> Iterator[Baseline]:
    """Yield what each of some windows adds to its own.

    Shapes: `rows` are raw features, `float64[N, F]`.
    """
    known = np.isfinite(rows)
    values = np.where(known, rows, 0.0)
    return map(Baseline, known.astype(np.float64), values, values * values)


def distances(baseline: Baseline) -> Floats:
    """Return how far each feature's present mean lies from its first one, in standard deviations.

    Shapes: `float64[F]`; NaN where it is not known.
    """
    if baseline.origin is None:
        return np.full_like(baseline.count, np.nan)
    centre, scatter = levels_of(baseline)
    with np.errstate(divide="ignore", invalid="ignore"):
        far: Floats = np.abs(centre - baseline.origin) / np.maximum(scatter, RESOLVED * np.abs(centre))
    return far


def levels_of(baseline: Baseline) -> tuple[Floats, Floats]:
    """Return each feature's mean and standard deviation."""
    count = np.where(baseline.count > 0, baseline.count, np.nan)
    centre = baseline.total / count
    return centre, np.sqrt(np.maximum(baseline.squares / count - centre * centre, 0.0))


def drifts(baseline: Baseline, means: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Return, by channel whose normal level has moved, its first and its present level.

    Args:
        means: By channel, the place of its mean among the features.
    """
    if baseline.origin is None:
        return {}
    centre, _ = levels_of(baseline)
    moved = distances(baseline) > DRIFTED
    return {
        name: (float(baseline.origin[place]), float(centre[place])) for name, place in means.items() if moved[place]
    }
