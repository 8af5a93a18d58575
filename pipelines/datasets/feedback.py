"""Makes examples to learn from out of windows that were served and what people said of them."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import Examples, FeatureTable, joined
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family
from pipelines.signals.features import feature_names
from pipelines.signals.windows import Window, stored_window

# How often a window with feedback counts beside one of the recordings.
# Source: a fault that 1,400 recorded windows lack and 40 with feedback show, recall of the ensemble on other machines:
# 0.72 at 1, 0.81 at 2, 0.82 at 3, 0.83 at 5, and false alarms 0.9, 1.7, 1.8 and 2.2 %; see `docs/learning.md`.
WEIGHT = 3
UNKNOWN = -1


class Remark(NamedTuple):
    """A window that was served, and what is true of it.

    Attributes:
        system: Whose it is; windows of one system stay together in every split.
        window: `{"values": {channel: [..]}, "rate_hz": ..}`.
        baseline: The system's normal that it met, as `Normal.to_bytes` writes it; None where there was none.
        anomalous: Whether it is.
        component: What was off nominal, where somebody said so.
    """

    system: str
    window: Mapping[str, Any]
    baseline: bytes | None
    anomalous: bool
    component: str | None


def fingerprint_of(recordings: str, remarks: Sequence[Remark]) -> str:
    """Return the SHA-256 of recordings and remarks together, in whatever order the remarks come.

    Args:
        recordings: Their own fingerprint, which is the whole where there are no remarks.
        remarks: Beside them.
    """
    if not remarks:
        return recordings
    return sha256("".join([recordings, *sorted(map(_print_of, remarks))]).encode()).hexdigest()


def in_order(remarks: Sequence[Remark]) -> list[Remark]:
    """Return remarks in an order that depends on what they hold alone."""
    return sorted(remarks, key=_print_of)


def _print_of(remark: Remark) -> str:
    said = f"{remark.system} {remark.anomalous} {remark.component} {remark.window['rate_hz']!r}"
    samples = ((name, np.asarray(values, dtype=np.float64)) for name, values in sorted(remark.window["values"].items()))
    parts = [said.encode(), remark.baseline or b"", *(name.encode() + values.tobytes() for name, values in samples)]
    return sha256(b"\x00".join(parts)).hexdigest()


def feedback_examples(
    remarks: Sequence[Remark],
    family: Family,
    tables: Callable[[Sequence[Window], Sequence[Normal | None], Family], FeatureTable],
) -> Examples:
    """Turn remarks into features and class numbers.

    Args:
        remarks: Of the family's windows.
        family: Says which classes a component's fault may be.
        tables: Computes the features.
    """
    windows = [stored_window(remark.window) for remark in remarks]
    normals = [_normal(remark, len(feature_names(family))) for remark in remarks]
    grades = [_grades(remark, family) for remark in remarks]
    return Examples(
        tables(windows, normals, family),
        np.array([remark.anomalous for remark in remarks]),
        {head: np.array([known.get(head, UNKNOWN) for known in grades], dtype=np.int64) for head in family.heads},
        {head: len(spec.classes) for head, spec in family.heads.items()},
        np.array([f"feedback {remark.system}" for remark in remarks]),
        np.full(len(remarks), WEIGHT, dtype=np.int64),
        bool(family.definition),
    )


def _normal(remark: Remark, features: int) -> Normal | None:
    """Return a remark's normal; one of another feature set says nothing today."""
    found = None if remark.baseline is None else Normal.from_bytes(remark.baseline)
    return found if found is not None and len(found.points[0].baseline.count) == features else None


def _grades(remark: Remark, family: Family) -> dict[str, int]:
    """Return by head the class that a remark leaves no doubt about.

    Nothing is anomalous: every head of a component that would be is nominal. A component is named: its head has the
    one class that this component's fault can be, if there is but one.
    """
    if not remark.anomalous:
        return {family.components[name].head: 0 for name in family.anomaly or family.components}
    part = family.components.get(remark.component or "")
    if part is None or len(part.faulty) > 1:
        return {}
    return {part.head: family.heads[part.head].classes.index(part.faulty[0])}


def together(recorded: Examples, remarked: Examples) -> Examples:
    """Return both, one below the other."""

    def column(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(recorded, name), getattr(remarked, name)])

    heads = {name: np.concatenate([labels, remarked.heads[name]]) for name, labels in recorded.heads.items()}
    table = joined([recorded.table, remarked.table])
    parts = (column("anomaly"), heads, recorded.classes, column("groups"), column("weight"))
    return Examples(table, *parts, recorded.whole)
