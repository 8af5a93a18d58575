"""Beside the features: how much the data of one window allow to be said.

Exists so that a poor window gets an answer, and the answer says how poor it was.
"""

from configs.families import Family
from pipelines.detectors.baseline import SETTLED, drifts
from pipelines.diagnosis.records import Inspection, Quality
from pipelines.signals.features import mean_places

# Source: own choice, in the order that the measurements give: on the test rig a window of a third of the load cycle
# raises misses from 3 to 13 %; a missing flow channel leaves pressure alone at chance on the water loop.
SHORT_LEAST = 0.5
MISSING_FACTOR = 0.75
CONSTANT_FACTOR = 0.9
UNKNOWN_FACTOR = 0.8


def quality(inspection: Inspection, family: Family) -> Quality:
    """Rate one window against what its family's detectors were trained on, and its system's baseline."""
    window, baseline = inspection.window, inspection.baseline
    score, notes = 1.0, []
    if window.seconds < family.window_s:
        score *= SHORT_LEAST + (1 - SHORT_LEAST) * window.seconds / family.window_s
        notes.append(f"window of {window.seconds:g} s is shorter than the {family.window_s:g} s asked for")
    missing = tuple(name for name in family.required if name not in window.values)
    if missing:
        score *= MISSING_FACTOR ** len(missing)
        notes.append(f"missing: {', '.join(missing)}")
    constant = [name for name, values in window.values.items() if len(values) > 1 and values.min() == values.max()]
    if constant:
        score *= CONSTANT_FACTOR ** len(constant)
        notes.append(f"does not change at all: {', '.join(constant)}")
    evidence = 0.0 if baseline is None else baseline.count.max(initial=0.0)
    if evidence < SETTLED and any(family.reading_of(name) != "raw" for name in window.values):
        score *= UNKNOWN_FACTOR
        told = f"{evidence:.0f} of {SETTLED:.0f} windows learned" if evidence else "none of its windows learned"
        notes.append(f"no baseline of this system yet ({told}): compared with typical levels of its family")
    if baseline is not None:
        notes += [
            f"normal {name} has moved from {first:.4g} to {now:.4g} {family.channels[name].unit} since it was learned"
            for name, (first, now) in drifts(baseline, mean_places(family)).items()
        ]
    return Quality(score, missing, tuple(notes))
