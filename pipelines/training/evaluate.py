"""Measures how good a family's detectors are on groups left out of training, with the code that serves."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.datasets.recordings import SETTLE, Recordings
from pipelines.detectors.base import Examples
from pipelines.detectors.bundle import Bundle
from pipelines.detectors.members import registry
from pipelines.diagnosis.calibration import auc, expected_calibration_error
from pipelines.diagnosis.records import ComponentFinding, Diagnosis, Inspection
from pipelines.machines.family import Family
from pipelines.scoring.score import follow, judged
from pipelines.signals.windows import Floats, Window
from pipelines.training.train import Progress, examples_of, fit_member, folds, off_nominal, take

EVALUATION_FOLDS = 12  # one block at a time where there are that few; recordings in that many parts
ENSEMBLE, TRAINED, ADAPTIVE, WITH_EXTRAS = "ensemble", "trained", "adaptive", "with extra channels"
COLUMNS = ("anomaly", "groups", "parts", "places", "seconds")


@dataclass(frozen=True, slots=True)
class Figures:
    """How well scores separate windows.

    Attributes:
        windows: How many were judged; `abstained` the share that were not.
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
    abstained: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """N windows with what is true of them and what was said of them by models that had not seen their group.

    Attributes:
        places: Number of the window in its group, in time where it was recorded so.
        heads: By head of the family, `int64[N]` index into the head's classes.
    """

    anomaly: NDArray[np.bool_]
    groups: NDArray[np.str_]
    parts: NDArray[np.str_]
    places: NDArray[np.int64]
    seconds: Floats
    heads: Mapping[str, NDArray[np.int64]]
    diagnoses: Sequence[Diagnosis]

    @property
    def scores(self) -> Floats:
        """`float64[N]`; NaN where nobody could judge."""
        return np.array([diagnosis.score for diagnosis in self.diagnoses])

    @property
    def alarms(self) -> NDArray[np.bool_]:
        """`bool[N]`, with the hysteresis of consecutive windows where they are consecutive."""
        return np.array([diagnosis.is_anomaly for diagnosis in self.diagnoses])

    def votes(self, detector: str) -> Floats:
        """`float64[N]` one member's own scores; NaN where it abstained."""
        found = [next((v.score for v in d.votes if v.detector == detector), None) for d in self.diagnoses]
        return np.array([np.nan if score is None else score for score in found])


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Figures of a family.

    Attributes:
        panels: Of the ensemble, of the trained members together, and of the adaptive one alone.
        members: Of each detector's own votes, where it gave one.
        lengths: Of the ensemble, by window length.
        parts: Of the ensemble, by what was left out together.
        groups: Of the ensemble, by group.
        components: By panel and component: AUC of being off nominal, and accuracy of its grade.
        bands: Of the ensemble, by severity band: precision and recall of the windows from its threshold on.
        judged: By panel, what the figures are of.
    """

    family: str
    fingerprint: str
    panels: tuple[Figures, ...]
    members: tuple[Figures, ...]
    lengths: tuple[Figures, ...]
    parts: tuple[Figures, ...]
    groups: tuple[Figures, ...]
    components: dict[str, dict[str, dict[str, float]]]
    bands: dict[str, dict[str, float]]
    judged: Mapping[str, Judged]

    def plain(self) -> dict[str, Any]:
        """Return the figures without the windows, as JSON holds them: null where there is no figure."""
        tables = ("panels", "members", "lengths", "parts", "groups")
        figures = {name: [_nulled(asdict(row)) for row in getattr(self, name)] for name in tables}
        components = {
            panel: {name: _nulled(row) for name, row in parts.items()} for panel, parts in self.components.items()
        }
        head = {"family": self.family, "fingerprint": self.fingerprint}
        return {**head, **figures, "components": components, "bands": self.bands}


def _nulled(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}  # noqa: PLR0124 (only NaN)


def figures(name: str, scores: Floats, alarms: NDArray[np.bool_], truth: NDArray[np.bool_]) -> Figures:
    """Compute all figures over the windows that have a score."""
    known = np.isfinite(scores)
    abstained = float(1 - known.mean()) if len(known) else float("nan")
    scores, alarms, truth = scores[known], alarms[known], truth[known]
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
        abstained,
    )


class Panel(NamedTuple):
    """Members that are judged together, and the channels they are shown."""

    members: tuple[str, ...]
    channels: tuple[str, ...]


def panels(family: Family) -> dict[str, Panel]:
    """Return every panel of a family by name; only where it has extra channels, one is shown them."""
    supervised = {name: kind.supervised for name, kind in registry().items()}
    trained = tuple(name for name, is_trained in supervised.items() if is_trained)
    adaptive = tuple(name for name, is_trained in supervised.items() if not is_trained)
    members = {ENSEMBLE: tuple(supervised), TRAINED: trained, ADAPTIVE: adaptive}
    found = {name: Panel(detectors, family.required) for name, detectors in members.items()}
    if len(family.required) < len(family.channels):
        found[WITH_EXTRAS] = Panel(tuple(supervised), tuple(family.channels))
    return found


def evaluate(family: Family, recordings: Recordings, seed: int, progress: Progress) -> Evaluation:
    """Refit everything with each part left out once, and judge what was left out as the service would."""
    from joblib import Parallel, delayed

    examples = examples_of(recordings, family)
    parts = folds(recordings.parts, EVALUATION_FOLDS)
    # Each part is a fit of its own: as many at a time as there are cores, and the same figures whatever their number.
    work = Parallel(n_jobs=-1, return_as="generator")(
        delayed(judge_left_out)(family, recordings, examples, fit_rows, left_out, seed) for fit_rows, left_out in parts
    )
    found: list[Mapping[str, Judged]] = []
    for number, judged_part in enumerate(work):
        found.append(judged_part)
        progress("leave out parts", number + 1, len(parts))
    whole = {panel: _joined([part[panel] for part in found]) for panel in panels(family)}
    return summarise(family, recordings.fingerprint, whole)


def judge_left_out(
    family: Family,
    recordings: Recordings,
    examples: Examples,
    fit_rows: NDArray[np.int64],
    left_out: NDArray[np.int64],
    seed: int,
) -> dict[str, Judged]:
    """Fit on some rows and judge the others, by each panel."""
    taken = take(examples, fit_rows)
    fitted = {name: fit_member(kind, family, taken, seed, "evaluation") for name, kind in registry().items()}
    judge_rows = _judge_series if recordings.series else _judge_windows
    return {
        name: judge_rows(family, recordings, examples, left_out, {key: fitted[key] for key in members}, channels)
        for name, (members, channels) in panels(family).items()
    }


def _judge_windows(
    family: Family,
    recordings: Recordings,
    examples: Examples,
    rows: NDArray[np.int64],
    members: Mapping[str, Bundle],
    channels: tuple[str, ...],
) -> Judged:
    """Judge windows that stand alone, but none drawn to fit on, nor those that lack a channel which others show."""
    recorded = {name for name in channels if any(name in window.values for window in recordings.windows)}
    rows = rows[rows < len(recordings.windows) - recordings.repeats]
    rows = np.array([row for row in rows if recorded <= set(recordings.windows[row].values)], dtype=np.int64)
    windows = [shown(recordings.windows[row], channels) for row in rows]
    inspections = [Inspection(w, family.name, recordings.baselines[r]) for w, r in zip(windows, rows, strict=True)]
    return Judged(
        examples.anomaly[rows],
        recordings.groups[rows],
        recordings.parts[rows],
        rows,
        np.array([window.seconds for window in windows]),
        {name: labels[rows] for name, labels in examples.heads.items()},
        judged(inspections, family, members),
    )


def _judge_series(
    family: Family,
    recordings: Recordings,
    examples: Examples,
    rows: NDArray[np.int64],
    members: Mapping[str, Bundle],
    channels: tuple[str, ...],
) -> Judged:
    """Judge recordings sample by sample, from where they have settled."""
    found = []
    for group in np.unique(recordings.groups[rows]):
        series = recordings.series[str(group)]
        values = {name: series.values[name] for name in channels if name in series.values}
        diagnoses = list(follow(family, values, members, SETTLE))[SETTLE:]
        count = len(diagnoses)
        found.append(
            Judged(
                series.anomaly[SETTLE:],
                np.full(count, group),
                np.full(count, series.part),
                np.arange(SETTLE, SETTLE + count),
                np.full(count, family.window_s),
                {},
                diagnoses,
            )
        )
    return _joined(found)


def shown(window: Window, channels: tuple[str, ...]) -> Window:
    """Return a window with some of its channels."""
    return Window({name: window.values[name] for name in channels if name in window.values}, window.rate_hz)


def _joined(parts: Sequence[Judged]) -> Judged:
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
    heads = {head: np.concatenate([part.heads[head] for part in parts]) for head in parts[0].heads}
    return Judged(**columns, heads=heads, diagnoses=[d for part in parts for d in part.diagnoses])


def summarise(family: Family, fingerprint: str, by_panel: Mapping[str, Judged]) -> Evaluation:
    """Set scores against labels, over all windows and by group, part and length."""
    whole = by_panel[ENSEMBLE]

    def of(name: str, rows: NDArray[np.bool_]) -> Figures:
        return figures(name, whole.scores[rows], whole.alarms[rows], whole.anomaly[rows])

    def by(column: NDArray[Any], title: Callable[[Any], str] = str) -> tuple[Figures, ...]:
        return tuple(of(title(value), column == value) for value in np.unique(column))

    votes = {name: whole.votes(name) for name in registry()}
    threshold = family.severity.warning
    return Evaluation(
        family.name,
        fingerprint,
        tuple(figures(name, part.scores, part.alarms, part.anomaly) for name, part in by_panel.items()),
        tuple(figures(name, scores, scores >= threshold, whole.anomaly) for name, scores in votes.items()),
        by(whole.seconds, lambda seconds: f"{seconds:g} s")[::-1],
        by(whole.parts),
        by(whole.groups),
        {
            panel: {name: component_figures(family, name, part) for name in family.components}
            for panel, part in by_panel.items()
        },
        {name: band(whole, getattr(family.severity, name)) for name in ("warning", "critical")},
        by_panel,
    )


def band(whole: Judged, threshold: float) -> dict[str, float]:
    """Return precision and recall of scores from a threshold on."""
    above = whole.scores >= threshold
    hits = int((above & whole.anomaly).sum())
    return {"precision": hits / max(int(above.sum()), 1), "recall": hits / max(int(whole.anomaly.sum()), 1)}


def findings_of(whole: Judged, component: str) -> dict[int, ComponentFinding]:
    """Return by row what was found of a component; a head that no member knows finds nothing."""
    found = ((row, f) for row, diagnosis in enumerate(whole.diagnoses) for f in diagnosis.components)
    return {row: finding for row, finding in found if finding.component == component}


def component_figures(family: Family, component: str, whole: Judged) -> dict[str, float]:
    """Return how well one component is judged, from windows of the family's full length or longer.

    A grade counts as right where it is the recorded one; a class that is another component's counts as nominal.
    """
    part = family.components[component]
    classes = family.heads[part.head].classes
    off = off_nominal(family, component, whole.heads)
    full = whole.seconds >= family.window_s
    graded = findings_of(whole, component)
    rows = [row for row in graded if full[row]]
    if not rows:
        return {"auc": float("nan"), "grade_accuracy": float("nan")}
    found = [graded[row] for row in rows]
    probability = np.array([finding.probability for finding in found])
    grades = [classes[whole.heads[part.head][row]] for row in rows]
    right = [
        finding.grade == (grade if grade in part.faulty else classes[0])
        for finding, grade in zip(found, grades, strict=True)
    ]
    return {"auc": auc(probability, off[rows]), "grade_accuracy": float(np.mean(right))}
