"""Sets features beside what is normal for each system, and reads them as the detectors of a family do.

A detector sees levels where the family says that they mean something, and distances from the system's own level
elsewhere.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import FeatureTable
from pipelines.machines.baseline import SETTLED, Baseline
from pipelines.machines.commissioning import Normal, OperatingPoint
from pipelines.machines.family import Channel, Family, by_family
from pipelines.machines.moments import Gauge, Moments, measure
from pipelines.machines.operating_points import nearest
from pipelines.signals.features import (
    BAR_L_MIN_PER_KW,
    CROSS,
    CROSS_CHANNELS,
    LEVELS,
    POWER,
    RESISTANCE,
    SPREADS,
    channels_of,
    feature_names,
    mean_places,
    raw_features,
    statistic_of,
)
from pipelines.signals.summary import KELVIN, scale, scales, summarise, term_places, terms, typical
from pipelines.signals.windows import Floats, Stack, Window, stack

OWN, DEVIATION = "~own", "~deviation"
# Source: water loop, recordings left out: mean and spread against the system's own carry what relative reading adds.
OWN_STATISTICS = ("mean", "std")
# Source: own choice; below a hundredth of the family's spread, a ratio divides by sensor noise.
OWN_FLOOR = 0.01
# Beyond so many of a machine's own standard deviations a column says no more. Source: own choice.
FARTHEST = 30.0
# A machine whose own windows differ more than so many of its family's spreads is read in its own: twice the flow is
# nothing where it was half and twice as much while it was learned. Source: 36 simulated machines of other physics:
# 6.7 % of healthy windows in alarm without, 2.8 % with it, and as many faults found.
STEADY_SPREADS = 2.0
# A machine whose commissioning windows lay farther apart than this is measured in shares of that. Source: as before; of
# 12 machines of a third physics, whose loads jump, 1.5 % fewer healthy windows are in alarm; with half of it the water
# loop's AUC falls from 0.84 to 0.80.
STEADY_USUAL = 5.0
# A machine of which nothing is known lies about its family's typical levels, so many times wider than one does about
# its own. Source: own choice.
UNKNOWN_SPREAD = 3.0


@by_family
def read_names(family: Family) -> tuple[str, ...]:
    """Return the names of the columns that trained detectors read.

    Features, those set against the system's own, and for a family of unlike machines those in its own deviations.
    """
    names = feature_names(family)
    own = [name for name in names if name not in CROSS and _has_own(name, family)]
    apart = [term.feature for term in terms(family)] if reads_deviations(family) else []
    return (*names, *(f"{name}{OWN}" for name in own), *(f"{name}{DEVIATION}" for name in apart))


def feature_of(column: str) -> str:
    """Return the feature that a column is made from."""
    return column.removesuffix(OWN).removesuffix(DEVIATION)


@by_family
def reads_deviations(family: Family) -> bool:
    """Tell whether trained members of a family read distances from the system's own normal, and so need it."""
    return family.reading == "relative"


def _has_own(name: str, family: Family) -> bool:
    return statistic_of(name) in OWN_STATISTICS and family.reading_of(channels_of(name)[0]) == "both"


def make_feature_table(windows: Sequence[Window], normals: Sequence[Normal | None], family: Family) -> FeatureTable:
    """Compute the features of windows, raw and as the family reads them, beside what is normal for each system.

    Windows of one length are stacked by themselves: padding changes the order of sums, and so the last bit of a
    feature; a window's answer must not depend on those it was gathered with.
    """
    lengths = np.array([window.samples for window in windows], dtype=np.int64)
    raw = np.empty((len(windows), len(feature_names(family))))
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        raw[rows] = raw_features(stack([windows[row] for row in rows.tolist()], tuple(family.channels)), family)
    return set_against(raw, normals, family)


def feature_table_of(stacked: Stack, normals: Sequence[Normal | None], family: Family) -> FeatureTable:
    """Do the same for windows that are stacked already."""
    return set_against(raw_features(stacked, family), normals, family)


