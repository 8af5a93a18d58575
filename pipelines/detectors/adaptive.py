"""Detects by how far a window lies from what is normal for its own system, also where no trained detector has been.

It keeps no state, and knows any number of channels: the distance comes with the table, measured by `machines/moments`
from level, spread and step of each channel and from how they move together.
"""

import json
from collections.abc import Mapping
from typing import ClassVar, Self

import numpy as np

from pipelines.detectors.base import Ballot, Detail, Examples, FeatureTable
from pipelines.detectors.prior import Prior, largest
from pipelines.diagnosis.calibration import logit
from pipelines.errors import InvalidInput
from pipelines.signals.windows import Floats

PRIOR, DISTANCE = "prior.json", "distance.json"
# Distance at which the score is one half. Source: test rig and water loop, 20 windows learned: false alarms 0.3 and 6
# %, missed 26 and 29 %; from 4 to 8 neither changes by more than three points.
HALF = 5.0


class Adaptive:
    """Distance from the system's own normal, mapped to 0..1."""

    name: ClassVar[str] = "adaptive"
    supervised: ClassVar[bool] = False
    space: ClassVar[Mapping[str, tuple[float, ...]]] = {}

    def __init__(self, half: float, prior: Prior | None = None) -> None:
        self._half = half
        self._prior = prior

    @classmethod
    def fit(cls, examples: Examples, seed: int, **settings: float) -> Self:
        """Return the one there is: what it knows of a system stands in that system's normal.

        Raises:
            InvalidInput: No window is healthy.
        """
        if examples.anomaly.all():
            raise InvalidInput("anomaly", True, "must hold normal windows")
        return cls(HALF)

    def vote(self, table: FeatureTable, detail: Detail = "full") -> Ballot:
        """Judge windows; contributions divide the log-odds as the distance is made up."""
        far, shares = self._distance(table)
        score = far / (far + self._half)
        if detail != "full":
            return Ballot(score)
        contributions = np.zeros(table.read.shape)
        contributions[:, : shares.shape[1]] = shares * np.nan_to_num(logit(score))[:, None]
        return Ballot(score, {}, contributions)

    def _distance(self, table: FeatureTable) -> tuple[Floats, Floats]:
        """Return the distance of each window, and each feature's share in it.

        Shapes: `float64[N]`, `float64[N, F]`.
        """
        if self._prior is not None:
            return largest(self._prior.distances(table))
        shares = np.zeros_like(table.raw)
        shares[:, table.terms] = table.shares
        return table.distance, shares

    def save(self) -> dict[str, bytes]:
        """Return its one number as JSON; a number's shortest decimal form reads back as the same number."""
        return {DISTANCE: json.dumps({"half": self._half}).encode()}

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> Self:
        """Rebuild from `save`, or a version of the days before machines were commissioned."""
        if PRIOR in files:
            prior = Prior.read(files[PRIOR])
            return cls(prior.half, prior)
        return cls(float(json.loads(files[DISTANCE])["half"]))
