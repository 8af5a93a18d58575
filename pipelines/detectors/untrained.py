"""Judges families on which nobody has trained: by the detector that needs no labels, with a calibration of its own."""

from pipelines.detectors.adaptive import HALF, Adaptive
from pipelines.detectors.bundle import Bundle, Card
from pipelines.diagnosis.calibration import Platt
from pipelines.errors import Unavailable
from pipelines.machines.family import Family
from pipelines.signals.reading import read_names

# Version of a member that no training has made, and what its score is worth. Source: calibration of the adaptive member
# of `generic` on simulated machines left out.
BUILT_IN, UNTRAINED = "built-in-1", Platt(0.885, -0.349)


def untrained(detector: str, family: Family) -> Bundle:
    """Return what a detector that needs no labels knows of a family on which nobody has trained anything.

    Raises:
        Unavailable: The detector is none of them.
    """
    if detector != Adaptive.name:
        raise Unavailable(detector, f"no version is trained for family {family.name} yet")
    columns = read_names(family)
    never = (None,) * len(columns)
    card = Card(
        family=family.name,
        detector=detector,
        features=columns,
        slope=UNTRAINED.slope,
        intercept=UNTRAINED.intercept,
        skill=1.0,
        low=never,
        high=never,
        fingerprint=BUILT_IN,
        seed=0,
        rows=0,
    )
    return Bundle(card, Adaptive(HALF))
