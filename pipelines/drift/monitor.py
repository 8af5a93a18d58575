"""Tells whether a system's inputs, scores, normal or calibration have moved since they were known.

Drift says that something has changed, and not what: a fault, a new operating point and a failing sensor all are one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from pipelines.diagnosis.calibration import logit
from pipelines.drift.charts import ALTERNATIVES, BLOCK, CERTAINTY, Chart, Levels, miscalibration, threshold
from pipelines.machines.baseline import DRIFTED, Baseline, distances
from pipelines.machines.family import Family, by_family
from pipelines.signals.features import feature_names, mean_places
from pipelines.signals.reading import OWN_FLOOR
from pipelines.signals.windows import Floats, Window, stack

Kind = Literal["input", "score", "baseline", "calibration"]
KINDS: tuple[Kind, ...] = ("input", "score", "baseline", "calibration")
LEVEL, SPREAD = "level", "spread"
STATISTIC = {LEVEL: "mean", SPREAD: "std"}
SCORE = "score"
# Least deviation of a block's mean score, in log-odds. Source: own choice; it changes no decision.
SCORE_FLOOR = 0.1


class Drift(NamedTuple):
    """What is known of one kind of drift.

    Attributes:
        statistic: Evidence of a change so far; `threshold` from which on it is a drift.
        since: Windows (calibration: judgements with feedback) since the change began; 0 where there is none.
        what: What has moved and which way, such as `flow level, up`; empty where nothing has.
        ready: Whether there is a reference to compare with yet.
    """

    kind: Kind
    statistic: float
    threshold: float
    drifting: bool
    since: int
    what: str
    ready: bool


class DriftState(NamedTuple):
    """What is known of one system's drift, by kind; of a family as a whole where `system` is empty.

    Attributes:
        windows: Seen so far; of a family, its systems.
    """

    family: str
    system: str
    windows: int
    drifts: tuple[Drift, ...]

    @property
    def drifting(self) -> bool:
        """Whether any kind is."""
        return any(drift.drifting for drift in self.drifts)

    def of(self, kind: Kind) -> Drift:
        """Return one kind."""
        return next(drift for drift in self.drifts if drift.kind == kind)


class Stream(NamedTuple):
    """One number a window that is watched: the level or the spread of a channel."""

    channel: str
    part: str

    def __str__(self) -> str:
        return f"{self.channel} {self.part}"


@by_family
def streams(family: Family) -> tuple[Stream, ...]:
    """Return what is watched of a family: spreads, and the levels that its detectors read."""
    found = []
    for channel in family.channels:
        if family.reading_of(channel) != "changes":
            found.append(Stream(channel, LEVEL))
        found.append(Stream(channel, SPREAD))
    return tuple(found)


@by_family
def _places(family: Family) -> list[int]:
    names = feature_names(family)
    return [names.index(f"{stream.channel}_{STATISTIC[stream.part]}") for stream in streams(family)]


def watched(raw: Floats, family: Family) -> Floats:
    """Return of raw features what is watched.

    Shapes: `FeatureTable.raw` `float64[N, F]` -> `float64[N, K]`.
    """
    return raw[:, _places(family)]


def watched_of(windows: Sequence[Window], family: Family) -> Floats:
    """Compute what is watched without the other features, where no table is at hand.

    Shapes: `float64[N, K]`; NaN for a missing channel.
    """
    channels = tuple(family.channels)
    values = stack(windows, channels).values
    known = ~np.isnan(values)
    count = known.sum(axis=2)
    count = np.where(count > 0, count, np.nan)
    mean = np.where(known, values, 0.0).sum(axis=2) / count
    apart = np.where(known, values - mean[:, :, None], 0.0)
    parts = {LEVEL: mean, SPREAD: np.sqrt((apart * apart).sum(axis=2) / count)}
    return np.stack([parts[part][:, channels.index(channel)] for channel, part in streams(family)], axis=1)


def beside(rows: Floats, scores: Floats) -> Floats:
    """Set the scores beside what is watched, as log-odds.

    Shapes: `float64[N, K]`, `float64[N]` -> `float64[N, K + 1]`.
    """
    odds = logit(np.clip(scores, CERTAINTY, 1 - CERTAINTY))
    return np.concatenate([rows, odds[:, None]], axis=1)


def _floors(family: Family) -> Floats:
    inputs = [OWN_FLOOR * family.channels[stream.channel].spread for stream in streams(family)]
    return np.array([*inputs, SCORE_FLOOR])


def _limits(family: Family) -> Floats:
    """Return each stream's threshold: that of its kind, over two charts a stream."""
    count = len(streams(family))
    return np.array([threshold(2 * count)] * count + [threshold(2)])


