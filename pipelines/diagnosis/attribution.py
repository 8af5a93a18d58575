"""Last step of detect: which channel speaks for an anomaly, and which way it stands.

Exists so that a technician reads a sensor's name and not a feature's.
"""

from collections.abc import Sequence

import numpy as np

from configs.families import Family
from pipelines.detectors.base import Sheet
from pipelines.diagnosis.records import Attribution, Direction
from pipelines.signals.features import CROSS, LEVELS, channels_of, statistic_of
from pipelines.signals.windows import Floats


def attribute(family: Family, sheet: Sheet, contributions: Floats) -> list[tuple[Attribution, ...]]:
    """Gather the features' shares by channel, the largest first; a channel that was not measured has none.

    A cross feature counts half for each of its two channels. The shares add up as those of the features do.

    Shapes: `contributions` `float64[N, F]`.
    """
    channels = tuple(family.channels)
    by_channel = contributions @ _uses(sheet.names, channels, ())
    by_spread = contributions @ _uses(sheet.names, channels, (*LEVELS, "slope"))
    means = [sheet.names.index(f"{channel}_mean") for channel in channels]
    typical = np.array([channel.typical for channel in family.channels.values()])
    level = np.where(np.isnan(sheet.centre[:, means]), typical, sheet.centre[:, means])
    above = sheet.raw[:, means] >= level
    measured = ~np.isnan(sheet.raw[:, means])
    # What says how a channel moves, against what says where it stands; only what speaks for an anomaly counts.
    moves = by_spread > np.maximum(by_channel - by_spread, 0.0)
    return [
        _ranked(channels, by_channel[row], above[row], moves[row], measured[row]) for row in range(len(contributions))
    ]


def _uses(names: Sequence[str], channels: Sequence[str], without: Sequence[str]) -> Floats:
    """Return how much of each feature counts for each channel, leaving out some statistics.

    Shapes: `float64[F, C]`.
    """
    uses = np.zeros((len(names), len(channels)))
    for row, name in enumerate(names):
        parts = channels_of(name)
        if statistic_of(name) not in without and not (without and name in CROSS):
            for channel in parts:
                uses[row, channels.index(channel)] = 1 / len(parts)
    return uses


def _ranked(
    channels: Sequence[str], shares: Floats, above: Sequence[bool], moves: Sequence[bool], measured: Sequence[bool]
) -> tuple[Attribution, ...]:
    order = np.argsort(-np.abs(shares), kind="stable")
    return tuple(
        Attribution(channels[place], float(shares[place]), _direction(above[place], moves[place]))
        for place in order
        if measured[place]
    )


def _direction(above: bool, moves: bool) -> Direction:
    if moves:
        return "unsteady"
    return "high" if above else "low"
