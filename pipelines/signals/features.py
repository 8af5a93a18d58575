"""Second step of detect: from windows to the features that every detector reads.

Exists so that training, offline scoring and serving compute the very same numbers.

No feature depends on a sample's number, on the clock or on the time since start. A window gives bit for bit the same
features alone and in any batch: windows are computed in groups of equal length, so that no sum runs over padding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from configs.families import Channel, Family
from pipelines.detectors.base import Baseline, Sheet
from pipelines.signals.windows import Floats, Stack, Window, stack

LEVELS = ("mean", "min", "max")
SPREADS = ("std", "range", "slope", "step")
SHAPES = ("spike", "flat")
STATISTICS = LEVELS + SPREADS + SHAPES

POWER, CORRELATION, RESISTANCE = "hydraulic_power_kw", "pressure_flow_correlation", "pressure_per_flow"
CROSS = (POWER, CORRELATION, RESISTANCE)
CROSS_CHANNELS = ("pressure", "flow")

# Source: P[kW] = p[bar] * Q[l/min] / 600 (1e5 Pa / (6e4 l/min per m3/s) / 1e3 W).
BAR_L_MIN_PER_KW = 600.0
# Source: own choice; below a hundredth of the typical flow, p / Q divides by sensor noise.
FLOW_FLOOR = 0.01
# Source: own choice; nine samples in ten lie between them, so that one wild sample does not count.
RANGE_EDGES = (0.05, 0.95)


def feature_names(family: Family) -> tuple[str, ...]:
    """Return the names of all features of a family, in order."""
    names = [f"{channel}_{statistic}" for channel in family.channels for statistic in STATISTICS]
    return (*names, *(CROSS if _has_cross(family) else ()))


def channels_of(feature: str) -> tuple[str, ...]:
    """Return the channels that a feature is computed from."""
    return CROSS_CHANNELS if feature in CROSS else (feature.rpartition("_")[0],)


def statistic_of(feature: str) -> str:
    """Return which statistic of its channel a feature is; a cross feature is its own."""
    return feature if feature in CROSS else feature.rpartition("_")[2]


def _has_cross(family: Family) -> bool:
    return all(channel in family.channels for channel in CROSS_CHANNELS)


def raw_features(stacked: Stack, family: Family) -> Floats:
    """Compute the features of stacked windows in physical units.

    Shapes: `Stack` of N windows over the family's channels -> `float64[N, F]`; NaN for a missing channel.
    """
    features = np.full((len(stacked.values), len(feature_names(family))), np.nan)
    measured: NDArray[np.bool_] = ~np.all(np.isnan(stacked.values), axis=1)
    lengths = (measured * np.arange(1, measured.shape[1] + 1)).max(axis=1, initial=0)
    for length in np.unique(lengths[lengths > 0]):
        rows = np.flatnonzero(lengths == length)
        # Contiguous in time: numpy then adds each window's samples in one and the same order, whatever N is.
        values = np.ascontiguousarray(stacked.values[rows, :, :length])
        features[rows] = _equal_length(values, stacked.rate_hz[rows], stacked.channels, family)
    return features


def _equal_length(values: Floats, rate_hz: Floats, channels: Sequence[str], family: Family) -> Floats:
    """Compute the features of windows that all have the same number of samples, without padding."""
    mean = values.mean(axis=2)
    centred = values - mean[:, :, None]
    square = (centred * centred).mean(axis=2)
    low, high = values.min(axis=2), values.max(axis=2)
    # The mean of equal numbers may miss them by a rounding error, and that error is no spread.
    std = np.where(low == high, 0.0, np.sqrt(square))
    statistics = {
        "mean": mean,
        "std": std,
        "min": low,
        "max": high,
        "range": _inner_range(values),
        "slope": _slope(centred, rate_hz),
        "step": _mean_step(values),
        "spike": _spike(centred, std),
        "flat": _longest_rest(values),
    }
    table = np.stack([statistics[name] for name in STATISTICS], axis=2).reshape(len(values), -1)
    if not _has_cross(family):
        return table
    pressure, flow = (channels.index(channel) for channel in CROSS_CHANNELS)
    power = (values[:, pressure] * values[:, flow]).mean(axis=1) / BAR_L_MIN_PER_KW
    shared = (centred[:, pressure] * centred[:, flow]).mean(axis=1)
    least = FLOW_FLOOR * abs(family.channels["flow"].typical)
    cross = [
        power,
        np.clip(_divide(shared, std[:, pressure] * std[:, flow], 0.0), -1.0, 1.0),
        _divide(mean[:, pressure], mean[:, flow], least),
    ]
    return np.concatenate([table, np.stack(cross, axis=1)], axis=1)


def _divide(over: Floats, under: Floats, least: float) -> Floats:
    """Divide where the divisor's size is above `least`, else NaN."""
    result = np.full_like(over, np.nan)
    np.divide(over, under, out=result, where=np.abs(under) > least)
    return result


