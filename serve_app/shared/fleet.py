"""What the promoter tells routes and metrics of a registered model: where its versions stand, and what drifts."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from pipelines.drift.monitor import DriftState
from pipelines.promotion.gates import Evidence
from pipelines.promotion.rollout import ModelState


class FleetModel(NamedTuple):
    """One registered model in the whole fleet.

    Attributes:
        replicas: By version that answers, in how many replicas.
        evidence: What the candidate did so far, while there is one.
        drift: Of the family, then of each of its systems that drifts, of all tenants.
    """

    family: str
    detector: str
    state: ModelState
    replicas: Mapping[str, int]
    evidence: Evidence | None
    drift: Sequence[DriftState] = ()
