"""Computes from windows the features that every detector reads, in training, offline scoring and serving.

No feature depends on a sample's number, on the clock or on the time since start. A window gives bit for bit the same
features alone and in any batch: windows are computed in groups of equal length, so that no sum runs over padding.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.machines.family import Family, by_family
from pipelines.signals.cycle import read_cycle
from pipelines.signals.windows import Floats, Stack

LEVELS = ("mean", "min", "max")
SPREADS = ("std", "range", "slope", "step")
SHAPES = ("spike", "flat")
STATISTICS = LEVELS + SPREADS + SHAPES
TAIL_STATISTICS = (*LEVELS, "std", "slope", "step")

POWER, CORRELATION, RESISTANCE = "hydraulic_power_kw", "pressure_flow_correlation", "pressure_per_flow"
CROSS = (POWER, CORRELATION, RESISTANCE)
CROSS_CHANNELS = ("pressure", "flow")

# After this sign a name says what part of the window it is of: `flow_mean@5s`, `flow_phase@07`, `flow_done@01`.
SCOPE, TAIL = "@", "s"

# Source: P[kW] = p[bar] * Q[l/min] / 600 (1e5 Pa / (6e4 l/min per m3/s) / 1e3 W).
BAR_L_MIN_PER_KW = 600.0
# Source: own choice; below a hundredth of the typical flow, p / Q divides by sensor noise.
FLOW_FLOOR = 0.01
# Source: own choice; nine samples in ten lie between them, so that one wild sample does not count.
RANGE_EDGES = (0.05, 0.95)


@by_family
def feature_names(family: Family) -> tuple[str, ...]:
    """Return the names of all features of a family, in order."""
    names = [f"{channel}_{statistic}" for channel in family.channels for statistic in STATISTICS]
    names += CROSS if _has_cross(family) else ()
    for tail_s in family.tails_s:
        names += [f"{channel}_{word}{SCOPE}{tail_s:g}{TAIL}" for channel in family.channels for word in TAIL_STATISTICS]
    if family.cycle:
        phases = range(len(family.cycle.phases))
        names += [f"{channel}_phase{SCOPE}{phase:02d}" for channel in family.cycle.channels for phase in phases]
        steps = [step for step, _, _ in family.cycle.load_steps]
        names += [f"{channel}_done{SCOPE}{step:02d}" for channel in family.cycle.profile for step in steps]
    return tuple(names)


def channels_of(feature: str) -> tuple[str, ...]:
    """Return the channels that a feature is computed from."""
    return CROSS_CHANNELS if feature in CROSS else (feature.partition(SCOPE)[0].rpartition("_")[0],)


def statistic_of(feature: str) -> str:
    """Return which statistic of its channel a feature is; a cross feature is its own."""
    return feature if feature in CROSS else feature.partition(SCOPE)[0].rpartition("_")[2]


def scope_of(feature: str) -> str:
    """Return the part of the window that a feature is of; empty for the whole."""
    return feature.partition(SCOPE)[2]


def mean_places(family: Family) -> dict[str, int]:
    """Return, by channel, the place of its mean among the features."""
    return {channel: feature_names(family).index(f"{channel}_mean") for channel in family.channels}


def _has_cross(family: Family) -> bool:
    return all(channel in family.channels for channel in CROSS_CHANNELS)


def raw_features(stacked: Stack, family: Family) -> Floats:
    """Compute the features of stacked windows in physical units.

    Shapes: `Stack` of N windows over the family's channels -> `float64[N, F]`; NaN for a missing channel.
    """
    features = np.full((len(stacked.values), len(feature_names(family))), np.nan)
    measured: NDArray[np.bool_] = ~np.all(np.isnan(stacked.values), axis=1)
    lengths = (measured * np.arange(1, measured.shape[1] + 1)).max(axis=1, initial=0)
    kinds = np.stack([lengths.astype(np.float64), stacked.rate_hz], axis=1)
    for length, rate_hz in np.unique(kinds[lengths > 0], axis=0):
        rows = np.flatnonzero((kinds == (length, rate_hz)).all(axis=1))
        # Contiguous in time: numpy then adds each window's samples in one and the same order, whatever N is.
        values = np.ascontiguousarray(stacked.values[rows, :, : int(length)])
        features[rows] = _alike(values, float(rate_hz), stacked.channels, family)
    return features


def _alike(values: Floats, rate_hz: float, channels: Sequence[str], family: Family) -> Floats:
    """Compute the features of windows of one length and one rate, without padding."""
    whole = _statistics(values, rate_hz)
    tables = [np.stack([whole[name] for name in STATISTICS], axis=2).reshape(len(values), -1)]
    if _has_cross(family):
        tables.append(_cross(values, whole, channels, family))
    for tail_s in family.tails_s:
        last = max(1, round(tail_s * rate_hz))
        tail = _statistics(np.ascontiguousarray(values[:, :, -last:]), rate_hz)
        tables.append(np.stack([tail[name] for name in TAIL_STATISTICS], axis=2).reshape(len(values), -1))
    if family.cycle:
        tables.append(read_cycle(values, rate_hz, channels, family.cycle))
    return np.concatenate(tables, axis=1)


def _statistics(values: Floats, rate_hz: float) -> dict[str, Floats]:
    """Return by name each statistic of each channel.

    Shapes: `float64[N, C, L]` -> `float64[N, C]` each.
    """
    mean = values.mean(axis=2)
    centred = values - mean[:, :, None]
    square = (centred * centred).mean(axis=2)
    low, high = values.min(axis=2), values.max(axis=2)
    # The mean of equal numbers may miss them by a rounding error, and that error is no spread.
    std = np.where(low == high, 0.0, np.sqrt(square))
    return {
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


def _cross(values: Floats, whole: Mapping[str, Floats], channels: Sequence[str], family: Family) -> Floats:
    """Return what pressure and flow say together."""
    pressure, flow = (channels.index(channel) for channel in CROSS_CHANNELS)
    mean, std = whole["mean"], whole["std"]
    power = (values[:, pressure] * values[:, flow]).mean(axis=1) / BAR_L_MIN_PER_KW
    apart = (values[:, channel] - mean[:, channel, None] for channel in (pressure, flow))
    shared = np.prod(np.stack(list(apart)), axis=0).mean(axis=1)
    least = FLOW_FLOOR * abs(family.channels["flow"].typical)
    cross = [
        power,
        np.clip(_divide(shared, std[:, pressure] * std[:, flow], 0.0), -1.0, 1.0),
        _divide(mean[:, pressure], mean[:, flow], least),
    ]
    return np.stack(cross, axis=1)


def _divide(over: Floats, under: Floats, least: float) -> Floats:
    """Divide where the divisor's size is above `least`, else NaN."""
    result = np.full_like(over, np.nan)
    np.divide(over, under, out=result, where=np.abs(under) > least)
    return result


