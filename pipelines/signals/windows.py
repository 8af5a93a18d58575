"""A window of sensor values, and many of them stacked for one vectorised pass.

Requests, stored readings and recordings all reach the features in this shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Simultaneous samples of some channels of one machine.

    Attributes:
        values: By channel, samples in order of time, all of one length; a channel not measured is absent.
        rate_hz: Samples a second.

    Shapes: each array `float64[L]`, L >= 1.
    """

    values: Mapping[str, Floats]
    rate_hz: float

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes as one block of bytes: an array of its own a channel costs five times that."""
        block = b"".join(samples.tobytes() for samples in self.values.values())
        return _unpacked, (tuple(self.values), block, self.rate_hz)

    @property
    def samples(self) -> int:
        """Number of samples in each channel."""
        return len(next(iter(self.values.values()))) if self.values else 0

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.samples / self.rate_hz


def _unpacked(names: tuple[str, ...], block: bytes, rate_hz: float) -> Window:
    values = np.frombuffer(block).reshape(len(names), -1)
    return Window(dict(zip(names, values, strict=True)), rate_hz)


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Windows side by side.

    Attributes:
        values: `float64[N, C, L]`; NaN where a channel is absent or a window shorter than the longest.
        channels: The C channel names, in the family's order.
        rate_hz: `float64[N]`.
    """

    values: Floats
    channels: tuple[str, ...]
    rate_hz: Floats


def stack(windows: Sequence[Window], channels: Sequence[str]) -> Stack:
    """Lay windows of unequal length and unequal channels side by side, padded with NaN."""
    longest = max((window.samples for window in windows), default=0)
    values = np.full((len(windows), len(channels), longest), np.nan)
    for row, window in enumerate(windows):
        for column, channel in enumerate(channels):
            samples = window.values.get(channel)
            if samples is not None:
                values[row, column, : len(samples)] = samples
    return Stack(values, tuple(channels), np.array([window.rate_hz for window in windows], dtype=np.float64))
