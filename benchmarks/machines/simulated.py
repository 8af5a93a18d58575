"""Commissions and judges simulated machines that no model has seen, and sums up what came of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machines.judging import Judge, Verdict, commissioned, judged_alone, watched, while_commissioning
from benchmarks.machines.telling import component_of
from benchmarks.machines.trials import MEDIUM, Trial
from pipelines.diagnosis.calibration import auc
from pipelines.signals.windows import Floats

# A machine with more of its healthy windows in alarm is of no use to its owner. Source: demand of the benchmark.
USABLE = 0.05
CURVE = (6, 10, 20, 30, 60)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What came of one machine.

    Attributes:
        early: What was said of the windows that it was commissioned with, before it was.
        healthy: Of its healthy windows of the days after.
        broken: Of its windows with faults.
        spoilt_healthy: The same after a commissioning with one faulty window in ten.
        spoilt_broken: Likewise.
    """

    trial: Trial
    early: Verdict
    healthy: Verdict
    broken: Verdict
    spoilt_healthy: Verdict
    spoilt_broken: Verdict


def outcome(trial: Trial, judge: Judge) -> Outcome:
    """Commission a machine as its owner does, once well and once spoilt, and judge what follows."""
    healthy, broken = trial.windows(trial.healthy), trial.windows(trial.broken)
    learning = trial.windows(trial.learning[: trial.known])
    early = while_commissioning(learning, judge)
    found = []
    for windows in (learning, trial.windows(trial.poisoned[: trial.known])):
        normal = commissioned(windows, judge)
        found += [watched(healthy, normal, judge), judged_alone(broken, normal, judge)]
    return Outcome(trial, early, *found)


class Figures(NamedTuple):
    """What came of machines of one set of physics.

    Attributes:
        far: Share of healthy windows in alarm.
        usable: Share of machines with at most 5 % of their healthy windows in alarm.
        found: By size, share of the windows with a fault that are in alarm.
        shown: The same of faults of 30 % that the four channels can show.
        right: Share of those found whose first component is right, where four channels can tell.
        early: Share of windows in alarm while commissioning.
        spoilt_far: As `far`, after a commissioning with one faulty window in ten.
        spoilt_found: As `shown`, likewise.
        ranked: Area under the ROC curve of the score, mean over machines; faults of 30 %.
        showing: Share of the windows with faults of 30 % that the channels can show.
        telling: The same for the component.
    """

    machines: int
    far: float
    usable: float
    found: dict[float, float]
    shown: float
    right: float
    early: float
    spoilt_far: float
    spoilt_found: float
    ranked: float
    showing: float
    telling: float


def figures(outcomes: Sequence[Outcome], judge: Judge) -> Figures:
    """Sum up over machines."""
    medium = [item.trial.size == MEDIUM for item in outcomes]
    visible = [rows & item.trial.flags(item.trial.shown) for item, rows in zip(outcomes, medium, strict=True)]
    telling = [rows & item.trial.flags(item.trial.told) for item, rows in zip(outcomes, medium, strict=True)]
    fars = np.array([item.healthy.is_anomaly.mean() for item in outcomes])
    sizes = sorted({float(size) for item in outcomes for size in item.trial.size})
    return Figures(
        machines=len(outcomes),
        far=_share(item.healthy.is_anomaly for item in outcomes),
        usable=float((fars <= USABLE).mean()),
        found={size: _share(item.broken.is_anomaly[item.trial.size == size] for item in outcomes) for size in sizes},
        shown=_share(item.broken.is_anomaly[rows] for item, rows in zip(outcomes, visible, strict=True)),
        right=_share(rightly(item, rows, judge) for item, rows in zip(outcomes, telling, strict=True)),
        early=_share(item.early.is_anomaly for item in outcomes),
        spoilt_far=_share(item.spoilt_healthy.is_anomaly for item in outcomes),
        spoilt_found=_share(item.spoilt_broken.is_anomaly[rows] for item, rows in zip(outcomes, visible, strict=True)),
        ranked=float(
            np.nanmean(
                [
                    ranked(item.healthy.score, item.broken.score[rows])
                    for item, rows in zip(outcomes, visible, strict=True)
                ]
            )
        ),
        showing=sum(map(_count, visible)) / max(sum(map(_count, medium)), 1),
        telling=sum(map(_count, telling)) / max(sum(map(_count, medium)), 1),
    )


def _count(rows: NDArray[np.bool_]) -> int:
    return int(rows.sum())


