"""How the benchmark asks the product: the one place that knows how a machine is commissioned and a window judged.

Everything goes through the functions that serve, so that what is measured is what an operator meets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.bundle import Bundle
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.machines.alarm import Evidence
from pipelines.machines.commissioning import Normal, commission
from pipelines.machines.family import Family
from pipelines.scoring.score import BLOCK, judged
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window


class Judge(NamedTuple):
    """A family's trained members."""

    family: Family
    members: Mapping[str, Bundle]


@dataclass(frozen=True, slots=True, eq=False)
class Verdict:
    """What was said of N windows.

    Attributes:
        score: `float64[N]`; NaN where nobody judged.
        is_anomaly: `bool[N]`.
        alarm: `bool[N]` whether the system is in alarm after each window; of windows that follow each other.
        votes: By member `float64[N]`; NaN where it abstained.
        affected: Per window the components named, first the likeliest.
    """

    score: Floats
    is_anomaly: NDArray[np.bool_]
    alarm: NDArray[np.bool_]
    votes: Mapping[str, Floats]
    affected: Sequence[tuple[str, ...]]


def joined(parts: Sequence[Verdict]) -> Verdict:
    """Return what was said of windows judged in several parts."""
    names = dict.fromkeys(name for part in parts for name in part.votes)
    return Verdict(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.is_anomaly for part in parts]),
        np.concatenate([part.alarm for part in parts]),
        {name: np.concatenate([part.votes[name] for part in parts]) for name in names},
        [named for part in parts for named in part.affected],
    )


def commissioned(windows: Sequence[Window], judge: Judge) -> Normal:
    """Return what is normal for a machine, learned from windows while it ran well."""
    rows = make_feature_table(windows, [None] * len(windows), judge.family).raw
    return commission(rows, judge.family)


def while_commissioning(windows: Sequence[Window], judge: Judge) -> Verdict:
    """Return what is said of windows that arrive before anything is normal."""
    inspections = [Inspection(window, judge.family.name, commissioning=True) for window in windows]
    return _verdict(judged(inspections, judge.family, judge.members), judge)


def judged_alone(windows: Sequence[Window], normal: Normal, judge: Judge) -> Verdict:
    """Return what is said of windows that do not follow each other; nothing is learned from them."""
    return _verdict(_judged(windows, normal, judge), judge)


def watched(windows: Sequence[Window], normal: Normal, judge: Judge) -> Verdict:
    """Return what is said of windows that follow each other."""
    return Watch(judge, normal).see(windows)


class Watch:
    """A system that is watched: its normal follows what is judged normal, and evidence raises and ends its alarm."""

    def __init__(self, judge: Judge, normal: Normal) -> None:
        self._judge, self._normal = judge, normal
        self._last = False
        self._evidence = Evidence.none()

    def see(self, windows: Sequence[Window]) -> Verdict:
        """Judge the windows that come next; learn between two blocks, as a service does between two batches."""
        parts = [self._block(windows[first : first + BLOCK]) for first in range(0, len(windows), BLOCK)]
        return joined(parts)

    def _block(self, windows: Sequence[Window]) -> Verdict:
        found = _judged(windows, self._normal, self._judge, self._last, consecutive=True)
        alarms = []
        for diagnosis in found:
            if diagnosis.learned is not None:
                self._normal = self._normal.learning(diagnosis.learned)
            if not diagnosis.abstained:
                self._last = diagnosis.is_anomaly
            self._evidence = self._evidence.after(diagnosis.level, 0.0)
            alarms.append(self._evidence.raised)
        return _verdict(found, self._judge, alarms)


def _judged(
    windows: Sequence[Window], normal: Normal | None, judge: Judge, alarm: bool = False, consecutive: bool = False
) -> list[Diagnosis]:
    """Judge windows as the service does."""
    if not windows:
        return []
    inspections = [Inspection(window, judge.family.name, normal, alarm) for window in windows]
    return judged(inspections, judge.family, judge.members, consecutive)


def _verdict(found: Sequence[Diagnosis], judge: Judge, alarms: Sequence[bool] | None = None) -> Verdict:
    votes = {name: np.full(len(found), np.nan) for name in judge.members}
    for row, diagnosis in enumerate(found):
        for vote in diagnosis.votes:
            if vote.score is not None:
                votes[vote.detector][row] = vote.score
    is_anomaly = np.array([diagnosis.is_anomaly for diagnosis in found], dtype=np.bool_)
    return Verdict(
        np.array([diagnosis.score for diagnosis in found], dtype=np.float64),
        is_anomaly,
        is_anomaly if alarms is None else np.array(alarms, dtype=np.bool_),
        votes,
        [diagnosis.affected for diagnosis in found],
    )