def _inner_range(values: Floats) -> Floats:
    """Return the distance from the 5 % to the 95 % quantile, interpolated linearly."""
    ordered = np.sort(values, axis=2)
    low, high = (_at(ordered, share) for share in RANGE_EDGES)
    return high - low


def _at(ordered: Floats, share: float) -> Floats:
    place = share * (ordered.shape[2] - 1)
    before = int(place)
    after = min(before + 1, ordered.shape[2] - 1)
    result: Floats = ordered[:, :, before] + (place - before) * (ordered[:, :, after] - ordered[:, :, before])
    return result


def _slope(centred: Floats, rate_hz: Floats) -> Floats:
    """Return the least-squares slope a second; NaN for one sample."""
    place = np.arange(centred.shape[2]) - (centred.shape[2] - 1) / 2
    if len(place) < 2:
        return np.full(centred.shape[:2], np.nan)
    slope: Floats = (centred * place).sum(axis=2) / (place * place).sum() * rate_hz[:, None]
    return slope


def _mean_step(values: Floats) -> Floats:
    """Return the mean size of the change from one sample to the next; NaN for one sample."""
    if values.shape[2] < 2:
        return np.full(values.shape[:2], np.nan)
    step: Floats = np.abs(np.diff(values, axis=2)).mean(axis=2)
    return step


def _spike(centred: Floats, std: Floats) -> Floats:
    """Return the largest distance from the mean in standard deviations; 0 where nothing moves."""
    largest = np.abs(centred).max(axis=2)
    spike = np.where(np.isnan(std), np.nan, 0.0)
    np.divide(largest, std, out=spike, where=std > 0)
    return spike


def _longest_rest(values: Floats) -> Floats:
    """Return the longest stretch of steps without any change, as a share of all steps: 1 for a stuck sensor."""
    if values.shape[2] < 2:
        return np.full(values.shape[:2], np.nan)
    still = np.diff(values, axis=2) == 0
    run = np.cumsum(still, axis=2)
    longest = (run - np.maximum.accumulate(np.where(still, 0, run), axis=2)).max(axis=2)
    return np.where(np.isnan(values).any(axis=2), np.nan, longest / still.shape[2])


def make_sheet(windows: Sequence[Window], baselines: Sequence[Baseline | None], family: Family) -> Sheet:
    """Compute the features of windows, raw and as the family reads them, beside what is normal for each system."""
    names = feature_names(family)
    raw = raw_features(stack(windows, tuple(family.channels)), family)
    count, total, squares = _sums(baselines, len(names))
    centre = _divide(total, count, 0.0)
    scatter = np.sqrt(np.maximum(_divide(squares, count, 0.0) - centre * centre, 0.0))
    read = raw.copy() if family.reading == "raw" else relative(raw, centre, family)
    return Sheet(names, raw, read, centre, scatter, count.max(axis=1, initial=0.0))


def _sums(baselines: Sequence[Baseline | None], width: int) -> tuple[Floats, Floats, Floats]:
    """Lay baselines side by side; one that was learned on other features counts as none."""
    sums = np.zeros((3, len(baselines), width))
    for row, baseline in enumerate(baselines):
        if baseline is not None and len(baseline.count) == width:
            sums[:, row] = baseline.count, baseline.total, baseline.squares
    return sums[0], sums[1], sums[2]


def relative(raw: Floats, centre: Floats, family: Family) -> Floats:
    """Read features against each system's own level, or the family's typical one where it has none.

    A `ratio` channel is read in shares of its level, a `difference` channel as the distance from it in units of the
    family's spread. Shape statistics and the correlation have no unit and stay.

    Shapes: `raw`, `centre` `float64[N, F]` -> `float64[N, F]`.
    """
    names = feature_names(family)
    column = {name: place for place, name in enumerate(names)}
    shift, scale = np.zeros_like(raw), np.ones_like(raw)
    levels = {}
    for name, channel in family.channels.items():
        own = centre[:, column[f"{name}_mean"]]
        level = levels[name] = np.where(np.isnan(own), channel.typical, own)
        # A level near zero, as of a machine at rest, must not make every ratio huge.
        unit = np.maximum(np.abs(level), channel.spread) if channel.relation == "ratio" else channel.spread
        for statistic in LEVELS + SPREADS:
            scale[:, column[f"{name}_{statistic}"]] = unit
        if channel.relation == "difference":
            for statistic in LEVELS:
                shift[:, column[f"{name}_{statistic}"]] = level
    if _has_cross(family):
        for name, (away, unit) in _cross_units(levels, family.channels).items():
            shift[:, column[name]], scale[:, column[name]] = away, unit
    return (raw - shift) / scale


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


def level_columns(names: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which features are a channel's mean: the only ones that do not depend on a window's length.

    Shapes: `bool[F]`.
    """
    return np.array([statistic_of(name) == "mean" for name in names])


def learn(row: Floats) -> Baseline:
    """Return what one window adds to its system's baseline.

    Shapes: `row` is one row of raw features, `float64[F]`.
    """
    known = np.isfinite(row)
    value = np.where(known, row, 0.0)
    return Baseline(known.astype(np.float64), value, value * value)
