"""Readings in chunks: of one channel as many as memory holds with ease; and two streams of them made one."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from serve_app.store.columns import Micros, micros_of
from serve_app.store.spans import Point

# Readings of a chunk. Source: own choice; eight megabytes, and most channels have fewer in a day.
READINGS_MAX = 500_000


class Chunk(NamedTuple):
    """Readings of one channel, in the order of time, each moment once.

    Attributes:
        micros: Moments, in microseconds since 1970, UTC.
        values: In the unit that the system speaks.
    """

    channel: str
    micros: Micros
    values: NDArray[np.float64]

    @classmethod
    def of(cls, channel: str, points: Sequence[Point]) -> "Chunk":
        """Return points as a chunk."""
        moments, values = zip(*points, strict=True) if points else ((), ())
        return cls(channel, np.array([*map(micros_of, moments)], np.int64), np.array(values, np.float64))

    def cut(self, at: int) -> "tuple[Chunk, Chunk | None]":
        """Return what came up to a moment, and what came after it."""
        place = int(np.searchsorted(self.micros, at, "right"))
        rest = None if place == len(self.micros) else Chunk(self.channel, self.micros[place:], self.values[place:])
        return Chunk(self.channel, self.micros[:place], self.values[:place]), rest


def merged(earlier: Iterator[Chunk], later: Iterator[Chunk]) -> Iterator[Chunk]:
    """Yield the readings of two streams, each in the order of channels and time: of one moment the later value."""
    old, new = next(earlier, None), next(later, None)
    while old is not None and new is not None:
        if old.channel < new.channel:
            yield old
            old = next(earlier, None)
        elif new.channel < old.channel:
            yield new
            new = next(later, None)
        else:
            at = int(min(old.micros[-1], new.micros[-1]))
            (one, old), (other, new) = old.cut(at), new.cut(at)
            yield _joined(one, other)
            old = next(earlier, None) if old is None else old
            new = next(later, None) if new is None else new
    for first, rest in ((old, earlier), (new, later)):
        if first is not None:
            yield first
        yield from rest


def _joined(old: Chunk, new: Chunk) -> Chunk:
    micros = np.concatenate((old.micros, new.micros))
    order = np.argsort(micros, kind="stable")
    last = np.append(np.diff(micros[order]).astype(bool), True)  # of two of a moment the new one, which stands behind
    kept = order[last]
    return Chunk(old.channel, micros[kept], np.concatenate((old.values, new.values))[kept])
