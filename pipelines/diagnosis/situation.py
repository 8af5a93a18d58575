"""Says what state a machine is in while a window is judged, and what holds there whatever its detectors think.

At rest, or under a load that it was not commissioned at, nothing is known that could be judged; a stuck sensor or a
value beyond a limit is wrong on any machine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.adaptive import HALF
from pipelines.detectors.base import FeatureTable
from pipelines.diagnosis.components import AFFECTED, loudest
from pipelines.diagnosis.hypotheses import hypothesise, settled
from pipelines.diagnosis.patterns import component_of, quantity_of
from pipelines.diagnosis.records import Diagnosis, Inspection, PointFinding
from pipelines.diagnosis.rules import Limits, RuleFinding, much_moved, operating_states, rules
from pipelines.machines.alarm import UNUSUAL, levels
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family
from pipelines.signals.features import CROSS_CHANNELS, mean_places
from pipelines.signals.summary import KELVIN
from pipelines.signals.windows import Floats

AT_REST = "at rest: nothing is judged while the machine stands"
ZERO = "nothing but zero is read: the machine stands, or its sensor is dead, and one channel cannot tell which"
BETWEEN = "starts or stops within the window, which commissioning did not show"
UNSEEN = "operating point not seen in commissioning"
# What goes on for no longer than a start or a shift, unless something is wrong.
UNJUDGED = (UNSEEN, BETWEEN, ZERO)
COMMISSIONING = "needs the system's own normal, which is being learned"
# A load is another one, and no fault, from these changes on, as logarithms: of the pressure, while the flow stays
# within its own; or of both together, as a motor that runs slower. Source: own choice; the relief valve holds pressure
# to some 10 %, a clogged filter adds 20 % of it at most, and no fault takes pressure and flow in the same measure.
OTHER_PRESSURE, SAME_FLOW, TOGETHER = 0.35, 0.06, 0.5
# No fault lifts pressure and flow at once: a faster pump does, and a second one. So far each has to rise at least, and
# by so many of its own deviations. Source: own choice; the resolution of sensors, and the usual three.
MORE, MORE_DEVIATIONS = 0.02, 3.0
# A machine that starts comes to its pressure or its flow. Source: own choice; half of its most is no start.
WEAK = 0.5
# A pump that turns more slowly also shakes less, as neither a worn nor a leaking one does. Source: own choice; at 0.6
# of its speed a fan drive has 0.4 of its vibration, and a fault of 30 % leaves 0.7 of it; of 48 simulated machines of
# other physics one window in a thousand with a fault of 60 % looks so.
SLOWER_FLOW, QUIETER = 0.1, 0.5
# And one that has failed shakes on. Source: own choice; a pump at 0.6 of its speed has 0.4 of its vibration.
HARDLY_QUIETER = 0.2
# A machine that is quieter by so much at the same pressure and flow runs by another pump; a broken one is louder.
# Source: own choice; of windows with faults, 48 simulated machines of other physics, one in a hundred looks so.
OTHER_PUMP = 0.4
# A flow below this share of the family's spread is none. Source: own choice; a hundredth of a small pump's.
NO_FLOW = 0.1
# A pressure that falls by inner leakage warms the oil; one that falls with the load does not. Source: own choice.
WARMER_K = 1.5
# What an anomaly is called that a rule found and no component's head.
KINDS = {"stuck": "sensor_fault", "dead": "sensor_fault", "limit": "limit_exceeded"}
SILENT = ("stuck", "dead")
# Hypotheses that are told of a window, at most. Source: own choice; a technician looks at three places.
HYPOTHESES = 3
# Channels from which on a part is named. Source: own choice; of one channel its sensor may be what is wrong, too.
NAMING = 2


@dataclass(frozen=True, slots=True, eq=False)
class Situations:
    """What holds of N windows before anybody votes.

    Attributes:
        reasons: Why nothing can be said of a window; empty where something can.
        findings: What is wrong on any machine.
        far: `bool[N]` where a level lies much farther still than its normal may follow.
    """

    reasons: tuple[str, ...]
    findings: Sequence[tuple[RuleFinding, ...]]
    far: NDArray[np.bool_]

    @property
    def silent(self) -> NDArray[np.bool_]:
        """`bool[N]` where no detector is heard."""
        return np.array([bool(reason) for reason in self.reasons], dtype=np.bool_)

    @property
    def ruled(self) -> NDArray[np.bool_]:
        """`bool[N]` where a whole window is wrong on any machine."""
        return np.array(
            [any(each.sustained and each.rule != "moved" for each in found) for found in self.findings], dtype=np.bool_
        )

    @property
    def moved(self) -> NDArray[np.bool_]:
        """`bool[N]` where a level lies beyond all that its normal may follow, at a load that is known."""
        found = [any(each.rule == "moved" for each in found) for found in self.findings]
        return np.array(found, dtype=np.bool_) & ~self.silent

    def kind(self, row: int, heads: bool = False) -> str | None:
        """Return what an anomaly of which no head is sure is called by its rule; None where none is broken.

        Args:
            heads: Whether heads say something; then only a rule that all of the window breaks counts.
        """
        rules = (each.rule for each in self.findings[row] if each.sustained or not heads)
        return next((KINDS[rule] for rule in rules if rule in KINDS), None)


def situations(
    family: Family, table: FeatureTable, samples: NDArray[np.int64], limits: Sequence[Limits | None] | None = None
) -> Situations:
    """Look at windows before they are judged.

    Args:
        samples: `int64[N]` of each window.
        limits: By window what people stated for its system.
    """
    # What lies within the machine's own normal needs no excuse: a load may have been commissioned at rest, too.
    far = ~(table.distance <= HALF) & (table.commissioned | (table.evidence == 0))
    reasons = [""] * len(far)
    if far.any():
        states = operating_states(table, family)
        other = other_load(table, family)
        weak = _weak(table, family)
        for row in np.flatnonzero(far).tolist():
            reasons[row] = _reason(states[row], bool(other[row]), bool(weak[row]))
    return Situations(tuple(reasons), rules(table, family, limits, samples), much_moved(table, family))


def _reason(state: str, is_other: bool, is_weak: bool) -> str:
    if state == "at rest":
        return AT_REST
    if state == "zero":
        return ZERO
    if state == "changing":
        return "" if is_weak else BETWEEN
    return UNSEEN if is_other else ""


def _weak(table: FeatureTable, family: Family) -> NDArray[np.bool_]:
    """Tell in which windows neither pressure nor flow comes to half of its most, though the machine is as loud: it does
    not start, it fails.

    Shapes: `bool[N]`.
    """
    places = [table.names.index(f"{name}_max") for name in CROSS_CHANNELS if f"{name}_max" in table.names]
    if len(places) < len(CROSS_CHANNELS) or not table.commissioned.any():
        return np.zeros(len(table.raw), dtype=np.bool_)
    with np.errstate(invalid="ignore"):
        low = [table.raw[:, place] < WEAK * table.centre[:, place] for place in places]
    return np.asarray(np.logical_and(*low) & _as_loud(table, family) & table.commissioned)


def other_load(table: FeatureTable, family: Family) -> NDArray[np.bool_]:
    """Tell which windows show a load that no operating point of the machine is near, rather than a fault.

    Shapes: `bool[N]`; False where pressure or flow is not known.
    """
    places = mean_places(family)
    if not all(channel in places for channel in CROSS_CHANNELS) or not table.commissioned.any():
        return np.zeros(len(table.raw), dtype=np.bool_)
    pressure, flow = (_moved(table, channel) for channel in CROSS_CHANNELS)
    with np.errstate(invalid="ignore"):
        warm = {place: KELVIN[unit] for name, place in places.items() if (unit := family.channels[name].unit) in KELVIN}
        risen = np.nan_to_num(table.raw[:, list(warm)] - table.centre[:, list(warm)]) * np.array(list(warm.values()))
        warmer = risen.max(axis=1, initial=-np.inf) > WARMER_K
        alone = (np.abs(pressure) > OTHER_PRESSURE) & (np.abs(flow) < SAME_FLOW) & ((pressure > 0) | ~warmer)
        both = (pressure < -TOGETHER) & (flow < -TOGETHER) & ~warmer & ~_as_loud(table, family)
        more = _risen(table, places[CROSS_CHANNELS[0]]) & _risen(table, places[CROSS_CHANNELS[1]])
        same = (np.abs(pressure) < SAME_FLOW) & (np.abs(flow) < SAME_FLOW)
        spared = same & _quieter(table, family, "max", OTHER_PUMP)
        slower = (flow < -SLOWER_FLOW) & _quieter(table, family, "mean", QUIETER) & ~warmer
        least = NO_FLOW * family.channels[CROSS_CHANNELS[1]].spread
        begun = (table.centre[:, places[CROSS_CHANNELS[1]]] < least) & (table.raw[:, places[CROSS_CHANNELS[1]]] > least)
    found: NDArray[np.bool_] = (alone | both | more | slower | spared | begun) & table.commissioned
    return found


def _moved(table: FeatureTable, channel: str) -> Floats:
    """Return how far all of a window lies from normal, as a logarithm: single samples elsewhere are no other load.

    Shapes: `float64[N]`.
    """
    mean, low, high = (_ratio(table, table.names.index(f"{channel}_{word}")) for word in ("mean", "min", "max"))
    up, down = np.minimum(mean, np.maximum(low, 0.0)), np.maximum(mean, np.minimum(high, 0.0))
    return np.where(mean > 0, up, down)


def _risen(table: FeatureTable, place: int) -> NDArray[np.bool_]:
    """Tell which levels lie above what the machine itself has shown: `bool[N]`."""
    own = np.nan_to_num(table.scatter[:, place] / np.maximum(np.abs(table.centre[:, place]), 1e-9))
    return np.asarray(_ratio(table, place) > np.maximum(MORE, MORE_DEVIATIONS * own))


def _quieter(table: FeatureTable, family: Family, statistic: str, much: float) -> NDArray[np.bool_]:
    """Tell in which windows a statistic of the vibration is lower than normal, by so much as a logarithm: `bool[N]`."""
    channels = [name for name in mean_places(family) if _is_vibration(family, name)]
    shaken = [_ratio(table, table.names.index(f"{name}_{statistic}")) for name in channels]
    return np.asarray((np.array(shaken).reshape(len(channels), len(table.raw)) < -much).any(axis=0))


def _is_vibration(family: Family, name: str) -> bool:
    return quantity_of(family.channels[name].unit) == "vibration"


def _as_loud(table: FeatureTable, family: Family) -> NDArray[np.bool_]:
    """Tell in which windows the machine shakes, and hardly less than it does: `bool[N]`."""
    places = [place for name, place in mean_places(family).items() if _is_vibration(family, name)]
    shaken = np.isfinite(table.raw[:, places]).any(axis=1)
    return np.asarray(shaken & ~_quieter(table, family, "mean", HARDLY_QUIETER))


def _ratio(table: FeatureTable, place: int) -> Floats:
    """Return how far a level lies from its normal, as a logarithm: `float64[N]`."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: Floats = np.log(np.maximum(table.raw[:, place], 1e-9) / np.maximum(table.centre[:, place], 1e-9))
    return ratio


