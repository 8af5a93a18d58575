"""Grades how much the data of one window allow to be said; `diagnosis/ensemble` lowers its confidence by it."""

from collections.abc import Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import FeatureTable
from pipelines.diagnosis.records import Inspection, Quality
from pipelines.machines.baseline import SETTLED, drifts
from pipelines.machines.family import Family, by_family
from pipelines.signals.features import feature_names, mean_places
from pipelines.signals.windows import Floats

# Source: own choice, in the order that the measurements give: on the test rig a window of a third of the load cycle
# raises misses from 3 to 13 %; a missing flow channel leaves pressure alone at chance on the water loop.
SHORT_LEAST = 0.5
MISSING_FACTOR = 0.75
CONSTANT_FACTOR = 0.9
UNKNOWN_FACTOR = 0.8


def qualities(table: FeatureTable, seconds: Floats, family: Family) -> Floats:
    """Rate windows against what the family's detectors were trained on, and their systems' baselines.

    Shapes: `seconds` `float64[N]` -> `float64[N]` in 0..1.
    """
    short = SHORT_LEAST + (1 - SHORT_LEAST) * np.minimum(seconds / family.window_s, 1.0)
    sent = ~np.isnan(table.raw[:, _places(family, "min")])
    required = np.array([name in family.required for name in family.channels])
    constant = constants(table, family)
    distant = np.array([family.reading_of(name) != "raw" for name in family.channels])
    unknown = (table.evidence < SETTLED) & (sent & distant).any(axis=1)
    missing = MISSING_FACTOR ** (required & ~sent).sum(axis=1)
    still = CONSTANT_FACTOR ** constant.sum(axis=1)
    score: Floats = short * missing * still * np.where(unknown, UNKNOWN_FACTOR, 1.0)
    return score


def constants(table: FeatureTable, family: Family) -> NDArray[np.bool_]:
    """Return which channels do not change within each window: `bool[N, C]`."""
    low, high, step = (table.raw[:, _places(family, word)] for word in ("min", "max", "step"))
    # A single sample has no step, and cannot be told to stand still.
    still: NDArray[np.bool_] = (low == high) & ~np.isnan(step)
    return still


@by_family
def _places(family: Family, statistic: str) -> list[int]:
    """Return the place of a statistic of each channel among the features."""
    return [feature_names(family).index(f"{channel}_{statistic}") for channel in family.channels]


def still_channels(table: FeatureTable, family: Family) -> list[tuple[str, ...]]:
    """Return the names of the channels that do not change within each window."""
    constant = constants(table, family)
    names = tuple(family.channels)
    found: list[tuple[str, ...]] = [()] * len(constant)
    for row in np.flatnonzero(constant.any(axis=1)).tolist():
        found[row] = tuple(compress(names, constant[row]))
    return found


def quality(inspection: Inspection, family: Family, score: float, still: Sequence[str]) -> Quality:
    """Say in words what lowers the quality that `qualities` gave one window; `still` channels do not change in it."""
    window, normal = inspection.window, inspection.baseline
    baseline = None if normal is None else normal.points[0].baseline
    if baseline is not None and len(baseline.count) != len(feature_names(family)):
        baseline = None  # learned on other features: it counts as none
    notes = []
    if window.seconds < family.window_s:
        notes.append(f"window of {window.seconds:g} s is shorter than the {family.window_s:g} s asked for")
    missing = tuple(name for name in family.required if name not in window.values)
    if missing:
        notes.append(f"missing: {', '.join(missing)}")
    for name, count in window.missing:
        notes.append(f"{count} of {window.samples} samples of {name} are missing: its neighbours stand for them")
    if still:
        notes.append(f"does not change at all: {', '.join(still)}")
    evidence = 0.0 if baseline is None else baseline.count.max(initial=0.0)
    commissioned = normal is not None and normal.points[0].moments is not None
    if evidence < SETTLED and not commissioned and any(family.reading_of(name) != "raw" for name in window.values):
        told = f"{evidence:.0f} of {SETTLED:.0f} windows learned" if evidence else "none of its windows learned"
        notes.append(f"no baseline of this system yet ({told}): compared with typical levels of its family")
    if baseline is not None and baseline.origin is not None:
        fresh = [
            name
            for name, place in mean_places(family).items()
            if name in window.values and family.reading_of(name) != "raw" and np.isnan(baseline.origin[place])
        ]
        if fresh:
            notes.append(f"its normal was learned without {', '.join(fresh)}: teach it anew to have that judged")
        notes += [
            f"normal {name} has moved from {first:.4g} to {now:.4g} {family.channels[name].unit} since it was learned"
            for name, (first, now) in drifts(baseline, mean_places(family)).items()
        ]
    return Quality(score, missing, tuple(notes))
