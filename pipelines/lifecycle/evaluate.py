"""Beside the request path: how good a family's detectors are on groups left out of training.

Exists so that a figure quoted to a user comes from the very code that serves, on data no model had seen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.families import Family
from pipelines.datasets.recordings import Recordings
from pipelines.detectors.base import Examples, registry
from pipelines.diagnosis.calibration import auc, expected_calibration_error
from pipelines.diagnosis.ensemble import judge
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.lifecycle.train import Progress, examples_of, fit_member, folds, off_nominal, take
from pipelines.signals.windows import Floats

EVALUATION_FOLDS = 12  # one block at a time where there are that few; recordings in that many parts


@dataclass(frozen=True, slots=True)
class Figures:
    """How well scores separate windows.

    Attributes:
        windows: How many.
        anomalous: Share of them.
        far: False alarms among normal windows; `mar` missed among anomalous ones; NaN where there are none.
    """

    name: str
    windows: int
    anomalous: float
    auc: float
    f1: float
    far: float
    mar: float
    ece: float


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Figures of a family.

    Attributes:
        members: Of each detector, over all groups.
        lengths: Of the ensemble, by window length.
        groups: Of the ensemble, by group.
        components: By component: AUC of being off nominal, and accuracy of its grade.
    """

    family: str
    ensemble: Figures
    members: tuple[Figures, ...]
    lengths: tuple[Figures, ...]
    groups: tuple[Figures, ...]
    components: dict[str, dict[str, float]]


def figures(name: str, scores: Floats, truth: NDArray[np.bool_], threshold: float) -> Figures:
    """Compute all figures over the windows that have a score."""
    known = np.isfinite(scores)
    scores, truth = scores[known], truth[known]
    alarms = scores >= threshold
    hits, false = int((alarms & truth).sum()), int((alarms & ~truth).sum())
    missed, normal = int((~alarms & truth).sum()), int((~truth).sum())
    return Figures(
        name,
        len(scores),
        float(truth.mean()) if len(truth) else float("nan"),
        auc(scores, truth) if truth.any() and normal else float("nan"),
        2 * hits / (2 * hits + false + missed) if hits + false + missed else float("nan"),
        false / normal if normal else float("nan"),
        missed / (hits + missed) if hits + missed else float("nan"),
        expected_calibration_error(scores, truth),
    )


def evaluate(family: Family, recordings: Recordings, seed: int, progress: Progress) -> Evaluation:
    """Refit everything with each group left out once, and judge what was left out as the service would."""
    examples = examples_of(recordings, family)
    count = len(examples.anomaly)
    members = {name: np.full(count, np.nan) for name in registry()}
    diagnoses: list[Diagnosis | None] = [None] * count
    parts = folds(examples.groups, EVALUATION_FOLDS)
    for number, (fit_rows, left_out) in enumerate(parts):
        progress(f"leave out part {number + 1}", number, len(parts))
        judged = judge_left_out(family, recordings, examples, fit_rows, left_out, seed)
        for row, diagnosis in zip(left_out, judged, strict=True):
            diagnoses[row] = diagnosis
            for vote in diagnosis.votes if diagnosis else ():
                members[vote.detector][row] = np.nan if vote.score is None else vote.score
    progress("evaluated", len(parts), len(parts))
    return summarise(family, recordings, examples, members, diagnoses)


def judge_left_out(
    family: Family,
    recordings: Recordings,
    examples: Examples,
    fit_rows: NDArray[np.int64],
    left_out: NDArray[np.int64],
    seed: int,
) -> list[Diagnosis | None]:
    """Fit on some rows and judge the others."""
    taken = take(examples, fit_rows)
    fitted = {name: fit_member(kind, family, taken, seed, "evaluation") for name, kind in registry().items()}
    sheet = take(examples, left_out).sheet
    inspections = [Inspection(recordings.windows[r], family.name, recordings.baselines[r]) for r in left_out]
    votes = {name: bundle.votes(sheet) for name, bundle in fitted.items()}
    outcomes = judge(family, inspections, sheet, votes, {}, 1)
    return [outcome if isinstance(outcome, Diagnosis) else None for outcome in outcomes]


def summarise(
    family: Family,
    recordings: Recordings,
    examples: Examples,
    members: dict[str, Floats],
    diagnoses: Sequence[Diagnosis | None],
) -> Evaluation:
    """Set scores against labels, over all windows and by group and length."""
    truth, threshold = examples.anomaly, family.severity.warning
    scores = np.array([np.nan if diagnosis is None else diagnosis.score for diagnosis in diagnoses])
    seconds = np.array([window.seconds for window in recordings.windows])

    def of(name: str, rows: NDArray[np.bool_]) -> Figures:
        return figures(name, scores[rows], truth[rows], threshold)

    return Evaluation(
        family.name,
        of("ensemble", np.ones(len(truth), dtype=bool)),
        tuple(figures(name, votes, truth, threshold) for name, votes in members.items()),
        tuple(of(f"{length:g} s", seconds == length) for length in np.unique(seconds)[::-1]),
        tuple(of(str(group), examples.groups == group) for group in np.unique(examples.groups)),
        {name: component_figures(family, name, examples, diagnoses, seconds) for name in family.components},
    )


def component_figures(
    family: Family, component: str, examples: Examples, diagnoses: Sequence[Diagnosis | None], seconds: Floats
) -> dict[str, float]:
    """Return how well one component is judged from windows of the family's full length or longer."""
    part = family.components[component]
    classes = family.heads[part.head].classes
    off = off_nominal(family, component, examples.heads)
    rows = [row for row, diagnosis in enumerate(diagnoses) if diagnosis and seconds[row] >= family.window_s]
    found: list[Any] = [next(f for f in diagnoses[row].components if f.component == component) for row in rows]  # type: ignore[union-attr]
    probability = np.array([finding.probability for finding in found])
    grades = [classes[examples.heads[part.head][row]] for row in rows]
    right = [
        finding.grade == (grade if grade in part.faulty else classes[0])
        for finding, grade in zip(found, grades, strict=True)
    ]
    return {"auc": auc(probability, off[rows]), "grade_accuracy": float(np.mean(right)) if right else float("nan")}