def set_against(raw: Floats, normals: Sequence[Normal | None], family: Family) -> FeatureTable:
    """Set raw features against what is normal for each system, at the operating point that each window is nearest to.

    Shapes: `raw` `float64[N, F]`.
    """
    names = feature_names(family)
    if any(normal is not None for normal in normals):
        normals = [normal if is_known(normal, family) else None for normal in normals]
    summary = summarise(raw, family)
    points, gauge = _matched(summary, normals, family)
    found = [None if normal is None else normal.points[point] for normal, point in zip(normals, points, strict=True)]
    baselines = [None if point is None else point.baseline for point in found]
    count, total, squares = _sums(baselines, len(names))
    known = np.where(count > 0, count, np.nan)
    centre = total / known
    scatter = np.sqrt(np.maximum(squares / known - centre * centre, 0.0))
    settled = count.max(axis=1, initial=0.0) >= SETTLED
    commissioned = _has_moments(found) | settled
    usual = np.array([np.inf if normal is None else normal.usual for normal in normals])
    varies = _own_scatter(found, scatter, family)
    parts = [relative(raw, centre, family, varies), own(raw, _origins(baselines, raw), family)]
    if reads_deviations(family):
        apart = np.clip(gauge.apart, -FARTHEST, FARTHEST)
        parts.append(np.where(commissioned[:, None], apart, np.nan))
    read = np.concatenate(parts, axis=1)
    return FeatureTable(
        names,
        read_names(family),
        term_places(family),
        raw,
        read,
        centre,
        scatter,
        count,
        summary,
        gauge.distance / np.maximum(1.0, np.where(np.isfinite(usual), usual, 0.0) / STEADY_USUAL),
        gauge.shares,
        np.array(points, dtype=np.int64),
        commissioned,
        gauge.distance > usual,
        np.where(_has_moments(found)[:, None], np.nan_to_num(gauge.strayed), 0.0),
    )


def is_known(normal: Normal | None, family: Family) -> bool:
    """Tell whether there is a normal, learned on the features that the family has now; another one counts as none."""
    features, size = len(feature_names(family)), len(terms(family))
    return normal is not None and all(
        len(point.baseline.count) == features and (point.moments is None or len(point.moments.mean) == size)
        for point in normal.points
    )


def _has_moments(points: Sequence[OperatingPoint | None]) -> NDArray[np.bool_]:
    return np.array([point is not None and point.moments is not None for point in points], dtype=np.bool_)


def _own_scatter(points: Sequence[OperatingPoint | None], scatter: Floats, family: Family) -> Floats:
    """Return how far each commissioned system's features vary, heat that is yet to come included; NaN for others.

    Shapes: `scatter` `float64[N, F]` -> `float64[N, F]`.
    """
    known = [None if point is None else point.moments for point in points]
    warming = np.array([np.nan if moments is None else moments.warming for moments in known])[:, None]
    result: Floats = np.where(np.isnan(warming), np.nan, scatter)
    warm = [place for place, name in enumerate(feature_names(family)) if _is_level(name) and _is_warm(name, family)]
    units = np.array([KELVIN[family.channels[channels_of(feature_names(family)[place])[0]].unit] for place in warm])
    result[:, warm] = np.hypot(result[:, warm], warming / units)
    return result


def _is_level(name: str) -> bool:
    return name not in CROSS and statistic_of(name) in LEVELS


def _is_warm(name: str, family: Family) -> bool:
    return family.channels[channels_of(name)[0]].unit in KELVIN


def _matched(summary: Floats, normals: Sequence[Normal | None], family: Family) -> tuple[list[int], Gauge]:
    """Return for each window the place of its operating point, and how far from that it lies."""
    most = max((len(normal.points) for normal in normals if normal is not None), default=1)
    by_point = [measure(summary, _moments(normals, point, family), scale(family)) for point in range(most)]
    if most == 1:
        return [0] * len(normals), by_point[0]
    counts = np.array([1 if normal is None else len(normal.points) for normal in normals])
    found = nearest([np.where(counts > point, gauge.distance, np.nan) for point, gauge in enumerate(by_point)])
    rows = np.arange(len(summary))
    chosen = (
        np.stack([getattr(gauge, name) for gauge in by_point])[found, rows]
        for name in ("distance", "shares", "apart", "strayed")
    )
    return found.tolist(), Gauge(*chosen)


def _moments(normals: Sequence[Normal | None], point: int, family: Family) -> list[Moments]:
    """Return what each window is measured by at one operating point; typical levels where nothing better is known."""
    found, unknown = [], _unknown(family)
    for normal in normals:
        place = 0 if normal is None or point >= len(normal.points) else point
        found.append(unknown if normal is None else _own_moments(normal.points[place], family))
    return found