def _share(parts: Iterable[NDArray[np.bool_]]) -> float:
    """Return the share of all windows of all machines; NaN where there is none."""
    whole = np.concatenate(list(parts))
    return float(whole.mean()) if len(whole) else float("nan")


def rightly(item: Outcome, rows: NDArray[np.bool_], judge: Judge) -> NDArray[np.bool_]:
    """Tell of the chosen windows that are in alarm whether the first component named is right."""
    alarms = np.flatnonzero(rows & item.broken.is_anomaly)
    return np.array(
        [
            item.broken.affected[row][:1] == (component_of(str(item.trial.fault[row]), judge.family),)
            for row in alarms.tolist()
        ],
        dtype=np.bool_,
    )


def ranked(healthy: Floats, broken: Floats) -> float:
    """Return the area under the ROC curve; a window nobody judged is as normal as can be."""
    if not len(broken):
        return float("nan")
    scores = np.nan_to_num(np.concatenate([healthy, broken]), nan=-1.0)
    return auc(scores, np.arange(len(scores)) >= len(healthy))


class Voter(NamedTuple):
    """How one member, or the ensemble, stands by itself: shares of windows, and the mean of machines' AUC."""

    name: str
    far: float
    found: float
    ranked: float
    voting: float


def voters(outcomes: Sequence[Outcome], judge: Judge) -> list[Voter]:
    """Return how each member and the ensemble judge healthy windows and faults of 30 % that channels show."""
    bound = judge.family.severity.warning
    found = []
    for name in (*judge.members, "ensemble"):
        healthy, broken = [], []
        for item in outcomes:
            rows = (item.trial.size == MEDIUM) & item.trial.flags(item.trial.shown)
            of_healthy, of_broken = (_scores(verdict, name) for verdict in (item.healthy, item.broken))
            healthy.append(of_healthy)
            broken.append(of_broken[rows])
        areas = [ranked(well, ill) for well, ill in zip(healthy, broken, strict=True)]
        every = np.concatenate([*healthy, *broken])
        found.append(
            Voter(
                name,
                _share(part >= bound for part in healthy),
                _share(part >= bound for part in broken),
                float(np.nanmean(areas)),
                float(np.isfinite(every).mean()),
            )
        )
    return found


def _scores(verdict: Verdict, name: str) -> Floats:
    return verdict.score if name == "ensemble" else verdict.votes[name]


def by_fault(outcomes: Sequence[Outcome], judge: Judge) -> list[tuple[str, dict[float, float], float, float, int]]:
    """Return by fault: found by size, component right and found where channels show it, and on how many machines."""
    rows = []
    for fault in dict.fromkeys(str(name) for item in outcomes for name in item.trial.kinds):
        chosen = [item.trial.fault == fault for item in outcomes]
        pairs = list(zip(outcomes, chosen, strict=True))
        sizes = sorted({float(size) for item in outcomes for size in item.trial.size})
        found = {
            size: _share(item.broken.is_anomaly[mine & (item.trial.size == size)] for item, mine in pairs)
            for size in sizes
        }
        shown = [mine & (item.trial.size == MEDIUM) & item.trial.flags(item.trial.shown) for item, mine in pairs]
        told = [mine & (item.trial.size == MEDIUM) & item.trial.flags(item.trial.told) for item, mine in pairs]
        seen = _share(item.broken.is_anomaly[part] for item, part in zip(outcomes, shown, strict=True))
        right = _share(rightly(item, part, judge) for item, part in zip(outcomes, told, strict=True))
        rows.append((fault, found, seen, right, sum(bool(part.any()) for part in shown)))
    return rows


def curve(trials: Sequence[Trial], judge: Judge) -> list[tuple[int, float, float]]:
    """Return false and missed alarms by the number of windows that machines are commissioned with.

    Missed are windows with a fault of 30 % that channels show; sensors' faults count as the others do.
    """
    found = []
    for count in CURVE:
        well, missed = [], []
        for trial in trials:
            normal = commissioned(trial.windows(trial.learning[:count]), judge)
            rows = np.flatnonzero((trial.size == MEDIUM) & trial.flags(trial.shown))
            well.append(watched(trial.windows(trial.healthy), normal, judge).is_anomaly)
            missed.append(~judged_alone(trial.windows(trial.broken[rows]), normal, judge).is_anomaly)
        found.append((count, _share(well), _share(missed)))
    return found
