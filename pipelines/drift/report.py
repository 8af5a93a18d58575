"""Follows the drift of recordings as the service would, and shows as one HTML page who has moved, when and in what."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from configs.settings import Limits
from pipelines.datasets.recordings import check_columns, entities, series, settled, source_columns, trailing
from pipelines.detectors.bundle import Bundle
from pipelines.diagnosis.ensemble import decide, silenced, taught
from pipelines.drift.charts import BLOCK
from pipelines.drift.monitor import KINDS, Drift, DriftMonitor, DriftState, Kind, watched
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Family
from pipelines.signals.channels import read_window
from pipelines.signals.reading import make_feature_table
from pipelines.signals.windows import Floats, Window
from pipelines.training.report import plotted

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

PAGE = Path(__file__).with_name("report.html")
# New windows in one window's length. Source: as `settled` cuts them.
STEPS = 12

Done = Callable[[int, int], None]


class History(NamedTuple):
    """The windows of one system, in their order.

    Attributes:
        moments: Of each window, where it ends in the source.
        baseline: That the system has before the first of them.
    """

    system: str
    windows: Sequence[Window]
    moments: Sequence[str]
    baseline: Baseline | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """What was known of one system's drift after each block of windows."""

    system: str
    windows: int
    states: Sequence[DriftState]
    moments: Sequence[str]

    def first(self, kind: Kind) -> tuple[str, Drift] | None:
        """Return when a kind of drift was found first, and what it was; None where it was not."""
        found = zip(self.moments, (state.of(kind) for state in self.states), strict=True)
        return next(((moment, drift) for moment, drift in found if drift.drifting), None)

    def share(self, kind: Kind) -> Floats:
        """Return the statistic in shares of its threshold, block by block; NaN before there is a reference."""
        drifts = [state.of(kind) for state in self.states]
        return np.array([drift.statistic / drift.threshold if drift.ready else np.nan for drift in drifts])


def follow_drift(family: Family, history: History, members: Mapping[str, Bundle]) -> Trace:
    """Let a system's windows pass its monitor, judged as the service would; without members only inputs are known."""
    monitor = DriftMonitor.new(family, history.system)
    normal, alarm = None if history.baseline is None else Normal.of(history.baseline), False
    states, moments = [], []
    for first in range(0, len(history.windows), BLOCK):
        windows = history.windows[first : first + BLOCK]
        table = make_feature_table(windows, [normal] * len(windows), family)
        scores = np.full(len(windows), np.nan)
        if members:
            seconds = np.array([window.seconds for window in windows])
            # A machine of which nothing is known yet is being commissioned.
            known = table.commissioned
            votes = {
                name: silenced(bundle.votes(table, detail="score"), family, ~known) for name, bundle in members.items()
            }
            verdicts = decide(family, table, seconds, np.full(len(windows), alarm), votes, consecutive=True)
            scores, alarm = verdicts.tally.score, bool(verdicts.left[-1])
            for learned in taught(family, seconds, table, verdicts):
                if learned is not None:
                    normal = Normal.of(learned.sums) if normal is None else normal.learning(learned)
        monitor.observe(watched(table.raw, family), scores)
        monitor.meet(None if normal is None else normal.points[0].baseline)
        states.append(monitor.state())
        moments.append(history.moments[first + len(windows) - 1])
    return Trace(history.system, len(history.windows), states, moments)


def histories(family: Family, source: Path, entity: str, order: str, settle: int) -> Iterator[History]:
    """Read the systems of a Parquet file.

    Columns that hold lists are windows, one a row; others are samples, and are cut into windows, twelve in the time of
    one. Without `entity` the whole file is one system.

    Raises:
        InvalidInput: A column is missing or a value breaks a rule.
    """
    import pandas as pd

    frame = pd.read_parquet(source)
    check_columns(frame, [name for name in (entity, order) if name])
    columns = source_columns(family, frame)
    column = frame[next(iter(columns.values()))]
    cut = _rows if len(column) and np.ndim(column.iloc[0]) else _samples
    if not entity:
        entity = "system"
        frame = frame.assign(system=source.stem)
    for system, places in entities(entity, order, frame):
        moments = frame[order].iloc[places].astype(str).tolist() if order else [f"row {place}" for place in places]
        yield cut(family, frame.iloc[places], str(system), moments, settle)


def _rows(family: Family, frame: "pd.DataFrame", system: str, moments: Sequence[str], settle: int) -> History:
    """Read one window a row."""
    columns = source_columns(family, frame)
    rate = next(iter(family.channels.values())).rate_hz
    rows = zip(*(frame[column] for column in columns.values()), strict=True)
    held = [{n: v for n, v in zip(columns, row, strict=True) if v is not None} for row in rows]
    windows = [
        read_window(values, rate, family, Limits(), moment) for values, moment in zip(held, moments, strict=True)
    ]
    return History(system, windows[settle:], moments[settle:])


def _samples(family: Family, frame: "pd.DataFrame", system: str, moments: Sequence[str], settle: int) -> History:
    """Cut one recording into windows; its first `settle` samples give the baseline."""
    values = series(family, frame, np.arange(len(frame)))
    rate = next(iter(family.channels.values())).rate_hz
    length = max(1, round(family.window_s * rate))
    lasts = range(settle + length - 1, len(frame), max(1, length // STEPS))
    windows = [trailing(values, last, length, rate) for last in lasts]
    baseline = settled(values, rate, length, settle, family) if settle else None
    return History(system, windows, [moments[last] for last in lasts], baseline)


def trace(
    family: Family, source: Path, members: Mapping[str, Bundle], entity: str, order: str, settle: int, done: Done
) -> list[Trace]:
    """Follow every system of a Parquet file.

    Raises:
        InvalidInput: As `histories`.
    """
    found = []
    for history in histories(family, source, entity, order, settle):
        found.append(follow_drift(family, history, members))
        done(len(found), len(found))
    return found


def render_drift(family: Family, traces: Sequence[Trace]) -> str:
    """Return the page; it needs nothing but itself."""
    from jinja2 import Environment

    rows = [(found, [(kind, found.first(kind), found.states[-1].of(kind)) for kind in KINDS]) for found in seen(traces)]
    template = Environment(autoescape=True).from_string(PAGE.read_text(encoding="utf-8"))
    return template.render(family=family, rows=rows, plot=_plot(seen(traces)), block=BLOCK, short=short(traces))


def seen(traces: Sequence[Trace]) -> list[Trace]:
    """Return the systems with windows enough for a reference of their inputs."""
    return [found for found in traces if found.states and found.states[-1].of("input").ready]


def short(traces: Sequence[Trace]) -> list[str]:
    """Return the names of the others."""
    known = {found.system for found in seen(traces)}
    return [found.system for found in traces if found.system not in known]


def _plot(traces: Sequence[Trace]) -> str:
    """Return one small plot a system: each kind's statistic in shares of its threshold."""

    def draw(axes: "list[Axes]") -> None:
        for axis, found in zip(axes, traces, strict=True):
            places: list[Any] = [BLOCK * (number + 1) for number in range(len(found.states))]
            known = {kind: share for kind in KINDS if np.isfinite(share := found.share(kind)).any()}
            for kind, share in known.items():
                axis.plot(places, share, linewidth=1, label=kind)
            axis.axhline(1, color="crimson", linewidth=0.8)
            axis.set(title=found.system, ylim=(0, 2.1), xlabel="windows")
        axes[0].legend(fontsize="small")

    return plotted(len(traces), draw) if traces else ""
