"""Says which part of the machine is off nominal, how badly, and what that is called.

`ensemble` gives it the heads' averaged probabilities and puts its findings into the diagnosis.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.diagnosis.records import Attribution, ComponentFinding
from pipelines.machines.family import Component, Family
from pipelines.signals.windows import Floats

# Source: a component is named when it is more likely off nominal than not.
AFFECTED = 0.5


class Part(NamedTuple):
    """What the heads say of one component in N windows.

    Attributes:
        off: `float64[N]` probability that it is off nominal; NaN where no head knows.
        grade: `int64[N]` place of its likeliest grade among the head's classes.
        fault: `int64[N]` place of the likeliest of those grades that are faults.
    """

    off: Floats
    grade: NDArray[np.int64]
    fault: NDArray[np.int64]


Parts = Mapping[str, Part]


def judge_parts(family: Family, heads: Mapping[str, Floats]) -> Parts:
    """Judge every component of each window.

    Args:
        heads: By head `float64[N, K]`; a row of NaN where no member knows.
    """
    return {
        name: _judge(family, name, component, heads[component.head])
        for name, component in family.components.items()
        if component.head in heads
    }


def _judge(family: Family, name: str, component: Component, probability: Floats) -> Part:
    """Judge one component by the probabilities of its head's classes.

    Where components share a head, a class that only means another one is off counts as nominal for this one.
    """
    classes = family.heads[component.head].classes
    of_others = {
        grade
        for other, part in family.components.items()
        if other != name and part.head == component.head
        for grade in part.faulty
        if grade not in component.faulty
    }
    own = np.nan_to_num(probability)
    strange = [place for place, grade in enumerate(classes) if grade in of_others]
    own[:, 0] += own[:, strange].sum(axis=1)
    own[:, strange] = 0.0
    faults = np.array([place for place, grade in enumerate(classes) if grade in component.faulty], dtype=np.int64)
    off = probability[:, faults].sum(axis=1)
    return Part(off, own.argmax(axis=1), faults[own[:, faults].argmax(axis=1)])


def ranked(family: Family, parts: Parts, row: int) -> tuple[ComponentFinding, ...]:
    """Return what is known of one window's components, the most probably off nominal first."""
    found = [
        ComponentFinding(
            name, float(part.off[row]), family.heads[family.components[name].head].classes[part.grade[row]]
        )
        for name, part in parts.items()
        if not np.isnan(part.off[row])
    ]
    return tuple(sorted(found, key=lambda finding: -finding.probability))


def affected(family: Family, found: Sequence[ComponentFinding]) -> tuple[str, ...]:
    """Return the components to name in an anomaly: those more likely off than not, else the most likely one.

    What counts as an anomaly of this family is named before what does not.
    """
    likely = tuple(finding.component for finding in found if finding.probability >= AFFECTED)
    causes = [finding.component for finding in found if not family.anomaly or finding.component in family.anomaly]
    if not causes or any(component in causes for component in likely):
        return likely
    return (causes[0], *likely)


def kinds(family: Family, parts: Parts, rows: int) -> NDArray[np.object_]:
    """Return what kind of anomaly each of N windows would be: that of its likeliest cause; None where none is known.

    Shapes: `object[N]` of str or None.
    """
    causes = [name for name in parts if name in family.anomaly] or list(parts)
    found = np.full(rows, None, dtype=object)
    if not causes:
        return found
    off = np.stack([np.nan_to_num(parts[name].off, nan=-1.0) for name in causes])
    first = np.where(off.max(axis=0) < 0, -1, off.argmax(axis=0))
    for place, name in enumerate(causes):
        component = family.components[name]
        classes = family.heads[component.head].classes
        by_grade = np.array([component.kinds.get(grade, component.kind) for grade in classes], dtype=object)
        mine = first == place
        found[mine] = by_grade[parts[name].fault[mine]]
    return found


def loudest(attribution: Sequence[Attribution]) -> str | None:
    """Return what an anomaly without components is called: by the channel that speaks loudest for it."""
    share = next((share for share in attribution if share.contribution > 0), None)
    return f"{share.direction}_{share.channel}" if share else None
