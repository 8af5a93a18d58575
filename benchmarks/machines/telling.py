"""Tells what four channels can show at all: to one who has seen this very machine well and with every fault.

No product can know that much. What even this one does not find is not asked of the product, and what it takes for
another component's fault is not asked by name.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machines.machine import CHANNELS, HEALTHY
from pipelines.machines.family import Family, read_family
from pipelines.signals.features import raw_features
from pipelines.signals.windows import Floats, Stack

FOLDS, TREES = 4, 80
# False alarms that it is allowed. Source: a hundred healthy windows tell no smaller share.
FAR = 0.05


class Share(NamedTuple):
    """Of one fault's windows, the shares that are found at all and whose component is right."""

    shown: float
    told: float


def component_of(fault: str, family: Family) -> str:
    """Return the component that a fault is in; empty for a healthy machine."""
    return next((name for name, part in family.components.items() if fault in part.faulty), "")


def told(values: Floats, labels: NDArray[np.str_], rate_hz: float) -> Mapping[str, Share]:
    """Return by fault what the channels show, on windows left out.

    Shapes: `values` `float64[N, C, L]`.
    """
    from sklearn.ensemble import ExtraTreesClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    family = read_family("generic")
    raw = raw_features(Stack(values, CHANNELS, np.full(len(values), rate_hz)), family)
    trees = ExtraTreesClassifier(TREES, class_weight="balanced_subsample", random_state=0, min_samples_leaf=2)
    split = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    chances = cross_val_predict(trees, np.nan_to_num(raw), labels, cv=split, method="predict_proba")
    classes = np.unique(labels)
    well = chances[:, classes == HEALTHY][:, 0]
    bound = float(np.quantile(well[labels == HEALTHY], FAR))
    parts = np.array([component_of(str(name), family) for name in classes])
    sums = {part: chances[:, parts == part].sum(axis=1) for part in dict.fromkeys(parts) if part}
    named = np.array(list(sums))[np.stack(list(sums.values())).argmax(axis=0)]
    return {
        str(fault): Share(
            float((well[labels == fault] < bound).mean()),
            float((named[labels == fault] == component_of(str(fault), family)).mean()),
        )
        for fault in classes
        if fault != HEALTHY
    }