def completed(
    family: Family,
    inspections: Sequence[Inspection],
    table: FeatureTable,
    diagnoses: Sequence[Diagnosis],
    situation: Situations,
) -> list[Diagnosis]:
    """Add to diagnoses where their windows were set, what physics says of them, and what counts for the alarm."""
    levels = alarm_levels(table, diagnoses, situation)
    explained = _explained(family, inspections, table, diagnoses)
    rows = enumerate(zip(inspections, explained, levels.tolist(), strict=True))
    return [_complete(family, table, row, *each, situation) for row, each in rows]


def _explained(
    family: Family, inspections: Sequence[Inspection], table: FeatureTable, diagnoses: Sequence[Diagnosis]
) -> list[Diagnosis]:
    """Add to anomalies of commissioned systems, where more than a score is asked for, what may be wrong."""
    found = list(diagnoses)
    asked = [
        row
        for row, (inspection, each) in enumerate(zip(inspections, diagnoses, strict=True))
        if each.is_anomaly and each.attribution and _own(inspection, table, row)
    ]
    for row, hypotheses in zip(asked, hypothesise(family, table, asked), strict=True):
        found[row] = found[row]._replace(hypotheses=hypotheses)
    return found


def _own(inspection: Inspection, table: FeatureTable, row: int) -> Normal | None:
    """Return what a window's system was commissioned with, where it was set against it."""
    normal = inspection.baseline
    if normal is None or not table.commissioned[row] or normal.points[0].moments is None:
        return None
    return normal


