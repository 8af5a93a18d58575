"""Finds where in its load cycle each sample of a window lies, for machines that repeat one.

The place is found in the signals themselves, by the best fit to the family's profile; no clock or sample number enters.
So `features` compares windows that begin anywhere at the same point of the load.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipelines.machines.family import Cycle
from pipelines.signals.windows import Floats

# Source: own choice; below a thousandth of the level, or a hundredth of the profile's own deviation, the two sides of a
# load step differ by sensor noise.
LEVEL_FLOOR, PROFILE_FLOOR = 1e-3, 1e-2


def read_cycle(values: Floats, rate_hz: float, channels: Sequence[str], cycle: Cycle) -> Floats:
    """Return, by channel of the cycle, its mean in each phase; then, by channel of the profile, each load step's share.

    A load step read as the share of it that is done does not depend on level or heat, so a late valve reads alike on a
    cold and a hot machine.

    Shapes: `values` `float64[N, C, L]` -> `float64[N, channels x phases + profiled channels x load steps]`.
    """
    means = phase_means(values, rate_hz, channels, cycle)
    step, before, after = np.array(cycle.load_steps, dtype=np.int64).reshape(-1, 3).T
    profiled = means[:, [cycle.channels.index(name) for name in cycle.profile]]
    size = profiled[:, :, after] - profiled[:, :, before]
    level = np.maximum(np.abs(profiled[:, :, after]), np.abs(profiled[:, :, before]))
    noise = PROFILE_FLOOR * np.array([np.std(expected) for expected in cycle.profile.values()])
    least = np.maximum(LEVEL_FLOOR * level, noise[:, None])
    done = profiled[:, :, step] - profiled[:, :, before]
    shares = np.full_like(size, np.nan)
    np.divide(done, size, out=shares, where=np.abs(size) > least)
    return np.concatenate([means.reshape(len(values), -1), shares.reshape(len(values), -1)], axis=1)


def phase_means(values: Floats, rate_hz: float, channels: Sequence[str], cycle: Cycle) -> Floats:
    """Return the mean of each of the cycle's channels in each of its phases.

    A window longer than a cycle is read from its last cycle on. Phases that it does not touch are NaN, and so are all
    phases where no channel of the profile was measured or the rate is below the profile's.

    Shapes: `values` `float64[N, C, L]` -> `float64[N, len(cycle.channels), len(cycle.phases)]`.
    """
    shape = len(values), len(cycle.channels), len(cycle.phases)
    steps = len(next(iter(cycle.profile.values())))
    per_step = rate_hz * cycle.seconds / steps
    count = min(int(values.shape[2] / per_step + 1e-9), steps)
    if per_step < 1 or count < 1:
        return np.full(shape, np.nan)
    grid = _on_grid(values, per_step, count)
    place = (_start(grid, channels, cycle)[:, None] + np.arange(count)) % steps
    phase = np.searchsorted(cycle.phases, place, side="right") - 1
    read = grid[:, [channels.index(name) for name in cycle.channels]]
    means = np.full(shape, np.nan)
    for number in range(len(cycle.phases)):
        inside = phase == number
        samples = inside.sum(axis=1)
        total = np.where(inside[:, None, :], read, 0.0).sum(axis=2)
        means[:, :, number] = np.where(samples[:, None] > 0, total / np.maximum(samples, 1)[:, None], np.nan)
    # Without any channel of the profile, the place in the cycle is not known.
    lost = np.isnan(grid[:, [channels.index(name) for name in cycle.profile], 0]).sum(axis=1) == len(cycle.profile)
    means[lost] = np.nan
    return means


def _on_grid(values: Floats, per_step: float, count: int) -> Floats:
    """Return the means over the last `count` steps of the profile's own spacing."""
    if per_step == 1:
        return np.ascontiguousarray(values[:, :, -count:])
    edges = values.shape[2] - np.round(np.arange(count, -1, -1) * per_step).astype(np.int64)
    sums = np.add.reduceat(values[:, :, edges[0] :], edges[:-1] - edges[0], axis=2)
    grid: Floats = sums / np.diff(edges)
    return grid


def _start(grid: Floats, channels: Sequence[str], cycle: Cycle) -> NDArray[np.int64]:
    """Return the step of the profile at which each window begins: the least squared distance from it.

    Shapes: `float64[N, C, count]` -> `int64[N]`.
    """
    steps = len(next(iter(cycle.profile.values())))
    distance = np.zeros((len(grid), steps))
    for name, profile in cycle.profile.items():
        expected = np.array(profile)
        read, scale = grid[:, channels.index(name)], expected.std()
        # One start at a time: all at once would hold a table of windows, starts and samples.
        for first in range(steps):
            apart = (read - np.roll(expected, -first)[: grid.shape[2]]) / scale
            distance[:, first] += np.nan_to_num((apart * apart).sum(axis=1))
    start: NDArray[np.int64] = distance.argmin(axis=1)
    return start