def _own_moments(point: OperatingPoint, family: Family) -> Moments:
    """Return an operating point's moments; where it only has running sums, what these say of single numbers."""
    moments, sums = point.moments, point.baseline
    if moments is not None:
        return moments
    if sums.count.max(initial=0.0) < SETTLED:
        return _unknown(family)
    known = np.where(sums.count > 0, sums.count, np.nan)
    centre = sums.total / known
    scatter = np.sqrt(np.maximum(sums.squares / known - centre * centre, 0.0))
    count, mean = float(sums.count.max()), summarise(centre[None, :], family)[0]
    spread = np.nan_to_num(scales(scatter, centre, family))
    return Moments(count, count, mean, mean, np.diag(spread * spread) * count)


@by_family
def _unknown(family: Family) -> Moments:
    """Return what a window is measured by where nothing is known of its machine: its family's typical levels."""
    mean, wide = typical(family), UNKNOWN_SPREAD * scale(family).floor
    return Moments(1.0, SETTLED, mean, mean, np.diag(np.where(np.isnan(mean), 0.0, wide * wide)) * SETTLED)


def _sums(baselines: Sequence[Baseline | None], width: int) -> tuple[Floats, Floats, Floats]:
    """Lay baselines side by side."""
    sums = np.zeros((3, len(baselines), width))
    for row, baseline in enumerate(baselines):
        if baseline is not None:
            sums[:, row] = baseline.count, baseline.total, baseline.squares
    return sums[0], sums[1], sums[2]


def _origins(baselines: Sequence[Baseline | None], raw: Floats) -> Floats:
    """Return each system's first normal; NaN where it has not settled yet."""
    origins = np.full_like(raw, np.nan)
    for row, baseline in enumerate(baselines):
        if baseline is not None and baseline.origin is not None:
            origins[row] = baseline.origin
    return origins


def own(raw: Floats, origin: Floats, family: Family) -> Floats:
    """Set the features of channels that are read both ways against the system's first normal; NaN where it has none.

    A `ratio` channel is read in shares of it, a `difference` channel as the distance in the family's spread. The first
    normal and not today's, which follows slow faults: water loop, recordings left out, AUC 0.96 against 0.94.
    """
    names = feature_names(family)
    columns = []
    for column in (name for name in read_names(family) if name.endswith(OWN)):
        place = names.index(feature_of(column))
        channel = family.channels[channels_of(names[place])[0]]
        normal = origin[:, place]
        if channel.relation == "ratio":
            columns.append(raw[:, place] / np.maximum(np.abs(normal), OWN_FLOOR * channel.spread))
        else:
            columns.append((raw[:, place] - normal) / channel.spread)
    return np.stack(columns, axis=1) if columns else np.zeros((len(raw), 0))


def relative(raw: Floats, centre: Floats, family: Family, varies: Floats | None = None) -> Floats:
    """Read features of relative channels against each system's own level, or the typical one where it has none.

    A `ratio` channel is read in shares of its level, a `difference` channel as the distance from it in units of the
    family's spread. Shape statistics and the correlation have no unit and stay, and so do channels read raw. Levels of
    channels of which only changes are read are NaN.

    Args:
        varies: Standard deviation of each system's own features; where it is much wider than its family's, the
            distance from the level is read in shares of it. NaN where it is not known.

    Shapes: `raw`, `centre`, `varies` `float64[N, F]` -> `float64[N, F]`.
    """
    column, spread, typical = _levels(family)
    known = centre[:, column]
    level = np.where(np.isnan(known), typical, known)
    # A level near zero, as of a machine at rest, must not make every ratio huge.
    size = np.where(_is_ratio(family), np.maximum(np.abs(level), spread), spread)
    scaled, of, shifted, from_level, unread = _read_columns(family)
    shift, scale = np.zeros_like(raw), np.ones_like(raw)
    scale[:, scaled], shift[:, shifted] = size[:, of], level[:, from_level]
    if all(name in family.channels and family.reading_of(name) == "relative" for name in CROSS_CHANNELS):
        levels = dict(zip(family.channels, level.T, strict=True))
        for name, (away, unit) in _cross_units(levels, family.channels).items():
            place = feature_names(family).index(name)
            shift[:, place], scale[:, place] = away, unit
    read = (raw - shift) / scale
    if varies is not None:
        read = _tempered(read, (centre - shift) / scale, varies / scale, family)
    read[:, unread] = np.nan
    return read


