"""Fits every detector on labelled windows, and calibrates it on groups that it was not fitted on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from configs.settings import Models
from pipelines.datasets.feedback import UNKNOWN
from pipelines.datasets.recordings import Recordings, read_recordings
from pipelines.datasets.simulator import simulate_recordings
from pipelines.detectors.base import Detector, Examples, FeatureTable
from pipelines.detectors.bundle import Bundle, assemble
from pipelines.detectors.members import registry
from pipelines.detectors.ranges import known_range, outside_range
from pipelines.errors import InvalidInput
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window

FOLDS = 4
# Windows of a simulated machine. Source: with half of forty faults of unseen machines were missed no more often.
MACHINES, WINDOWS_EACH = Models().simulated_machines, 20

Progress = Callable[[str, int, int], None]
MakeFeatureTable = Callable[[Sequence[Window], Sequence[Normal | None], Family], FeatureTable]
Settings = Mapping[str, float]
SHIPPED: Settings = {}


def load(family: Family, data: Path | None, seed: int, by: str = "", machines: int = MACHINES) -> Recordings:
    """Read the recordings at `data`, or simulate a family that has a simulator.

    Args:
        by: Column of what an evaluation leaves out together; the family's own group when empty.
        machines: How many are simulated.

    Raises:
        InvalidInput: Neither is there.
    """
    if data is not None:
        return read_recordings(family, data, seed, by)
    if "fault" in family.heads:
        return simulate_recordings(family, machines, WINDOWS_EACH, seed)
    raise InvalidInput("data", None, f"family {family.name} has no simulator: give recordings")


def examples_of(recordings: Recordings, family: Family, tables: MakeFeatureTable = make_feature_table) -> Examples:
    """Turn recordings into features and class numbers.

    Args:
        recordings: Of the family.
        family: Says what their labels mean.
        tables: Computes the features.

    Raises:
        InvalidInput: A label is none of the head's classes.
    """
    own = bool(family.definition)
    heads = {name: numbered(recordings.labels[head.column], head.classes, own) for name, head in family.heads.items()}
    if family.label:
        anomaly = recordings.labels[family.label].astype(bool)
    else:
        wrong = [off_nominal(family, component, heads) for component in family.anomaly]
        anomaly = np.logical_or.reduce(wrong)
    table = tables(recordings.windows, recordings.baselines, family)
    sizes = {name: len(head.classes) for name, head in family.heads.items()}
    return Examples(table, anomaly, heads, sizes, recordings.groups, np.ones(len(anomaly), dtype=np.int64), own)


def numbered(values: NDArray[np.generic], classes: Sequence[object], gaps: bool = False) -> NDArray[np.int64]:
    """Return each value's place among the classes.

    Args:
        gaps: Whether None says that a class is not known, -1.
    """
    places = {grade: place for place, grade in enumerate(classes)} | ({None: UNKNOWN} if gaps else {})
    try:
        return np.array([places[value] for value in values.tolist()], dtype=np.int64)
    except KeyError as error:
        raise InvalidInput("data", error.args[0], f"must be one of {', '.join(map(str, classes))}") from None


def off_nominal(family: Family, component: str, heads: Mapping[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Tell for each window whether a component is off nominal."""
    part = family.components[component]
    classes = family.heads[part.head].classes
    off: NDArray[np.bool_] = np.isin(heads[part.head], [classes.index(grade) for grade in part.faulty])
    return off


def take(examples: Examples, rows: NDArray[np.int64]) -> Examples:
    """Return some of the examples."""
    heads = {name: labels[rows] for name, labels in examples.heads.items()}
    table = examples.table.rows(rows)
    return replace(
        examples,
        table=table,
        anomaly=examples.anomaly[rows],
        heads=heads,
        groups=examples.groups[rows],
        weight=examples.weight[rows],
    )


def folds(
    groups: NDArray[np.str_], count: int, anomaly: NDArray[np.bool_] | None = None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Split by group into rows to fit on and rows left out; `count` 0 leaves out one group at a time.

    Args:
        anomaly: `bool[N]`. Where few groups have anomalies, groups go to the parts so that no fit lacks either kind.

    Raises:
        InvalidInput: There is but one group, or all anomalous or all normal windows are of one.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    known = len(np.unique(groups))
    if known < 2:
        raise InvalidInput("data", known, "must hold at least two groups, to leave one out")
    parts = known if not count else min(count, known)
    found = list(GroupKFold(parts).split(groups, groups=groups))
    if anomaly is None or _both_in_each(anomaly, found):
        return found
    # The splitter wants as many windows of either kind as parts.
    parts = max(2, min(parts, int(anomaly.sum()), int((~anomaly).sum())))
    found = list(StratifiedGroupKFold(parts).split(groups, anomaly, groups)) if min(parts, anomaly.sum()) > 1 else []
    if not found or not _both_in_each(anomaly, found):
        rule = "must show both normal and anomalous windows in at least two groups, to leave one out"
        raise InvalidInput("data", known, rule)
    return found


def _both_in_each(anomaly: NDArray[np.bool_], found: list[tuple[NDArray[np.int64], NDArray[np.int64]]]) -> bool:
    return all(anomaly[fit_rows].any() and not anomaly[fit_rows].all() for fit_rows, _ in found)


def out_of_fold(detector: type[Detector], examples: Examples, seed: int, settings: Settings = SHIPPED) -> Floats:
    """Return each window's raw score by a detector that had not seen its group; NaN where that would abstain."""
    scores = np.full(len(examples.anomaly), np.nan)
    # The heads do not enter the score: leaving them out saves most of the time.
    plain = replace(examples, heads={}, classes={})
    for fit_rows, left_out in folds(examples.groups, FOLDS, examples.anomaly):
        taken, table = take(plain, fit_rows), plain.table.rows(left_out)
        fitted = detector.fit(taken, seed, **settings)
        outside = outside_range(table, *known_range(taken)) if detector.supervised else False
        scores[left_out] = np.where(outside, np.nan, fitted.vote(table, "score").anomaly)
    return scores


def fit_member(
    detector: type[Detector],
    family: Family,
    examples: Examples,
    seed: int,
    fingerprint: str,
    notes: tuple[str, ...] = (),
    settings: Settings = SHIPPED,
) -> Bundle:
    """Fit one detector on all examples, calibrated on scores out of fold."""
    held_out = out_of_fold(detector, examples, seed, settings)
    return assemble(
        detector.fit(examples, seed, **settings),
        family,
        examples,
        (held_out, examples.anomaly),
        fingerprint=fingerprint,
        seed=seed,
        settings=settings,
        notes=notes,
    )


def train(family: Family, recordings: Recordings, seed: int, progress: Progress) -> list[Bundle]:
    """Fit every detector of the registry; the same recordings and seed give the same bundles."""
    examples = examples_of(recordings, family)
    members = registry()
    bundles = []
    for number, (name, detector) in enumerate(members.items()):
        progress(f"train {name}", number, len(members))
        bundles.append(fit_member(detector, family, examples, seed, recordings.fingerprint, family.notes))
    progress("trained", len(members), len(members))
    return bundles
