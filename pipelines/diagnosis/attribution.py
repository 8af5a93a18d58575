"""Gathers the features' contributions by channel: which sensor speaks for an anomaly, and which way it stands."""

from functools import cache

import numpy as np

from pipelines.detectors.base import FeatureTable
from pipelines.diagnosis.records import Attribution, Deviation, Direction
from pipelines.machines.family import Family
from pipelines.signals.features import CROSS, LEVELS, channels_of, statistic_of
from pipelines.signals.reading import feature_of
from pipelines.signals.windows import Floats


def attribute(family: Family, table: FeatureTable, contributions: Floats) -> list[tuple[Attribution, ...]]:
    """Gather the features' shares by channel, the largest first; a channel that was not measured has none.

    A cross feature counts half for each of its two channels. The shares add up as those of the features do.

    Shapes: `contributions` `float64[N, R]`.
    """
    channels = tuple(family.channels)
    by_channel = contributions @ _uses(table.columns, channels, ())
    by_spread = contributions @ _uses(table.columns, channels, (*LEVELS, "slope", "phase"))
    means = [table.names.index(f"{channel}_mean") for channel in channels]
    typical = np.array([channel.typical for channel in family.channels.values()])
    level = np.where(np.isnan(table.centre[:, means]), typical, table.centre[:, means])
    above = table.raw[:, means] >= level
    measured = ~np.isnan(table.raw[:, means])
    own = ~np.isnan(table.centre[:, means])
    # What says how a channel moves, against what says where it stands; only what speaks for an anomaly counts.
    moves = by_spread > np.maximum(by_channel - by_spread, 0.0)
    units = [channel.unit for channel in family.channels.values()]

    def one(row: int, place: int) -> Attribution:
        value, normal = float(table.raw[row, means[place]]), float(level[row, place])
        deviation = Deviation(value, normal, units[place], bool(own[row, place]))
        direction = _direction(above[row, place], moves[row, place])
        return Attribution(channels[place], float(by_channel[row, place]), direction, deviation)

    order = np.argsort(-np.abs(by_channel), axis=1, kind="stable")
    return [tuple(one(row, place) for place in order[row] if measured[row, place]) for row in range(len(order))]


@cache
def _uses(names: tuple[str, ...], channels: tuple[str, ...], without: tuple[str, ...]) -> Floats:
    """Return how much of each feature counts for each channel, leaving out some statistics.

    Shapes: `float64[F, C]`.
    """
    uses = np.zeros((len(names), len(channels)))
    for row, name in enumerate(map(feature_of, names)):
        parts = channels_of(name)
        if statistic_of(name) not in without and not (without and name in CROSS):
            for channel in parts:
                uses[row, channels.index(channel)] = 1 / len(parts)
    return uses


def _direction(above: bool, moves: bool) -> Direction:
    if moves:
        return "unsteady"
    return "high" if above else "low"
