"""Tables of the benchmark: what is demanded beside what is measured, and what stands behind it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from benchmarks.machines.recorded import Real
from benchmarks.machines.simulated import Figures, Outcome, Voter
from benchmarks.machines.trials import MEDIUM
from benchmarks.machines.weeks import Week


@dataclass(frozen=True, slots=True)
class Row:
    """One demand.

    Attributes:
        least: Whether it is a lower bound.
    """

    part: str
    what: str
    demand: float
    least: bool
    measured: float

    @property
    def key(self) -> str:
        """Name that stays the same from run to run."""
        return f"{self.part}: {self.what}"

    @property
    def holds(self) -> bool:
        """Whether it is met; what could not be measured is not."""
        return self.measured >= self.demand if self.least else self.measured <= self.demand


def demands(rows: Sequence[Row]) -> Table:
    """Return demand and measurement side by side."""
    table = Table("", "measure", "demand", "measured", "", box=None)
    for row in rows:
        bound = f"{'>=' if row.least else '<='} {row.demand:.4g}"
        table.add_row(row.part, row.what, bound, f"{row.measured:.3f}", "ok" if row.holds else "missed")
    return table


def demanded(part: str, found: Figures) -> Iterator[Row]:
    """Return what is demanded of simulated machines."""
    yield Row(part, "healthy windows in alarm", 0.02, False, found.far)
    yield Row(part, "machines with at most 5 % of them", 0.95, True, found.usable)
    yield Row(part, "faults of 30 % found, where channels show them", 0.90, True, found.shown)
    yield Row(part, "component right, where channels tell it", 0.70, True, found.right)
    yield Row(part, "windows in alarm while commissioning", 0.0, False, found.early)
    yield Row(part, "one in ten faulty: healthy windows in alarm", 0.03, False, found.spoilt_far)
    yield Row(part, "one in ten faulty: faults of 30 % found", 0.85, True, found.spoilt_found)


def against_best(part: str, found: Sequence[Voter]) -> Iterator[Row]:
    """Return how the ensemble stands against the best of its members."""
    by_name = {voter.name: voter for voter in found}
    best = max(voter.ranked for voter in found if voter.name != "ensemble")
    yield Row(part, "ensemble's AUC, beside its best member's", best - 0.01, True, by_name["ensemble"].ranked)


def demanded_of_real(name: str, found: Real, by_member: Mapping[str, Real]) -> Iterator[Row]:
    """Return what is demanded of real machines."""
    mar, auc = (0.35, 0.90) if name.startswith("rig") else (0.30, 0.85)
    yield Row(name, "FAR", 0.05, False, found.far)
    yield Row(name, "MAR", mar, False, found.mar)
    yield Row(name, "AUC, pooled", auc, True, found.auc)
    yield Row(name, "AUC, mean of a recording", auc, True, found.mean_auc)
    best = max(member.auc for member in by_member.values())
    yield Row(name, "ensemble's AUC, beside its best member's", best - 0.01, True, found.auc)


def machines(name: str, found: Sequence[Outcome]) -> Table:
    """Return a line for each machine."""
    table = Table(
        "machine", "Hz", "samples", "learned", "FAR", "found 30 %", "of shown", "shown", title=f"physics {name}"
    )
    for item in found:
        trial, medium = item.trial, item.trial.size == MEDIUM
        shown = medium & trial.flags(trial.shown)
        table.add_row(
            trial.kind,
            f"{trial.rate_hz:g}",
            f"{trial.learning.shape[2]}",
            f"{trial.known}",
            _figure(item.healthy.is_anomaly.mean()),
            _figure(item.broken.is_anomaly[medium].mean()),
            _figure(item.broken.is_anomaly[shown].mean() if shown.any() else np.nan),
            f"{int(trial.shown.sum())} of {len(trial.kinds)}",
        )
    return table


def faults(rows: Sequence[tuple[str, dict[float, float], float, float, int]]) -> Table:
    """Return a line for each fault."""
    sizes = sorted({size for _, found, *_ in rows for size in found})
    columns = [f"found {size:.0%}" for size in sizes]
    table = Table("fault", *columns, "30 %, shown", "component right, told", "machines that show it", title="by fault")
    for fault, found, seen, right, count in rows:
        table.add_row(fault, *(_figure(found[size]) for size in sizes), _figure(seen), _figure(right), str(count))
    return table


def voters(title: str, found: Sequence[Voter]) -> Table:
    """Return a line for each member and the ensemble."""
    table = Table("member", "FAR", "found", "AUC, mean of a machine", "votes on", title=title)
    for voter in found:
        table.add_row(voter.name, *map(_figure, (voter.far, voter.found, voter.ranked, voter.voting)))
    return table


def real(title: str, rows: Sequence[Real]) -> Table:
    """Return a line for each member and the ensemble on recordings."""
    table = Table("", "windows", "FAR", "MAR", "AUC", "mean FAR", "mean MAR", "mean AUC", title=title)
    for row in rows:
        name = "ensemble" if row is rows[-1] else row.name
        table.add_row(name, str(row.windows), *map(_figure, row[2:]))
    return table


def curves(lines: Mapping[str, Sequence[tuple[int, float, float]]]) -> Table:
    """Return false and missed alarms by the number of windows learned from."""
    counts = sorted({count for line in lines.values() for count, _, _ in line})
    table = Table("", "", *map(str, counts), title="by number of windows to learn from")
    for name, line in lines.items():
        for place, what in ((1, "FAR"), (2, "MAR")):
            by_count = {point[0]: point[place] for point in line}
            table.add_row(name, what, *(_figure(by_count.get(count, np.nan)) for count in counts))
    return table


def weeks(healthy: Sequence[Week], worn: Sequence[float]) -> Table:
    """Return a line for each machine that was watched."""
    table = Table("healthy machine", "windows", "judged anomalous", "in alarm", "alarms a week", title="watched")
    for week in healthy:
        table.add_row(week.kind, str(week.windows), _figure(week.judged), _figure(week.in_alarm), f"{week.alarms:.1f}")
    sizes = ", ".join(f"{size:.3f}" for size in worn) or "none"
    table.caption = f"wear of the pump at the alarm: {sizes}"
    return table


def delays(found: Mapping[str, Mapping[float, Sequence[float]]]) -> Table:
    """Return median minutes to the alarm, and on how many machines there was one, by fault and size."""
    sizes = sorted({size for waits in found.values() for size in waits})
    title = "minutes from a fault's beginning to the alarm, median; machines in alarm of those that were quiet before"
    table = Table("fault", *(f"{size:.0%}" for size in sizes), title=title)
    for fault, by_size in found.items():
        table.add_row(fault, *(_waits(by_size[size]) for size in sizes))
    return table


def _waits(waits: Sequence[float]) -> str:
    known = [wait for wait in waits if not np.isnan(wait)]
    if not known:
        return "none quiet before"
    middle = float(np.median(known))
    return f"{middle:g}" * bool(np.isfinite(middle)) + f" ({int(np.isfinite(known).sum())} of {len(known)})"


def _figure(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3f}"
