"""`make bench-quality`: every promised figure of detection beside what is measured now on data left out of training."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from pipelines.datasets.simulator import HEALTHY, RATE_HZ, Unit, draw_unit, window_of
from pipelines.detectors.bundle import Bundle
from pipelines.diagnosis.calibration import auc
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.machines.commissioning import NEEDED, Normal, commission
from pipelines.machines.family import Family, read_family
from pipelines.scoring.score import judged
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window
from pipelines.training.evaluate import (
    ADAPTIVE,
    ENSEMBLE,
    TRAINED,
    WITH_EXTRAS,
    Evaluation,
    Figures,
    Judged,
    evaluate,
)
from pipelines.training.report import render
from pipelines.training.train import load, train

HERE = Path(__file__).parent
KEPT = HERE / "quality.json"
# A figure may be worse than the one kept by so much before the run fails. Source: two runs with other seeds lay
# within 0.006 of each other in AUC and F1, within 0.8 points of FAR and MAR, over 24 recordings.
TOLERANCE = {"AUC": 0.01, "F1": 0.015, "FAR %": 2.0, "MAR %": 3.0, "accuracy": 0.02, "named %": 5.0, "ECE": 0.02}
FAR_AT = 0.20
SEED, SYSTEMS = 7, 60
MEDIUM, SEVERITIES = 0.5, (0.25, 0.5, 1.0)
NAMED_SAMPLES = 60
DELAY_LIMIT_S = 60


@dataclass(frozen=True, slots=True)
class Row:
    """One promised figure.

    Attributes:
        kind: Which measure, as `TOLERANCE` names them.
        least: Whether the demand is a lower bound.
    """

    part: str
    what: str
    kind: str
    demand: float
    least: bool
    measured: float

    @property
    def key(self) -> str:
        """Name that stays the same from run to run."""
        return f"{self.part}: {self.what}, {self.kind}"

    @property
    def holds(self) -> bool:
        """Whether the demand is met."""
        return self.measured >= self.demand if self.least else self.measured <= self.demand

    def worse_than(self, kept: float) -> bool:
        """Tell whether it is worse than an earlier figure by more than the tolerance."""
        loss = kept - self.measured if self.least else self.measured - kept
        # A figure that is NaN is worse than any.
        return not loss <= TOLERANCE[self.kind]


def water_loop(found: Evaluation, by_group: Evaluation) -> Iterator[Row]:
    """Return what is promised of the water loop."""
    trained, adaptive = (named(found.panels, panel) for panel in (TRAINED, ADAPTIVE))
    part = "water loop"
    yield Row(part, "trained members", "F1", 0.88, True, trained.f1)
    yield Row(part, "trained members", "FAR %", 5, False, 100 * trained.far)
    yield Row(part, "trained members", "MAR %", 20, False, 100 * trained.mar)
    yield Row(part, "trained members", "AUC", 0.92, True, trained.auc)
    yield from ensemble_rows(part, found)
    alone = found.judged[ADAPTIVE]
    with_faults = np.isin(alone.groups, np.unique(alone.groups[alone.anomaly]))
    by_recording = [
        auc(alone.scores[rows], alone.anomaly[rows])
        for rows in (alone.groups == group for group in np.unique(alone.groups[with_faults]))
    ]
    yield Row(part, "adaptive alone, mean of a recording", "AUC", 0.82, True, float(np.mean(by_recording)))
    recordings = "adaptive alone, recordings with a fault"
    yield Row(
        part,
        f"{recordings}, at {FAR_AT:.0%} FAR",
        "MAR %",
        35,
        False,
        100 * missed_at(alone.scores[with_faults], alone.anomaly[with_faults], FAR_AT),
    )
    yield Row(
        part,
        "adaptive alone, all recordings, at 20% FAR",
        "MAR %",
        35,
        False,
        100 * missed_at(alone.scores, alone.anomaly, FAR_AT),
    )
    yield Row(part, "adaptive alone, all recordings", "AUC", 0.82, True, adaptive.auc)
    yield Row(part, "group `other` left out, ensemble", "AUC", 0.75, True, named(by_group.parts, "other").auc)


def rig(found: Evaluation) -> Iterator[Row]:
    """Return what is promised of the test rig, judged from its four required channels."""
    part = "rig"
    for length, least in (("60 s", 0.97), ("20 s", 0.93), ("5 s", 0.90)):
        yield Row(part, f"valve or pump off, {length}", "AUC", least, True, named(found.lengths, length).auc)
    four, six = found.components[ENSEMBLE], found.components[WITH_EXTRAS]
    for component, least in (("pump", 0.99), ("cooler", 0.99), ("valve", 0.95)):
        yield Row(part, f"{component} yes or no, 60 s", "AUC", least, True, four[component]["auc"])
    for component, least in (("valve", 0.82), ("pump", 0.90)):
        yield Row(part, f"{component} grade, 60 s", "accuracy", least, True, four[component]["grade_accuracy"])
    yield Row(part, "valve grade with the extra channels, 60 s", "accuracy", 0.98, True, six["valve"]["grade_accuracy"])
    yield from ensemble_rows(part, found)


def ensemble_rows(part: str, found: Evaluation) -> Iterator[Row]:
    """Return how the ensemble stands against its best member on the windows both judged, and its calibration."""
    whole = found.judged[ENSEMBLE]
    best, name = max((on_common(whole, member.name), member.name) for member in found.members)
    score = auc(whole.scores[np.isfinite(whole.votes(name))], whole.anomaly[np.isfinite(whole.votes(name))])
    yield Row(part, "ensemble, at most 0.01 below its best member", "AUC", best - 0.01, True, score)
    yield Row(part, "ensemble, calibration", "ECE", 0.05, False, named(found.panels, ENSEMBLE).ece)


def on_common(whole: Judged, member: str) -> float:
    """Return a member's AUC on the windows that it judged."""
    return auc(whole.votes(member), whole.anomaly)


