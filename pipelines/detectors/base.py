"""Middle step of detect: what every detector is, and the one list of them.

Exists so that the ensemble, training and scoring treat all detectors alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """What is normal for one system: running sums of its raw features over windows scored normal.

    Sums add, so changes from concurrent requests merge without loss and in any order.

    Attributes:
        count: Per feature, windows seen; a feature of a missing channel is not counted.
        total: Sum of the feature's values.
        squares: Sum of their squares.

    Shapes: each `float64[F]`, in the order of the family's feature names.
    """

    count: Floats
    total: Floats
    squares: Floats

    def __add__(self, other: "Baseline") -> "Baseline":
        return Baseline(self.count + other.count, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """The features of N windows of one family, computed once and read by every detector.

    Attributes:
        names: The F feature names.
        raw: `float64[N, F]` in physical units; NaN for a missing channel.
        read: `float64[N, F]` as the family reads them: equal to `raw`, or relative to each system's baseline.
        centre: `float64[N, F]` mean of the raw features over each system's baseline; NaN where it has none.
        scatter: `float64[N, F]` their standard deviation over the baseline; NaN likewise.
        evidence: `float64[N]` windows behind each baseline; 0 where only the prior is known.
    """

    names: tuple[str, ...]
    raw: Floats
    read: Floats
    centre: Floats
    scatter: Floats
    evidence: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Labelled windows to fit on.

    Attributes:
        sheet: Their features.
        anomaly: `bool[N]`.
        heads: By head of the family, `int64[N]` index into the head's classes.
        classes: By head, how many classes it has.
        groups: `str[N]` recording or condition block; a split never cuts through one.
    """

    sheet: Sheet
    anomaly: NDArray[np.bool_]
    heads: Mapping[str, NDArray[np.int64]]
    classes: Mapping[str, int]
    groups: NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class Ballot:
    """What one detector says of N windows.

    Attributes:
        anomaly: `float64[N]` in 0..1; NaN where it abstains.
        heads: By head, `float64[N, K]` probability of each class; empty for a detector that knows no heads.
        contributions: `float64[N, F]` additive share of each feature in the score (log-odds for trees), or None.
    """

    anomaly: Floats
    heads: Mapping[str, Floats] = field(default_factory=dict)
    contributions: Floats | None = None


class Detector(Protocol):
    """A member of the ensemble: fitted once, then a pure function of a sheet.

    Attributes:
        name: Its public name.
        supervised: It learns from labels, and so knows nothing outside the range of its examples.
    """

    name: ClassVar[str]
    supervised: ClassVar[bool]

    @classmethod
    def fit(cls, examples: Examples, seed: int) -> Self:
        """Fit on labelled windows; the same examples and seed give the same detector."""
        ...

    def vote(self, sheet: Sheet) -> Ballot:
        """Judge windows; never changes `sheet`."""
        ...

    def save(self) -> dict[str, bytes]:
        """Return its files in native formats, by file name."""
        ...

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `save`; votes are bit-identical."""
        ...


def registry() -> Mapping[str, type[Detector]]:
    """Return every detector by its public name, in the order of answers."""
    from pipelines.detectors.adaptive import Adaptive
    from pipelines.detectors.catboost import CatBoost
    from pipelines.detectors.forest import Forest
    from pipelines.detectors.xgboost import XGBoost

    members: Sequence[type[Detector]] = (CatBoost, XGBoost, Forest, Adaptive)
    return {member.name: member for member in members}
