"""Commissions and judges real machines through the family that fits any: the oil-hydraulic rig and the water loop."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.machines.judging import Judge, Verdict, commissioned, joined, judged_alone, watched
from benchmarks.machines.machine import CHANNELS
from pipelines.datasets.recordings import SETTLE, entities, parquet_of, series, source_columns, trailing
from pipelines.diagnosis.calibration import auc
from pipelines.machines.family import Family, read_family
from pipelines.signals.windows import Floats, Window

CYCLES = 20  # of a rig's healthy load cycles to learn from
ENOUGH = 10  # windows of either kind from which on a machine counts in a mean of machines
STRIDE = 5  # neighbouring windows of the loop differ by a sample
LENGTHS_S = (20, 60)
LEARN_S = 20


class Machine(NamedTuple):
    """One recording as a machine: windows to learn from, and windows to judge with the truth about them."""

    name: str
    learning: Sequence[Window]
    windows: Sequence[Window]
    anomaly: NDArray[np.bool_]


class Real(NamedTuple):
    """Figures of one kind of recording, pooled and as means of its machines.

    Attributes:
        far: Share of healthy windows in alarm.
        mar: Share of faulty windows not in alarm.
        auc: Of the score.
    """

    name: str
    windows: int
    far: float
    mar: float
    auc: float
    mean_far: float
    mean_mar: float
    mean_auc: float


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A machine's truth and what was said."""

    anomaly: NDArray[np.bool_]
    verdict: Verdict


def rig(data: Path) -> list[Machine]:
    """Return each of the rig's blocks that has healthy cycles to learn from as a machine.

    Healthy is a cycle with valve and pump as new; cooler and accumulator are the block's own, and so normal in it.
    """
    import pandas as pd

    family = read_family("rig")
    frame = pd.read_parquet(parquet_of(data / "uci_hydraulic")).sort_values("cycle", kind="stable")
    off = ((frame["valve"] != 100) | (frame["pump_leakage"] != 0)).to_numpy()
    columns = source_columns(family, frame)
    cycles = {
        name: np.stack([np.asarray(values, dtype=np.float64) for values in frame[columns[name]]]) for name in CHANNELS
    }
    block = frame["block"].to_numpy().astype(np.str_)
    found = []
    for name in np.unique(block):
        places = np.flatnonzero(block == name)
        learning = np.flatnonzero(~off[places])[:CYCLES]
        if len(learning) < CYCLES:
            continue
        windows = [Window({key: cycles[key][place] for key in CHANNELS}, 1.0) for place in places]
        rest = np.setdiff1d(np.arange(len(places)), learning)
        known = [windows[row] for row in learning]
        found.append(Machine(str(name), known, [windows[row] for row in rest], off[places][rest]))
    return found


def loop(data: Path, generic: Family, seconds: int) -> Iterator[Machine]:
    """Yield the loop's recordings: 400 samples to learn from, and then a window every few samples.

    Values that the family refuses are cut to its range: the loop's pressure is about zero, and noise goes below.
    """
    import pandas as pd

    family = read_family("water-loop")
    frame = pd.read_parquet(parquet_of(data / "skab"))
    anomaly = frame[family.label].to_numpy().astype(bool)
    for key, places in entities(family.entity, family.order, frame):
        shown = series(family, frame, places)
        values = {name: _within(shown[name], name, generic) for name in CHANNELS}
        learning = [trailing(values, last, LEARN_S, 1.0) for last in range(LEARN_S - 1, SETTLE, LEARN_S)]
        ends = np.arange(SETTLE, len(places), STRIDE)
        windows = [trailing(values, int(last), seconds, 1.0) for last in ends]
        yield Machine(str(key), learning, windows, anomaly[places][ends])


def _within(values: Floats, channel: str, family: Family) -> Floats:
    return np.clip(values, family.channels[channel].low, family.channels[channel].high)


def real(name: str, machines: Sequence[Machine], judge: Judge) -> tuple[Real, dict[str, Real]]:
    """Return the ensemble's figures over some machines, and each member's."""
    found = []
    for machine in machines:
        verdict = watched(machine.windows, commissioned(machine.learning, judge), judge)
        found.append(Judged(machine.anomaly, verdict))
    bound = judge.family.severity.warning
    by_member = {
        member: summed(
            member, [(item.anomaly, item.verdict.votes[member], item.verdict.votes[member] >= bound) for item in found]
        )
        for member in judge.members
    }
    return summed(name, [(item.anomaly, item.verdict.score, item.verdict.is_anomaly) for item in found]), by_member


def curve_of(machines: Sequence[Machine], counts: Sequence[int], judge: Judge) -> list[tuple[int, float, float]]:
    """Return false and missed alarms by the number of windows that recordings are commissioned with.

    A recording that has not so many windows to learn from is commissioned with what it has.
    """
    found = []
    for count in counts:
        said, truth = [], []
        for machine in machines:
            normal = commissioned(machine.learning[:count], judge)
            said.append(judged_alone(machine.windows, normal, judge))
            truth.append(machine.anomaly)
        alarms, anomaly = joined(said).is_anomaly, np.concatenate(truth)
        found.append((count, float(alarms[~anomaly].mean()), float(1 - alarms[anomaly].mean())))
    return found


def summed(name: str, parts: Sequence[tuple[NDArray[np.bool_], Floats, NDArray[np.bool_]]]) -> Real:
    """Sum up truth, score and alarm of some machines."""
    truth, score, alarm = (np.concatenate(column) for column in zip(*parts, strict=True))
    each = [_of(*part) for part in parts if min(part[0].sum(), (~part[0]).sum()) >= ENOUGH] or [
        _of(truth, score, alarm)
    ]
    far, mar, area = (float(np.mean(column)) for column in zip(*each, strict=True))
    return Real(name, len(truth), *_of(truth, score, alarm), far, mar, area)


def _of(truth: NDArray[np.bool_], score: Floats, alarm: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Return FAR, MAR and AUC; NaN where there is nothing to count."""
    none = float("nan")
    area = auc(np.nan_to_num(score, nan=-1.0), truth) if truth.any() and not truth.all() else none
    far = float(alarm[~truth].mean()) if not truth.all() else none
    mar = float(1 - alarm[truth].mean()) if truth.any() else none
    return far, mar, area
