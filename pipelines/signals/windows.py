"""A window of sensor values, and many of them stacked for one vectorised pass.

Requests, stored readings and recordings all reach the features in this shape.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Window:
    """Simultaneous samples of some channels of one machine.

    Attributes:
        values: By channel, samples in order of time, all of one length; a channel not measured is absent.
        rate_hz: Samples a second.
        missing: By channel, how many of its samples were not there and stand on the line between their neighbours.

    Shapes: each array `float64[L]`, L >= 1.
    """

    values: Mapping[str, Floats]
    rate_hz: float
    missing: tuple[tuple[str, int], ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes as one block of bytes: an array of its own a channel costs five times that."""
        block = b"".join(samples.tobytes() for samples in self.values.values())
        return _unpacked, (tuple(self.values), block, self.rate_hz, self.missing)

    @property
    def samples(self) -> int:
        """Number of samples in each channel."""
        return len(next(iter(self.values.values()))) if self.values else 0

    @property
    def seconds(self) -> float:
        """Length of the window."""
        return self.samples / self.rate_hz


def _unpacked(
    names: tuple[str, ...], block: bytes, rate_hz: float, missing: tuple[tuple[str, int], ...] = ()
) -> Window:
    values = np.frombuffer(block).reshape(len(names), -1)
    return Window(dict(zip(names, values, strict=True)), rate_hz, missing)


def filled(samples: Floats) -> Floats:
    """Return samples with those that are missing on the line between their neighbours, at the ends as the nearest is.

    Shapes: `float64[L]`, NaN where one is missing, not all of them.
    """
    known = np.flatnonzero(~np.isnan(samples))
    return np.interp(np.arange(len(samples)), known, samples[known])


def mended(window: Window, share: float) -> Window:
    """Return a window with its missing samples filled in channels that lack no more than a share of them."""
    gone = {name: int(np.isnan(samples).sum()) for name, samples in window.values.items()}
    few = {name: count for name, count in gone.items() if 0 < count <= share * window.samples}
    if not few:
        return window
    values = {name: filled(samples) if name in few else samples for name, samples in window.values.items()}
    return Window(values, window.rate_hz, tuple(few.items()))


def stored_window(kept: Mapping[str, Any]) -> Window:
    """Return a window as the store keeps it: `{"values": {channel: [..]}, "rate_hz": .., "missing": {channel: ..}}`."""
    values = {name: np.array(samples, dtype=np.float64) for name, samples in kept["values"].items()}
    return Window(values, float(kept["rate_hz"]), tuple(kept.get("missing", {}).items()))


def to_store(window: Window) -> dict[str, Any]:
    """Return what `stored_window` reads."""
    kept: dict[str, Any] = {"values": {name: samples.tolist() for name, samples in window.values.items()}}
    kept["rate_hz"] = window.rate_hz
    return kept | ({"missing": dict(window.missing)} if window.missing else {})


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
