"""Adds copies of the examples with whole channels hidden, before a supervised detector is fitted.

A window that lacks a sensor is then answered as well as the other sensors allow.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Examples
from pipelines.errors import InvalidInput
from pipelines.signals.features import channels_of
from pipelines.signals.reading import feature_of
from pipelines.signals.windows import Floats

# Source: own choice; where the channel that shows a fault is hidden, the answer leans to "normal": with labels drawn
# as they come, a missing sensor by itself would raise alarms in a training set made mostly of faults.
NORMAL_SHARE = 0.75


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What a supervised detector is fitted on.

    Attributes:
        features: `float64[M, F]` as the family reads them, some channels NaN.
        anomaly: `bool[M]`.
        heads: By head that has at least two classes here, `int64[M]`; -1 where it is not known.
    """

    features: Floats
    anomaly: NDArray[np.bool_]
    heads: dict[str, NDArray[np.int64]]

    def of(self, head: str) -> tuple[Floats, NDArray[np.int64]]:
        """Return features and classes of the windows whose class is known."""
        known = self.heads[head] >= 0
        return self.features[known], self.heads[head][known]


def lesson(examples: Examples, seed: int) -> Lesson:
    """Return every example as often as it counts, and half as many drawn ones with some of their channels hidden.

    Raises:
        InvalidInput: The examples are all normal or all anomalous.
    """
    truth = examples.anomaly
    if truth.all() or not truth.any():
        raise InvalidInput("anomaly", bool(truth.any()), "must hold both normal and anomalous windows")
    random = np.random.default_rng(seed)
    chance = np.where(truth, (1 - NORMAL_SHARE) / truth.sum(), NORMAL_SHARE / (~truth).sum())
    drawn = random.choice(len(truth), len(truth) // 2, p=chance)
    whole = np.repeat(np.arange(len(truth)), examples.weight)
    rows = np.concatenate([whole, drawn])
    features = examples.table.read[rows]
    features[len(whole) :][_hidden(examples.table.columns, len(drawn), random)] = np.nan
    heads = {name: c[rows] for name, c in examples.heads.items() if len(np.unique(c[c >= 0])) > 1}
    return Lesson(features, truth[rows], heads)


def _hidden(names: tuple[str, ...], rows: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Return, for each row, the features of one or more channels, never of all.

    Shapes: `bool[rows, F]`.
    """
    used = [channels_of(feature_of(name)) for name in names]
    channels = sorted({channel for parts in used for channel in parts})
    if len(channels) < 2:
        return np.zeros((rows, len(names)), dtype=np.bool_)
    order = random.random((rows, len(channels))).argsort(axis=1)
    gone = order < random.integers(1, len(channels), size=(rows, 1))
    uses = np.array([[channel in parts for parts in used] for channel in channels])
    hidden: NDArray[np.bool_] = (gone.astype(np.int64) @ uses.astype(np.int64)) > 0
    return hidden
