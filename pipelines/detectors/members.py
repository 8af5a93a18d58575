"""Lists the detectors; a further one costs its own file and one line here."""

from collections.abc import Mapping, Sequence

from pipelines.detectors.adaptive import Adaptive
from pipelines.detectors.base import Detector
from pipelines.detectors.catboost import CatBoost
from pipelines.detectors.forest import Forest
from pipelines.detectors.xgboost import XGBoost

MEMBERS: Sequence[type[Detector]] = (CatBoost, XGBoost, Forest, Adaptive)


def registry() -> Mapping[str, type[Detector]]:
    """Return every detector by its public name, in the order of answers."""
    return {member.name: member for member in MEMBERS}