def named(rows: tuple[Figures, ...], name: str) -> Figures:
    """Return the row of that name."""
    return next(row for row in rows if row.name == name)


def missed_at(scores: Floats, truth: NDArray[np.bool_], far: float) -> float:
    """Return the share of anomalies not above the threshold that lets so many false alarms through.

    A window nobody could judge raises no false alarm, and is missed where it is an anomaly.
    """
    normal = np.nan_to_num(scores[~truth], nan=-np.inf)
    threshold = np.sort(normal)[len(normal) - 1 - int(far * len(normal))]
    return float(1 - (scores[truth] > threshold).mean())


def simulated(family: Family, members: Mapping[str, Bundle]) -> tuple[list[Row], list[tuple[str, list[float]]]]:
    """Return how many faults of unseen machines are named right, and how soon each is found.

    A fault is named right when the window is an alarm of its kind in the family's vocabulary.
    """
    kinds = {
        str(grade): component.kinds.get(grade, component.kind)
        for component in family.components.values()
        for grade in component.faulty
    }
    random = np.random.default_rng(SEED + 1000)
    right: dict[str, list[bool]] = {}
    delays = []
    for fault, kind in kinds.items():
        inspections = []
        for _ in range(SYSTEMS):
            unit = draw_unit(random)
            own = commissioned(unit, NAMED_SAMPLES, family, random)
            inspections.append(Inspection(window_of(unit, fault, MEDIUM, NAMED_SAMPLES, random), family.name, own))
        found = judged(inspections, family, members)
        right.setdefault(kind, []).extend(diagnosis.anomaly_type == kind for diagnosis in found)
        delays.append((fault, [delay_s(family, members, fault, severity) for severity in SEVERITIES]))
    rows = [
        Row("simulator", f"{kind} at medium severity", "named %", 90, True, 100 * float(np.mean(seen)))
        for kind, seen in right.items()
    ]
    return rows, delays


def commissioned(unit: Unit, samples: int, family: Family, random: np.random.Generator) -> Normal:
    """Return what is normal for a unit, learned from as many windows as the service learns from."""
    windows = [window_of(unit, HEALTHY, 0.0, samples, random) for _ in range(NEEDED)]
    return commission(make_feature_table(windows, [None] * NEEDED, family).raw, family)