def alarm_levels(table: FeatureTable, diagnoses: Sequence[Diagnosis], situation: Situations) -> NDArray[np.int64]:
    """Return how far outside each window lies, as `machines/alarm` counts: `int64[N]`."""
    scores = np.array([each.score for each in diagnoses], dtype=np.float64)
    anomalies = np.array([each.is_anomaly for each in diagnoses], dtype=np.bool_)
    critical = np.array([each.severity == "critical" for each in diagnoses], dtype=np.bool_)
    beyond = [any(each.rule == "limit" and each.sustained for each in found) for found in situation.findings]
    unusual = np.where(table.unusual, UNUSUAL, 1.0)
    unseen = np.array([reason in UNJUDGED for reason in situation.reasons], dtype=np.bool_)
    return levels(scores, anomalies, critical, unusual, np.array(beyond, dtype=np.bool_), unseen)


def _complete(
    family: Family,
    table: FeatureTable,
    row: int,
    inspection: Inspection,
    diagnosis: Diagnosis,
    level: int,
    situation: Situations,
) -> Diagnosis:
    findings, normal = situation.findings[row], _own(inspection, table, row)
    if findings and situation.reasons[row]:
        findings = tuple(each for each in findings if each.rule != "moved")
    place, known, point = int(table.point[row]), None, diagnosis.operating_point
    if inspection.baseline is not None:
        known = inspection.baseline.at(place).to_bytes()
    if normal is not None:
        point = _located(place, len(normal.points), situation.reasons[row])
    shown = diagnosis._replace(rules=findings, level=level, normal=known, operating_point=point)
    if diagnosis.is_anomaly:
        shown = _called(
            family, shown, situation.kind(row, heads=bool(diagnosis.components)), len(inspection.window.values)
        )
    return shown if len(shown.hypotheses) <= HYPOTHESES else shown._replace(hypotheses=shown.hypotheses[:HYPOTHESES])


