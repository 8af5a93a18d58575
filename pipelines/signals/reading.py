"""Sets features beside what is normal for each system, and reads them as the detectors of a family do.

A detector sees levels where the family says that they mean something, and distances from the system's own level
elsewhere.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from pipelines.detectors.base import FeatureTable
from pipelines.machines.baseline import Baseline
from pipelines.machines.commissioning import Normal
from pipelines.machines.family import Channel, Family
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
    raw_features,
    statistic_of,
)
from pipelines.signals.windows import Floats, Stack, Window, stack

OWN = "~own"
# Source: water loop, recordings left out: mean and spread against the system's own carry what relative reading adds.
OWN_STATISTICS = ("mean", "std")
# Source: own choice; below a hundredth of the family's spread, a ratio divides by sensor noise.
OWN_FLOOR = 0.01


@cache
def read_names(family: Family) -> tuple[str, ...]:
    """Return the names of the columns that trained detectors read: features, and those set against the system's own."""
    names = feature_names(family)
    own = [name for name in names if name not in CROSS and _has_own(name, family)]
    return (*names, *(f"{name}{OWN}" for name in own))


def feature_of(column: str) -> str:
    """Return the feature that a column is made from."""
    return column.removesuffix(OWN)


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
    return _set_against(raw, _first_points(normals), family)


def feature_table_of(stacked: Stack, normals: Sequence[Normal | None], family: Family) -> FeatureTable:
    """Do the same for windows that are stacked already."""
    return _set_against(raw_features(stacked, family), _first_points(normals), family)


def _first_points(normals: Sequence[Normal | None]) -> list[Baseline | None]:
    return [None if normal is None else normal.points[0].baseline for normal in normals]


def _set_against(raw: Floats, baselines: Sequence[Baseline | None], family: Family) -> FeatureTable:
    """Set raw features against what is normal for each system."""
    names = feature_names(family)
    count, total, squares = _sums(baselines, len(names))
    known = np.where(count > 0, count, np.nan)
    centre = total / known
    scatter = np.sqrt(np.maximum(squares / known - centre * centre, 0.0))
    read = np.concatenate([relative(raw, centre, family), own(raw, _origins(baselines, raw), family)], axis=1)
    return FeatureTable(names, read_names(family), raw, read, centre, scatter, count)


def _sums(baselines: Sequence[Baseline | None], width: int) -> tuple[Floats, Floats, Floats]:
    """Lay baselines side by side; one that was learned on other features counts as none."""
    sums = np.zeros((3, len(baselines), width))
    for row, baseline in enumerate(baselines):
        if baseline is not None and len(baseline.count) == width:
            sums[:, row] = baseline.count, baseline.total, baseline.squares
    return sums[0], sums[1], sums[2]


def _origins(baselines: Sequence[Baseline | None], raw: Floats) -> Floats:
    """Return each system's first normal; NaN where it has not settled yet."""
    origins = np.full_like(raw, np.nan)
    for row, baseline in enumerate(baselines):
        if baseline is not None and baseline.origin is not None and len(baseline.origin) == raw.shape[1]:
            origins[row] = baseline.origin
    return origins


def own(raw: Floats, origin: Floats, family: Family) -> Floats:
    """Set the features of channels that are read both ways against the system's first normal; NaN where it has none.

    A `ratio` channel is read in shares of it, a `difference` channel as the distance in the family's spread. The first
    normal and not today's, which follows slow faults: water loop, recordings left out, AUC 0.96 against 0.94.
    """
    names = feature_names(family)
    columns = []
    for column in read_names(family)[len(names) :]:
        place = names.index(feature_of(column))
        channel = family.channels[channels_of(names[place])[0]]
        normal = origin[:, place]
        if channel.relation == "ratio":
            columns.append(raw[:, place] / np.maximum(np.abs(normal), OWN_FLOOR * channel.spread))
        else:
            columns.append((raw[:, place] - normal) / channel.spread)
    return np.stack(columns, axis=1) if columns else np.zeros((len(raw), 0))


def relative(raw: Floats, centre: Floats, family: Family) -> Floats:
    """Read features of relative channels against each system's own level, or the typical one where it has none.

    A `ratio` channel is read in shares of its level, a `difference` channel as the distance from it in units of the
    family's spread. Shape statistics and the correlation have no unit and stay, and so do channels read raw. Levels of
    channels of which only changes are read are NaN.

    Shapes: `raw`, `centre` `float64[N, F]` -> `float64[N, F]`.
    """
    names = feature_names(family)
    column = {name: place for place, name in enumerate(names)}
    shift, scale = np.zeros_like(raw), np.ones_like(raw)
    levels = {}
    for name, channel in family.channels.items():
        known = centre[:, column[f"{name}_mean"]]
        levels[name] = np.where(np.isnan(known), channel.typical, known)
    for name, place in column.items():
        if name in CROSS or family.reading_of(channels_of(name)[0]) != "relative":
            continue
        channel, level = family.channels[channels_of(name)[0]], levels[channels_of(name)[0]]
        statistic = statistic_of(name)
        is_level = statistic in LEVELS or statistic == "phase"
        if is_level or statistic in SPREADS:
            # A level near zero, as of a machine at rest, must not make every ratio huge.
            scale[:, place] = (
                np.maximum(np.abs(level), channel.spread) if channel.relation == "ratio" else channel.spread
            )
        if is_level and channel.relation == "difference":
            shift[:, place] = level
    if all(name in family.channels and family.reading_of(name) == "relative" for name in CROSS_CHANNELS):
        for name, (away, unit) in _cross_units(levels, family.channels).items():
            shift[:, column[name]], scale[:, column[name]] = away, unit
    return np.where([_is_unread(name, family) for name in names], np.nan, (raw - shift) / scale)


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
