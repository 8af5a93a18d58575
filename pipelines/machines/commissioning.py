"""Commissions a machine: from windows while it runs well to what is normal for it, by operating point.

The store keeps the outcome as bytes, `signals/reading` sets windows against it, and a window judged normal moves it a
little. Works with `operating_points`, which finds the loads that the machine runs at, and with `moments`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.machines.baseline import Baseline, learn
from pipelines.machines.family import Family
from pipelines.machines.moments import KNOWN, Moments, measure
from pipelines.machines.operating_points import find_points
from pipelines.signals.features import mean_places
from pipelines.signals.summary import load_terms, scale, summarise
from pipelines.signals.windows import Floats

State = Literal["commissioning", "monitoring", "maintenance"]

# Windows after which a machine counts as commissioned, and the fewest from which people may say that it is.
# Source: own choice; `make bench-machines` draws false and missed alarms by their number.
NEEDED, LEAST = 20, 6
# A commissioning window so many times as far out as the median one is left out. Source: own choice; of distances over a
# dozen numbers, one in ten thousand healthy ones lies beyond three times the median.
OUTLYING = 4.0
# The most of them that are left out. Source: one commissioning window in ten may be faulty; a machine whose windows
# differ more than that is one that varies.
LEFT_OUT = 0.1
# Share of commissioning windows within the distance that counts as usual. Source: with 20 of them, two lie beyond.
USUAL = 0.9
# Distance that is usual for every machine. Source: that of a healthy window; without it the least flicker of a machine
# that stood still in commissioning is unusual. None of 28 machines of other physics has less than 1.05 of its own.
USUAL_LEAST = 1.0
# Windows that are measured by the others, at most. Source: own choice; a millisecond of work.
LEFT_OUT_MAX = 40
# To this many windows the scatter of an operating point is filled up from the machine's others. Source: as NEEDED.
FILLED = float(NEEDED)
# Oil that warms (or cools) throughout the commissioning has not come to its end: so many times that rise is taken as
# the standard deviation of what is to come, where a straight line explains this share of what the temperature does.
# Source: own choice; a tank warms with a time constant of half an hour to two hours, and twenty windows take some
# twenty minutes. Of 24 simulated machines of other physics one was commissioned so: 0.62 of its healthy windows were in
# alarm without this, and none with it.
WARMING, STEADILY = 3.0, 0.8
# Source: own choice; three of these deviations are all that a tank can warm by from a cold hall.
WARMING_MAX_K = 12.0
# Operating points that a system has at most. Source: own choice; commissioning finds eight at most, and with 150 a
# window takes three times as long.
POINTS_MAX = 24
# Distance within which windows of a commissioned machine teach their operating point. Source: `generic` after twenty
# windows, test rig: false alarms 1.6 %, 28 % where the members have to agree; water loop: AUC 0.83, 0.77 without the
# distance; its own family, the adaptive member alone, mean of a recording: 0.79, 0.75 where that member's score tells.
TAUGHT_WITHIN = 2.7
MAGIC = b"HDXN\x01\x00\x00\x00"


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """One load that a machine runs at, and what is normal for it there.

    Attributes:
        baseline: Sums of the raw features over its windows; `origin` is their mean when it was commissioned.
        moments: How the windows' summaries are spread; None for running sums that were never commissioned.
    """

    baseline: Baseline
    moments: Moments | None = None


class Learned(NamedTuple):
    """What one window teaches an operating point: sums of its features, and its summary."""

    point: int
    sums: Baseline
    summary: Floats | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """What is normal for one system.

    Attributes:
        points: Its operating points, the most frequent first.
        left_out: Commissioning windows that were unlike the others.
        usual: Distance beyond which one in ten of its commissioning windows lay, each measured by the others; no less
            than that of any healthy window.
    """

    points: tuple[OperatingPoint, ...]
    left_out: int = 0
    usual: float = float("inf")

    @classmethod
    def of(cls, baseline: Baseline) -> "Normal":
        """Return running sums as the normal of a machine with one operating point."""
        return cls((OperatingPoint(baseline),))

    def at(self, point: int) -> "Normal":
        """Return one operating point alone: what a window that belongs to it is judged by."""
        return replace(self, points=(self.points[point],)) if len(self.points) > 1 else self

    def learning(self, learned: Learned) -> "Normal":
        """Return it with what a window taught; a point that is gone, or has other features, learns nothing."""
        same = learned.point < len(self.points)
        if not same or len(self.points[learned.point].baseline.count) != len(learned.sums.count):
            return self
        points = list(self.points)
        known = points[learned.point]
        moments = known.moments
        if moments is not None and learned.summary is not None and len(learned.summary) == len(moments.mean):
            moments = moments + learned.summary
        points[learned.point] = OperatingPoint(known.baseline + learned.sums, moments)
        return replace(self, points=tuple(points))

    def to_bytes(self) -> bytes:
        """Return all numbers as they are, bit for bit."""
        shapes = [np.zeros(0) if each.moments is None else each.moments.to_array() for each in self.points]
        head = np.array([len(self.points), len(shapes[0]), self.left_out, self.usual], dtype=np.float64)
        pairs = zip(self.points, shapes, strict=True)
        parts = (part for point, shape in pairs for part in (point.baseline.to_bytes(), shape.tobytes()))
        return b"".join([MAGIC, head.tobytes(), *parts])

    @classmethod
    def from_bytes(cls, content: bytes) -> "Normal":
        """Rebuild from `to_bytes`, or from the running sums of a system that was never commissioned."""
        if not content.startswith(MAGIC):
            return cls.of(Baseline.from_bytes(content))
        numbers = content[len(MAGIC) :]
        *sizes, usual = np.frombuffer(numbers, count=4).tolist()
        count, size, left_out = map(int, sizes)
        rest = numbers[32:]
        step, tail = len(rest) // count, 8 * size
        pieces = [rest[first : first + step] for first in range(0, len(rest), step)]
        points = tuple(_point(piece[: step - tail], piece[step - tail :]) for piece in pieces)
        return cls(points, left_out, usual)


def _point(baseline: bytes, shape: bytes) -> OperatingPoint:
    moments = Moments.from_array(np.frombuffer(shape)) if shape else None
    return OperatingPoint(Baseline.from_bytes(baseline), moments)


def normals_of(baselines: Sequence[Baseline | Normal | None]) -> list[Normal | None]:
    """Return the normal of each system, None where it has none; running sums count as one operating point."""
    return [Normal.of(each) if isinstance(each, Baseline) else each for each in baselines]


def commission(rows: Floats, family: Family) -> Normal:
    """Learn what is normal for a machine from windows while it ran well; one in ten may be faulty.

    Args:
        rows: Raw features, one row a window.

    Shapes: `rows` `float64[N, F]`.

    Raises:
        InvalidInput: There are too few windows, or no channel is in most of them.
    """
    if len(rows) < LEAST:
        raise InvalidInput("windows", len(rows), f"must be at least {LEAST}")
    summaries = summarise(rows, family)
    groups = find_points(summaries[:, load_terms(family)])
    kept = [group[_alike(summaries[group], family)] for group in groups]
    moments = _moments([summaries[group] for group in kept], scale(family).warm)
    if not any(np.isfinite(each.mean).any() for each in moments):
        raise InvalidInput("windows", len(rows), "must show one channel in more than half of them")
    pairs = zip(kept, moments, strict=True)
    points = tuple(OperatingPoint(_sums(rows[group]), each) for group, each in pairs)
    return Normal(points, len(rows) - sum(map(len, kept)), _usual([summaries[group] for group in kept], family))


def _moments(groups: Sequence[Floats], warm: Sequence[int]) -> list[Moments]:
    """Return the moments of each operating point, its scatter filled up from the others.

    Args:
        groups: Summaries of each point's windows, in their order.
        warm: Places of the temperatures.
    """
    found = [replace(Moments.of(group), warming=_warming(group[:, warm])) for group in groups]
    scatter, weight = np.sum([each.scatter for each in found], axis=0), sum(each.weight for each in found)
    lent = [max(0.0, min(FILLED, weight) - each.weight) for each in found]
    return [each.lent(scatter * (more / weight), more) for each, more in zip(found, lent, strict=True)]


def _warming(temperatures: Floats) -> float:
    """Return how much warmer the machine may yet run, as a standard deviation in kelvin."""
    return min(WARMING * _rise(temperatures), WARMING_MAX_K)


def _rise(temperatures: Floats) -> float:
    """Return by how much the oil warmed or cooled from the first window to the last; 0 where it does not so steadily.

    Shapes: `temperatures` `float64[N, C]`.
    """
    if len(temperatures) < LEAST or not np.isfinite(temperatures).all():
        return 0.0
    apart = temperatures - temperatures.mean(axis=0)
    course = np.linspace(-0.5, 0.5, len(apart))
    rise = course @ apart / (course @ course)
    steady = rise * rise * (course @ course) > STEADILY * (apart * apart).sum(axis=0)
    return float(np.abs(rise[steady]).max(initial=0.0))


def _usual(groups: Sequence[Floats], family: Family) -> float:
    """Return the distance beyond which one in ten windows lies, each measured by moments that do not know it."""
    pairs = [(place, row) for place, group in enumerate(groups) for row in range(len(group))]
    chosen = pairs[:: max(1, -(-len(pairs) // LEFT_OUT_MAX))]
    rows = np.stack([groups[place][row] for place, row in chosen])
    warm = scale(family).warm
    without = [
        _moments([np.delete(g, row, axis=0) if place == each else g for each, g in enumerate(groups)], warm)[place]
        for place, row in chosen
    ]
    far = measure(rows, without, scale(family)).distance
    # Where the others know nothing of any window, nothing is unusual.
    return max(float(np.nanquantile(far, USUAL)), USUAL_LEAST) if np.isfinite(far).any() else float("inf")


def accept(normal: Normal, rows: Floats, family: Family) -> Normal:
    """Return what is normal with one more operating point, that people say these windows show.

    Shapes: `rows` `float64[N, F]`.

    Raises:
        InvalidInput: It has as many points as a normal may, or was learned on other features; the windows lie at one
            of its points; or a channel of it is not in most of them: a point without it would lie near every window,
            whatever that channel shows.
    """
    _check_accepted(normal, rows, family)
    found = Moments.of(summarise(rows, family))
    known = normal.points[0].moments
    if known is not None and known.weight > 0:
        more = max(0.0, FILLED - found.weight)
        found = found.lent(known.scatter * (more / known.weight), more)
    # All points are of one kind: running sums that were never commissioned get one of running sums.
    point = OperatingPoint(_sums(rows), None if known is None else found)
    return replace(normal, points=(*normal.points, point))


def _check_accepted(normal: Normal, rows: Floats, family: Family) -> None:
    if len(normal.points) >= POINTS_MAX:
        raise InvalidInput("accept", len(rows), f"would be one operating point more than {POINTS_MAX}: teach it anew")
    origins = [point.baseline.origin for point in normal.points if point.baseline.origin is not None]
    if any(len(point.baseline.count) != rows.shape[1] for point in normal.points):
        raise InvalidInput("accept", len(rows), "must be windows of a system that this version of HDX commissioned")
    for name, place in mean_places(family).items():
        if any(np.isfinite(origin[place]) for origin in origins) and np.isfinite(rows[:, place]).mean() <= KNOWN:
            raise InvalidInput("accept", len(rows), f"must be windows that show {name}, as those of its commissioning")

    for number, point in enumerate(normal.points, 1):
        if point.moments is not None:
            gauge = measure(summarise(rows, family), [point.moments] * len(rows), scale(family))
            at_it = (gauge.distance <= TAUGHT_WITHIN) & (np.abs(np.nan_to_num(gauge.strayed)) <= 1).all(axis=1)
            if at_it.mean() > KNOWN:
                rule = f"must be windows of a load that is not known yet: these lie at operating point {number}"
                raise InvalidInput("accept", len(rows), rule)


def _sums(rows: Floats) -> Baseline:
    """Return the running sums of an operating point's windows; their mean is where it begins."""
    learned = [learn(row) for row in rows]
    found = sum(learned[1:], learned[0])
    return replace(found, origin=found.total / np.where(found.count > 0, found.count, np.nan))


def _alike(summaries: Floats, family: Family) -> NDArray[np.bool_]:
    """Tell which windows of one load are like most of them: `bool[N]`.

    First number by number, so that what is odd cannot widen what it is measured by; then by how numbers move together.
    """
    usual = scale(family).floor
    shown = np.where(np.isfinite(summaries).any(axis=0), summaries, 0.0)
    apart = shown - np.nanmedian(shown, axis=0)
    wide = np.hypot(1.4826 * np.nanmedian(np.abs(apart), axis=0), usual)
    size = np.nan_to_num(apart / wide)
    kept = _within((size * size).mean(axis=1))
    moments = Moments.of(summaries[kept])
    return _within(measure(summaries, [moments] * len(summaries), scale(family)).distance)


def _within(far: Floats) -> NDArray[np.bool_]:
    """Tell which windows do not lie far outside the others; only a few can, first those of which nothing is known."""
    far = np.nan_to_num(far, nan=np.inf)
    few = np.sort(far)[len(far) - 1 - int(np.ceil(LEFT_OUT * len(far)))]
    kept: NDArray[np.bool_] = far <= max(OUTLYING * max(float(np.median(far)), 1.0), float(few))
    return kept