class _Columns(NamedTuple):
    """How the features of relative channels are read: places of features, and of the channels that they are of.

    Attributes:
        scaled: Features that have a unit, `of` these channels.
        shifted: Those that are read as a distance `from_level` of these channels.
        unread: Those that say nothing.
    """

    scaled: list[int]
    of: list[int]
    shifted: list[int]
    from_level: list[int]
    unread: list[int]


@by_family
def _read_columns(family: Family) -> _Columns:
    found, channels = _Columns([], [], [], [], []), list(family.channels)
    for place, name in enumerate(feature_names(family)):
        if _is_unread(name, family):
            found.unread.append(place)
        if name in CROSS or family.reading_of(channels_of(name)[0]) != "relative":
            continue
        channel, statistic = channels_of(name)[0], statistic_of(name)
        is_level = statistic in LEVELS or statistic == "phase"
        if is_level or statistic in SPREADS:
            found.scaled.append(place)
            found.of.append(channels.index(channel))
        if is_level and family.channels[channel].relation == "difference":
            found.shifted.append(place)
            found.from_level.append(channels.index(channel))
    return found


@by_family
def _levels(family: Family) -> tuple[list[int], Floats, Floats]:
    """Return the place of each channel's mean, its spread, and its typical level: the last two `float64[C]`."""
    channels = family.channels.values()
    spread, typical = ([getattr(each, word) for each in channels] for word in ("spread", "typical"))
    return list(mean_places(family).values()), np.array(spread, dtype=np.float64), np.array(typical, dtype=np.float64)


@by_family
def _is_ratio(family: Family) -> NDArray[np.bool_]:
    return np.array([channel.relation == "ratio" for channel in family.channels.values()])


def _tempered(read: Floats, normal: Floats, varies: Floats, family: Family) -> Floats:
    """Draw what is read towards normal, as far as the machine itself varies more than its family.

    Shapes: each `float64[N, F]`.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        share = STEADY_SPREADS * _spreads(family) / varies
        drawn = normal + (read - normal) * share
    return np.where(share < 1, drawn, read)


@by_family
def _spreads(family: Family) -> Floats:
    """Return how far the features of a steady machine vary, as they are read; infinity for those that have no unit.

    Shapes: `float64[F]`.
    """
    return np.array([_spread(name, family) for name in feature_names(family)])


def _spread(name: str, family: Family) -> float:
    channels = [family.channels[channel] for channel in channels_of(name)]
    has_unit = name in (POWER, RESISTANCE) or (name not in CROSS and statistic_of(name) in (*LEVELS, *SPREADS))
    if not has_unit or any(family.reading_of(channel) != "relative" for channel in channels_of(name)):
        return np.inf
    units = [
        each.spread / max(abs(each.typical), each.spread) if each.relation == "ratio" else 1.0 for each in channels
    ]
    return float(np.hypot.reduce(units))


def _is_unread(name: str, family: Family) -> bool:
    """Tell whether a feature says a level of a channel whose levels say nothing."""
    is_level = name in CROSS or statistic_of(name) in LEVELS
    return is_level and any(family.reading_of(channel) == "changes" for channel in channels_of(name))


def _cross_units(
    levels: Mapping[str, Floats], channels: Mapping[str, Channel]
) -> dict[str, tuple[Floats | float, Floats]]:
    """Return, by cross feature with a unit, what is subtracted from it and what it is divided by."""
    pressure, flow = (levels[channel] for channel in CROSS_CHANNELS)
    p_spread, q_spread = (channels[channel].spread for channel in CROSS_CHANNELS)
    flow_size = np.maximum(np.abs(flow), q_spread)
    if all(channels[channel].relation == "ratio" for channel in CROSS_CHANNELS):
        pressure_size = np.maximum(np.abs(pressure), p_spread)
        return {
            POWER: (0.0, pressure_size * flow_size / BAR_L_MIN_PER_KW),
            RESISTANCE: (0.0, pressure_size / flow_size),
        }
    power_spread = (p_spread * flow_size + q_spread * np.abs(pressure)) / BAR_L_MIN_PER_KW
    return {
        POWER: (pressure * flow / BAR_L_MIN_PER_KW, power_spread),
        RESISTANCE: (pressure / flow_size, p_spread / flow_size),
    }