def delay_s(family: Family, members: Mapping[str, Bundle], fault: str, severity: float) -> float:
    """Return the median seconds from a fault's beginning to the first alarm; infinite where half stay unseen."""
    random = np.random.default_rng(SEED + 2000)
    length = round(family.window_s * RATE_HZ)
    waits = []
    for _ in range(SYSTEMS // 4):
        unit = draw_unit(random)
        own = commissioned(unit, length, family, random)
        before = window_of(unit, HEALTHY, 0.0, length, random)
        after = window_of(unit, fault, severity, DELAY_LIMIT_S, random)
        both = {name: np.concatenate([before.values[name], after.values[name]]) for name in before.values}
        ends = range(length + 1, length + DELAY_LIMIT_S + 1)
        windows = [Window({name: v[end - length : end] for name, v in both.items()}, RATE_HZ) for end in ends]
        found = judged([Inspection(window, family.name, own) for window in windows], family, members, consecutive=True)
        waits.append(first_alarm(found))
    return float(np.median(waits))


def first_alarm(diagnoses: list[Diagnosis]) -> float:
    """Return the number of the first alarm, from one; infinite where there is none."""
    return next(
        (number / RATE_HZ for number, diagnosis in enumerate(diagnoses, 1) if diagnosis.is_anomaly), float("inf")
    )


def measure(data: Path, pages: Path | None, console: Console) -> tuple[list[Row], list[tuple[str, list[float]]]]:
    """Run everything."""

    def run(name: str, folder: str, by: str = "") -> Evaluation:
        family = read_family(name)
        recordings = load(family, data / folder, SEED, by)
        found = evaluate(
            family, recordings, SEED, lambda title, done, of: console.print(f"{name}: {title} {done}/{of}")
        )
        if pages:
            (pages / f"{name}{by and '-by-' + by}.html").write_text(render(family, found), encoding="utf-8")
        return found

    rows = [
        *rig(run("rig", "uci_hydraulic")),
        *water_loop(run("water-loop", "skab"), run("water-loop", "skab", "group")),
    ]
    family = read_family("generic")
    members = {
        bundle.card.detector: bundle for bundle in train(family, load(family, None, SEED), SEED, lambda *_: None)
    }
    named_rows, delays = simulated(family, members)
    return [*rows, *named_rows], delays


def main() -> None:
    """Print demand and measurement side by side; fail on a figure that has become worse."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--pages", type=Path, help="folder for the HTML reports")
    parser.add_argument("--keep", action="store_true", help="keep these figures as those to compare with")
    asked = parser.parse_args()
    console = Console(width=140)
    if not asked.data.exists():
        sys.exit(f"{asked.data}: no recordings there; give --data")
    if asked.pages:
        asked.pages.mkdir(parents=True, exist_ok=True)
    rows, delays = measure(asked.data, asked.pages, console)
    kept: dict[str, float] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    console.print(table_of(rows, kept), delays_table(delays))
    if asked.keep:
        KEPT.write_text(
            json.dumps({row.key: round(row.measured, 4) for row in rows}, indent=1) + "\n", encoding="utf-8"
        )
    if worse := verdict(rows, kept):
        sys.exit(f"worse than kept in {KEPT.name} beyond tolerance: {'; '.join(worse)}")


def verdict(rows: Sequence[Row], kept: Mapping[str, float]) -> list[str]:
    """Return the figures that are worse than those kept beyond tolerance, or gone."""
    measured = {row.key: row for row in rows}
    return [key for key, value in kept.items() if key not in measured or measured[key].worse_than(value)]


def table_of(rows: list[Row], kept: Mapping[str, float]) -> Table:
    """Return the table of demands."""
    table = Table("", "figure", "measure", "demand", "measured", "kept", "", box=None)
    for row in rows:
        bound = f"{'>=' if row.least else '<='} {row.demand:.4g}"
        before = f"{kept[row.key]:.4g}" if row.key in kept else ""
        table.add_row(
            row.part, row.what, row.kind, bound, f"{row.measured:.4g}", before, "ok" if row.holds else "missed"
        )
    return table


def delays_table(delays: list[tuple[str, list[float]]]) -> Table:
    """Return median seconds to the first alarm, by fault and severity."""
    table = Table(
        "fault", *(f"severity {severity:g}" for severity in SEVERITIES), title="seconds to the first alarm, median"
    )
    for fault, waits in delays:
        table.add_row(fault, *(f"{wait:g}" if np.isfinite(wait) else "unseen" for wait in waits))
    return table


if __name__ == "__main__":
    main()
