"""Brings together what is labelled of a machine kind that people defined, files and feedback, before a training.

Says which components can be told apart by it, and refuses what is too little, with what is needed.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.feedback import Remark
from pipelines.datasets.grades import LABELS_MAX
from pipelines.datasets.labelled import Labelled, grouped
from pipelines.datasets.recordings import Recordings
from pipelines.errors import InvalidInput
from pipelines.machines.family import Family, Grade
from pipelines.machines.labelling import CALLED, labels_of, with_labels

# Windows of either kind beside those that commission the machines, and those that show one component. Source: own
# choice; below, the area under the ROC curve of what is left out is known to a fifth of itself at best, and a leaf of
# the trees holds three windows.
LEAST_EACH, LEAST_COMPONENT = 10, 5
FLAG: tuple[Grade, ...] = (0, 1)
ANOMALY = "anomaly"  # the label of the whole machine


class Prepared(NamedTuple):
    """What is learned of a family.

    Attributes:
        family: With the components that its labels name.
        recordings: From files; without windows where there are none.
        remarks: From feedback.
    """

    family: Family
    recordings: Recordings
    remarks: Sequence[Remark]


def nothing_recorded() -> Recordings:
    """Return recordings without windows."""
    none = np.array([], dtype=np.str_)
    return Recordings([], [], {ANOMALY: np.zeros(0, dtype=np.bool_)}, none, none, "")


def prepare(
    family: Family, labelled: Labelled | None, remarks: Sequence[Remark], tell: Callable[[str], object]
) -> Prepared:
    """Return what can be learned of a family that people defined.

    Args:
        family: Without components.
        labelled: From files; None where there are none.
        remarks: From feedback, those of one system in the order of time.
        tell: Told line by line what is left out.

    Raises:
        InvalidInput: There are too few windows of either kind.
    """
    recordings = labelled.recordings if labelled else nothing_recorded()
    spoken = np.array([remark.anomalous for remark in remarks], dtype=np.bool_)
    anomaly = np.concatenate([recordings.labels[ANOMALY].astype(np.bool_), spoken])
    for count, what in ((int(anomaly.sum()), "anomalous"), (int((~anomaly).sum()), "normal")):
        if count < LEAST_EACH:
            rule = f"must be at least {LEAST_EACH} {what} windows of {family.window_s:g} s to learn from"
            raise InvalidInput("labels", count, f"{rule}, beside those that say what is normal for each machine")
    grades = _shown(labelled.grades if labelled else {}, recordings, remarks, tell)
    systems = grouped(np.array([remark.system for remark in remarks], dtype=np.str_), spoken) if remarks else ()
    parts = [remark._replace(system=str(system)) for remark, system in zip(remarks, systems, strict=True)]
    return Prepared(with_labels(family, labels_of(grades)), _filled(recordings, grades), parts)


def _shown(
    grades: Mapping[str, tuple[Grade, ...]],
    recordings: Recordings,
    remarks: Sequence[Remark],
    tell: Callable[[str], object],
) -> dict[str, tuple[Grade, ...]]:
    """Return the components, with their grades, that enough windows show."""
    said = (remark.component or "" for remark in remarks)
    seen = Counter(name for name in said if CALLED.match(name) and name != ANOMALY)
    for name, known in grades.items():
        seen[name] += sum(value not in (None, known[0]) for value in recordings.labels[name].tolist())
    found: dict[str, tuple[Grade, ...]] = {}
    for name, count in sorted(seen.items(), key=lambda pair: (-pair[1], pair[0])):
        if count < LEAST_COMPONENT or len(found) == LABELS_MAX:
            why = f"{LEAST_COMPONENT} are needed" if count < LEAST_COMPONENT else f"{LABELS_MAX} components are named"
            tell(f"  not named: {name}: {count} windows show it, {why}")
            continue
        found[name] = grades.get(name, FLAG)
    return found


def _filled(recordings: Recordings, grades: Mapping[str, tuple[Grade, ...]]) -> Recordings:
    """Return recordings with a label of every component: a window in which nothing is wrong is nominal in each."""
    normal = ~recordings.labels[ANOMALY].astype(np.bool_)
    labels: dict[str, NDArray[np.generic]] = {ANOMALY: recordings.labels[ANOMALY]}
    for name, known in grades.items():
        values = recordings.labels.get(name, np.full(len(normal), None, dtype=object)).copy()
        values[normal] = known[0]
        labels[name] = values
    return replace(recordings, labels=labels)