def _called(family: Family, diagnosis: Diagnosis, kind: str | None, channels: int) -> Diagnosis:
    """Name an anomaly of which no head is sure by what is surer: a silent sensor, then physics.

    Physics may also say that nothing is broken. What heads guess is the last resort, and none where a stated limit
    alone makes the window an anomaly, or one channel is all that is measured.

    Args:
        kind: What it is called by its rule.
        channels: How many were sent.
    """
    silent = any(each.sustained and each.rule in SILENT for each in diagnosis.rules)
    sensor = component_of(family, "sensor_stuck")
    moved = sum(each.rule == "moved" for each in diagnosis.rules)
    if not silent and (channels < NAMING or (moved > 1 and diagnosis.affected == (sensor,))):
        # One channel does not tell its sensor from the machine, and no one sensor moves two.
        diagnosis = diagnosis._replace(affected=(), anomaly_type=loudest(diagnosis.attribution))
        if channels < NAMING:
            return diagnosis if kind is None else diagnosis._replace(anomaly_type=kind)
    elif any(each.probability >= AFFECTED for each in diagnosis.components):
        return diagnosis
    if silent:
        affected = (sensor,) if sensor in family.components else diagnosis.affected
        return diagnosis._replace(affected=affected, anomaly_type=kind)
    first = settled(diagnosis.hypotheses)
    if first is None or (moved > 1 and first.component == sensor):
        return diagnosis if kind is None else diagnosis._replace(affected=(), anomaly_type=kind)
    # Where heads speak, anomalies have the family's names; elsewhere those of the channels.
    part = family.components.get(first.component) if diagnosis.components else None
    called = part.kinds.get(first.fault, part.kind) if part else loudest(diagnosis.attribution)
    return diagnosis._replace(affected=(first.component,) if first.component else (), anomaly_type=kind or called)


def _located(place: int, count: int, reason: str) -> PointFinding:
    number = f"operating point {place + 1} of {count}"
    return PointFinding(place + 1, count, not reason, reason or f"at {number}")