def _inner_range(values: Floats) -> Floats:
    """Return the distance from the 5 % to the 95 % quantile, interpolated linearly."""
    ordered = np.sort(values, axis=2)
    low, high = (_at(ordered, share) for share in RANGE_EDGES)
    # Sorting puts NaN last, so that the lower samples would pass for all of them.
    return np.where(np.isnan(ordered[:, :, -1]), np.nan, high - low)


def _at(ordered: Floats, share: float) -> Floats:
    place = share * (ordered.shape[2] - 1)
    before = int(place)
    after = min(before + 1, ordered.shape[2] - 1)
    result: Floats = ordered[:, :, before] + (place - before) * (ordered[:, :, after] - ordered[:, :, before])
    return result


def _slope(centred: Floats, rate_hz: float) -> Floats:
    """Return the least-squares slope a second; NaN for one sample."""
    place = np.arange(centred.shape[2]) - (centred.shape[2] - 1) / 2
    if len(place) < 2:
        return np.full(centred.shape[:2], np.nan)
    slope: Floats = (centred * place).sum(axis=2) / (place * place).sum() * rate_hz
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


def level_columns(names: Sequence[str]) -> NDArray[np.bool_]:
    """Tell which features are a channel's mean: the only ones that do not depend on a window's length.

    Shapes: `bool[F]`.
    """
    return np.array([not scope_of(name) and statistic_of(name) == "mean" for name in names])
