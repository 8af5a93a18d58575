"""Reads from features how far each channel of one window lies from its own normal, with the error of saying so.

What `hypotheses` explains and `evidence` puts into words.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.base import FeatureTable
from pipelines.diagnosis.patterns import KELVIN, QUANTITIES, quantity_of
from pipelines.machines.family import Family, by_family
from pipelines.signals.features import feature_names
from pipelines.signals.windows import Floats

STATISTICS = ("mean", "std", "min", "max", "flat")
# Windows below which a normal says too little to explain anything by. Source: that of `commissioning.LEAST`.
LEAST = 5.0
# What the table of patterns does not know of a level: logarithm of the ratio, by quantity; kelvin for temperature.
# Source: own choice; a class 1 pressure sensor and a class 2 flow sensor between two services, a day's warming, the
# mounting of an accelerometer.
LEVEL_ERROR = {"pressure": 0.015, "flow": 0.015, "temperature": 2.5, "vibration": 0.08}
# The same of a spread. Source: the standard deviation of ten samples is known to a quarter.
SPREAD_ERROR = 0.25
# A spread below this share of the level, or this many kelvin, is rounding. Source: own choice; a tenth of a per cent is
# the step of a 10-bit sensor.
SPREAD_LEAST, SPREAD_LEAST_K = 1e-3, 0.05
# The same of a thermometer that repeats its reading from sample to sample more often than not: its steps are coarse.
# Source: own choice; a reading that changes by one step of half a kelvin within a window spreads by a quarter.
STANDS, SPREAD_COARSE_K = 0.5, 0.25
# Source: own choice; a calm channel has no peaks to speak of.
PEAKED = 0.7
# Source: own choice; below a fiftieth of its normal a signal is zero.
ZERO = 0.02
# Source: own choice; a channel that always stands still for parts of a window may do so for the whole of one.
FROZEN_DEVIATIONS = 4.0
# Oil is still by nature: a thermometer must have flickered nearly all of the time. Source: own choice.
FLICKERS = 0.25
LARGEST = 3.0


class Moves(NamedTuple):
    """How C channels of known quantity stand to their normal.

    Attributes:
        names: Of the channels.
        places: Place of each one's quantity among `QUANTITIES`.
        kelvin: Whether it is a temperature.
        now: Level in the channel's unit; `normal` likewise.
        level: Logarithm of the ratio to normal, kelvin for a temperature.
        z: The move in the system's own standard deviations.
        spread: Logarithm of the ratio of the standard deviation within the window to normal.
        peaked: Whether that is large enough to ask for the shape of its peaks.
        lopsided: 0 where the highest and the lowest sample lie equally far from the mean, to 1.
        zero: Whether the lowest sample is zero where normal is not.
        frozen: Whether it stands still to the last digit where it never did.
    """

    names: tuple[str, ...]
    units: tuple[str, ...]
    places: NDArray[np.int64]
    kelvin: NDArray[np.bool_]
    now: Floats
    normal: Floats
    level: Floats
    level_error: Floats
    z: Floats
    spread: Floats
    spread_error: Floats
    peaked: NDArray[np.bool_]
    lopsided: Floats
    zero: NDArray[np.bool_]
    frozen: NDArray[np.bool_]


@by_family
def _columns(family: Family) -> tuple[tuple[str, ...], tuple[str, ...], NDArray[np.int64], NDArray[np.int64]]:
    """Return the channels of known quantity: names, units, places of the quantity, and of each statistic's feature."""
    features = feature_names(family)
    known = {name: found for name, channel in family.channels.items() if (found := quantity_of(channel.unit))}
    columns = [[features.index(f"{name}_{word}") for word in STATISTICS] for name in known]
    units = tuple(family.channels[name].unit for name in known)
    quantities = np.array([QUANTITIES.index(quantity) for quantity in known.values()], dtype=np.int64)
    return tuple(known), units, quantities, np.array(columns, dtype=np.int64).reshape(-1, len(STATISTICS))


def moves_of(family: Family, table: FeatureTable, row: int) -> Moves | None:
    """Return how the channels of one window moved; None where no channel has a normal to move from."""
    names, units, places, columns = _columns(family)
    if not names:
        return None
    raw, centre, scatter = (part[row][columns].T for part in (table.raw, table.centre, table.scatter))
    count = table.count[row][columns[:, 0]]
    known = np.isfinite(raw[0]) & np.isfinite(centre[0]) & (count >= LEAST)
    if not known.any():
        return None
    raw, centre, scatter, count = raw[:, known], centre[:, known], scatter[:, known], count[known]
    chosen = tuple(np.array(names)[known].tolist())
    unit_of = tuple(np.array(units)[known].tolist())
    places = places[known]
    kelvin = places == QUANTITIES.index("temperature")
    factor = np.array([KELVIN.get(unit, 1.0) for unit in unit_of])
    least = np.array([family.channels[name].spread for name in chosen])
    size = np.where(kelvin, 1 / factor, np.maximum(np.abs(centre[0]), least))
    level, level_error = _level(raw[0], centre[0], size, places)
    rounding = np.where(centre[4] > STANDS, SPREAD_COARSE_K, SPREAD_LEAST_K) / factor
    spread, spread_error = _spread(raw[1], centre[1], scatter[1], np.where(kelvin, rounding, SPREAD_LEAST * size))
    up, down = raw[3] - raw[0], raw[0] - raw[2]
    wide = np.maximum(up + down, 1e-12)
    return Moves(
        names=chosen,
        units=unit_of,
        places=places,
        kelvin=kelvin,
        now=raw[0],
        normal=centre[0],
        level=level,
        # The scatter of a normal level tells how far it wanders; few windows do not know it well.
        level_error=np.hypot(level_error, scatter[0] / size * np.sqrt(1 + 1 / count)),
        z=(raw[0] - centre[0]) / np.maximum(scatter[0], 1e-12),
        spread=spread,
        spread_error=spread_error,
        peaked=spread > PEAKED,
        lopsided=np.abs(up - down) / wide,
        zero=(np.abs(raw[2]) <= ZERO * size) & (centre[2] > 5 * ZERO * size),
        frozen=(raw[2] == raw[3])
        & (centre[4] + FROZEN_DEVIATIONS * scatter[4] < 1.0)
        & (~kelvin | (centre[4] < FLICKERS)),
    )


def _level(now: Floats, normal: Floats, size: Floats, places: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return the logarithm of the ratio of levels to normal, kelvin for temperatures, and what is never known of it."""
    apart = (now - normal) / size
    ratio = np.log(np.maximum(now / size, ZERO)) - np.log(np.maximum(normal / size, ZERO))
    # About zero a ratio says nothing.
    level = np.where(normal > 0.5 * size, ratio, np.clip(apart, -LARGEST, LARGEST))
    kelvin = places == QUANTITIES.index("temperature")
    return np.where(kelvin, apart, level), np.array([LEVEL_ERROR[QUANTITIES[place]] for place in places])


def _spread(now: Floats, normal: Floats, scatter: Floats, least: Floats) -> tuple[Floats, Floats]:
    """Return the logarithm of the ratio of the standard deviation within a window to normal, and its error."""
    now, normal = np.maximum(np.nan_to_num(now), least), np.maximum(np.nan_to_num(normal), least)
    error = np.hypot(SPREAD_ERROR, np.minimum(np.nan_to_num(scatter) / normal, 1.0))
    return np.clip(np.log(now / normal), -2 * LARGEST, 2 * LARGEST), error
