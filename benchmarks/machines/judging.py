"""How the benchmark asks the product: the one place that knows how a machine is commissioned and a window judged.

Everything goes through the functions that serve, so that what is measured is what an operator meets.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, get_type_hints

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.bundle import Bundle
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.machines.commissioning import Learned, Normal, commission
from pipelines.machines.family import Family
from pipelines.scoring.score import BLOCK, judged
from pipelines.signals.features import mean_places
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window

# Whether an inspection takes all of what is normal, or only one operating point's running sums.
TAKES_NORMAL = "Normal" in str(get_type_hints(Inspection)["baseline"])


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
        votes: By member `float64[N]`; NaN where it abstained.
        affected: Per window the components named, first the likeliest.
    """

    score: Floats
    is_anomaly: NDArray[np.bool_]
    votes: Mapping[str, Floats]
    affected: Sequence[tuple[str, ...]]

    def rows(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Verdict":
        """Return what was said of some of the windows."""
        places = np.flatnonzero(chosen) if chosen.dtype == np.bool_ else chosen
        votes = {name: vote[places] for name, vote in self.votes.items()}
        return Verdict(
            self.score[places], self.is_anomaly[places], votes, [self.affected[place] for place in places.tolist()]
        )

    def alarms(self) -> NDArray[np.bool_]:
        """Return whether the system is in alarm after each window; the windows follow each other."""
        return self.is_anomaly


def joined(parts: Sequence[Verdict]) -> Verdict:
    """Return what was said of windows judged in several parts."""
    names = dict.fromkeys(name for part in parts for name in part.votes)
    return Verdict(
        np.concatenate([part.score for part in parts]),
        np.concatenate([part.is_anomaly for part in parts]),
        {name: np.concatenate([part.votes[name] for part in parts]) for name in names},
        [named for part in parts for named in part.affected],
    )


def commissioned(windows: Sequence[Window], judge: Judge) -> Normal:
    """Return what is normal for a machine, learned from windows while it ran well."""
    rows = make_feature_table(windows, [None] * len(windows), judge.family).raw
    return commission(rows, mean_places(judge.family))


def while_commissioning(windows: Sequence[Window], judge: Judge) -> Verdict:
    """Return what is said of windows that arrive before anything is normal."""
    return _verdict(_judged(windows, None, judge, False, True), judge)


def judged_alone(windows: Sequence[Window], normal: Normal, judge: Judge) -> Verdict:
    """Return what is said of windows that do not follow each other; nothing is learned from them."""
    return _verdict(_judged(windows, normal, judge, False, False), judge)


def watched(windows: Sequence[Window], normal: Normal, judge: Judge) -> tuple[Verdict, Normal]:
    """Return what is said of windows that follow each other, and what is normal after them.

    What is judged normal is learned between two blocks, as a service does between two batches.
    """
    parts, alarm = [], False
    for first in range(0, len(windows), BLOCK):
        found = _judged(windows[first : first + BLOCK], normal, judge, alarm, True)
        for diagnosis in found:
            if diagnosis.learned is not None:
                normal = normal.learning(_learned(diagnosis.learned))
        alarm = found[-1].is_anomaly
        parts.append(_verdict(found, judge))
    return joined(parts), normal


def _learned(learned: Any) -> Learned:
    return learned if isinstance(learned, Learned) else Learned(0, learned)


def _judged(
    windows: Sequence[Window], normal: Normal | None, judge: Judge, alarm: bool, consecutive: bool
) -> list[Diagnosis]:
    """Judge windows as the service does."""
    known: Any = normal if TAKES_NORMAL or normal is None else normal.points[0].baseline
    inspections = [Inspection(window, judge.family.name, known, alarm) for window in windows]
    return judged(inspections, judge.family, judge.members, consecutive)


def _verdict(found: Sequence[Diagnosis], judge: Judge) -> Verdict:
    votes = {name: np.full(len(found), np.nan) for name in judge.members}
    for row, diagnosis in enumerate(found):
        for vote in diagnosis.votes:
            if vote.score is not None:
                votes[vote.detector][row] = vote.score
    return Verdict(
        np.array([diagnosis.score for diagnosis in found]),
        np.array([diagnosis.is_anomaly for diagnosis in found], dtype=np.bool_),
        votes,
        [diagnosis.affected for diagnosis in found],
    )