@dataclass(slots=True, eq=False)
class DriftMonitor:
    """Everything remembered of one system: a few kilobytes, however many windows it has seen.

    Attributes:
        windows: Seen.
        labels: Judgements with feedback seen.
        levels: Charts of the watched streams and of the score's log-odds.
        calibration: Charts of the alternatives to the stated probabilities.
        moved: Largest distance of the baseline from its origin, in deviations, and its channel.
        moved_at: Windows seen when the baseline was found to have moved, or -1.
        settled: Whether the baseline has an origin.
    """

    family: Family
    system: str
    windows: int
    labels: int
    levels: Levels
    calibration: Chart
    moved: tuple[float, str] = (0.0, "")
    moved_at: int = -1
    settled: bool = False

    @classmethod
    def new(cls, family: Family, system: str = "") -> "DriftMonitor":
        """Return the monitor of a system not seen yet."""
        levels = Levels.empty(_floors(family), _limits(family))
        return cls(family, system, 0, 0, levels, Chart.flat(len(ALTERNATIVES)))

    def observe(self, rows: Floats, scores: Floats) -> None:
        """Take in consecutive windows of the system.

        Args:
            rows: `float64[N, K]` as `watched` gives them.
            scores: `float64[N]` of the ensemble; NaN where it abstained.
        """
        self.take(beside(rows, scores))

    def take(self, joined: Floats) -> None:
        """Do the same with what `beside` gives, which is made once for a micro-batch."""
        self.levels.add(joined)
        self.windows += len(joined)

    def meet(self, baseline: Baseline | None) -> None:
        """Look at the system's present baseline; one learned on other features counts as none."""
        names = feature_names(self.family)
        if baseline is None or baseline.origin is None or len(baseline.count) != len(names):
            return
        far = distances(baseline)
        by_channel = {name: float(far[place]) for name, place in mean_places(self.family).items()}
        known = {name: distance for name, distance in by_channel.items() if not np.isnan(distance)}
        channel = max(known, key=lambda name: known[name], default="")
        self.moved, self.settled = (min(known.get(channel, 0.0), 2 * DRIFTED), channel), True
        if self.moved[0] <= DRIFTED:
            self.moved_at = -1
        elif self.moved_at < 0:
            self.moved_at = self.windows

    def confirm(self, probability: float, truth: bool) -> None:
        """Take in what was found of one judged window."""
        gain = miscalibration(np.array([probability]), np.array([float(truth)]))[0]
        self.calibration.add(gain, threshold(len(ALTERNATIVES)))
        self.labels += 1

    def state(self) -> DriftState:
        """Return what is known."""
        count = len(streams(self.family))
        drifts = (
            self._charted("input", slice(0, count), tuple(map(str, streams(self.family)))),
            self._charted("score", slice(count, count + 1), (SCORE,)),
            self._baseline(),
            self._calibration(),
        )
        return DriftState(self.family.name, self.system, self.windows, drifts)

    def _charted(self, kind: Kind, columns: slice, names: tuple[str, ...]) -> Drift:
        """Return the highest chart of some streams."""
        height = self.levels.chart.height.reshape(2, -1)[:, columns].ravel()
        age = self.levels.chart.age.reshape(2, -1)[:, columns].ravel()
        top, limit = int(height.argmax()), threshold(2 * len(names))
        drifting = bool(height[top] >= limit)
        side = "up" if top < len(names) else "down"
        what = f"{names[top % len(names)]}, {side}" if drifting else ""
        since = int(age[top]) * BLOCK + len(self.levels.pending) if drifting else 0
        return Drift(kind, float(height[top]), limit, drifting, since, what, self.levels.centre is not None)

    def _baseline(self) -> Drift:
        distance, channel = self.moved
        drifting = self.moved_at >= 0
        since = self.windows - self.moved_at if drifting else 0
        what = f"{channel} normal" if drifting else ""
        return Drift("baseline", distance, DRIFTED, drifting, since, what, self.settled)

    def _calibration(self) -> Drift:
        chart, limit = self.calibration, threshold(len(ALTERNATIVES))
        top = int(chart.height.argmax())
        drifting = bool(chart.height[top] >= limit)
        what, since = (_miscalibrated(top), int(chart.age[top])) if drifting else ("", 0)
        return Drift("calibration", float(chart.height[top]), limit, drifting, since, what, self.labels > 0)


def _miscalibrated(alternative: int) -> str:
    """Say in words how the truth differs from what was stated."""
    shift, slope = ALTERNATIVES[alternative]
    words = []
    if shift:
        words.append("stated too low" if shift > 0 else "stated too high")
    if slope != 1:
        words.append("stated too sure" if slope < 1 else "stated too unsure")
    return f"probabilities {' and '.join(words)}"
