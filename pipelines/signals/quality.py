"""Beside the features: how much the data of one window allow to be said.

Exists so that a poor window gets an answer, and the answer says how poor it was.
"""

from configs.families import Family
from pipelines.diagnosis.records import Quality
from pipelines.signals.windows import Window

# Source: own choice, in the order that the measurements give: on the test rig a window of a third of the load cycle
# raises misses from 3 to 13 %; a missing flow channel leaves pressure alone at chance on the water loop.
SHORT_LEAST = 0.5
MISSING_FACTOR = 0.75
CONSTANT_FACTOR = 0.9
UNKNOWN_FACTOR = 0.8


def quality(window: Window, family: Family, evidence: float | None = None) -> Quality:
    """Rate one window against what its family's detectors were trained on.

    Args:
        evidence: Windows behind the system's baseline; None where that does not matter.
    """
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
    if evidence == 0 and family.reading == "relative":
        score *= UNKNOWN_FACTOR
        notes.append("no baseline of this system yet: compared with typical levels of its family")
    return Quality(score, missing, tuple(notes))
