"""Defines what every detector is, reads and says; ensemble, training and scoring treat all of them alike by it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.signals.windows import Floats


@dataclass(frozen=True, slots=True, eq=False)
class FeatureTable:
    """The features of N windows of one family, computed once and read by every detector.

    Attributes:
        names: The F feature names.
        columns: The R names of what trained detectors read: the features, some of them twice.
        terms: Places of the D features that a window is summarised in.
        raw: `float64[N, F]` in physical units; NaN for a missing channel.
        read: `float64[N, R]` as the family reads them: raw, or set against each system's baseline.
        centre: `float64[N, F]` mean of the raw features over each system's baseline; NaN where it has none.
        scatter: `float64[N, F]` their standard deviation over the baseline; NaN likewise.
        count: `float64[N, F]` windows behind each of these; 0 where only the prior is known.
        summary: `float64[N, D]` level, spread and step of each channel, as `signals/summary` gives them.
        distance: `float64[N]` from the system's own normal, about 1 for a healthy window; from typical levels where it
            has none.
        shares: `float64[N, D]` of each number of the summary in it.
        point: `int64[N]` place of the operating point that the window is set against.
        commissioned: `bool[N]` whether the system has a normal of its own.
        unusual: `bool[N]` whether the window lies farther out than nine in ten of those that it was learned from.
        strayed: `float64[N, D]` how far each number lies from where it was commissioned, in shares of how far the
            normal may follow; 0 where none was commissioned.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    terms: tuple[int, ...]
    raw: Floats
    read: Floats
    centre: Floats
    scatter: Floats
    count: Floats
    summary: Floats
    distance: Floats
    shares: Floats
    point: NDArray[np.int64]
    commissioned: NDArray[np.bool_]
    unusual: NDArray[np.bool_]
    strayed: Floats

    @property
    def evidence(self) -> Floats:
        """`float64[N]` windows behind each baseline."""
        most: Floats = self.count.max(axis=1, initial=0.0)
        return most

    @property
    def parts(self) -> tuple[NDArray[Any], ...]:
        """All that has a row a window, in the order of the attributes."""
        return tuple(getattr(self, name) for name in PARTS)

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "FeatureTable":
        """Return some of the windows."""
        return FeatureTable(self.names, self.columns, self.terms, *(part[chosen] for part in self.parts))


PARTS = tuple(name for name in FeatureTable.__slots__ if name not in {"names", "columns", "terms"})


def joined(tables: Sequence[FeatureTable]) -> FeatureTable:
    """Return the windows of several tables of one family, one below the other."""
    parts = zip(*(table.parts for table in tables), strict=True)
    first = tables[0]
    return FeatureTable(first.names, first.columns, first.terms, *map(np.concatenate, parts))


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Labelled windows to fit on.

    Attributes:
        table: Their features.
        anomaly: `bool[N]`.
        heads: By head of the family, `int64[N]` index into the head's classes; -1 where it is not known.
        classes: By head, how many classes it has.
        groups: `str[N]` recording or condition block; a split never cuts through one.
        weight: `int64[N]` how often each counts in a fit.
        whole: Whether the normal ones say, too, what is known: where all are of the machines that will be judged.
    """

    table: FeatureTable
    anomaly: NDArray[np.bool_]
    heads: Mapping[str, NDArray[np.int64]]
    classes: Mapping[str, int]
    groups: NDArray[np.str_]
    weight: NDArray[np.int64]
    whole: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Ballot:
    """What one detector says of N windows.

    Attributes:
        anomaly: `float64[N]` in 0..1; NaN where it abstains.
        heads: By head, `float64[N, K]` probability of each class; empty for a detector that knows no heads.
        contributions: `float64[N, R]` exact additive share of each column in the log-odds of `anomaly`, or None.
        base: Log-odds to which the shares add up to the window's own.
    """

    anomaly: Floats
    heads: Mapping[str, Floats] = field(default_factory=dict)
    contributions: Floats | None = None
    base: float = 0.0


# How much is wanted of a judgement: the score alone, with the components' grades, or with each column's share as well.
Detail = Literal["score", "components", "full"]


class Detector(Protocol):
    """A member of the ensemble: fitted once, then a pure function of a table.

    Attributes:
        name: Its public name.
        supervised: It learns from labels, and so knows nothing outside the range of its examples.
        space: By setting of its fit, the values that a search may try; empty where there is nothing to try.
    """

    name: ClassVar[str]
    supervised: ClassVar[bool]
    space: ClassVar[Mapping[str, tuple[float, ...]]]

    @classmethod
    def fit(cls, examples: Examples, seed: int, **settings: float) -> Self:
        """Fit on labelled windows; the same examples, seed and settings give the same detector, byte for byte.

        Args:
            examples: To fit on.
            seed: Of what is drawn.
            settings: Of the space, in place of the shipped ones.
        """
        ...

    def vote(self, table: FeatureTable, detail: Detail = "full") -> Ballot:
        """Judge windows; never changes `table`. The scores do not depend on `detail`."""
        ...

    def save(self) -> dict[str, bytes]:
        """Return its files in native formats, by file name."""
        ...

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `save`; votes are bit-identical."""
        ...
