"""Readings that lie in no table, thinned as those that do: what stands for a part is the same, wherever it was kept."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from serve_app.store.chunks import Chunk
from serve_app.store.columns import SECOND, micros_of, moment_of
from serve_app.store.records import Series
from serve_app.store.rollups import figures_of
from serve_app.store.spans import Point, in_order, pieces, width_of

Pair = tuple[float, float]


class Part(NamedTuple):
    """What stands for one part of a span, as the database keeps it: of greatest the time is negative, to sort alike."""

    least: Pair
    greatest: Pair
    first: Pair
    last: Pair

    def joined(self, other: "Part") -> "Part":
        """Return what stands for both."""
        return Part(
            min(self.least, other.least),
            max(self.greatest, other.greatest),
            min(self.first, other.first),
            max(self.last, other.last),
        )

    def points(self) -> Iterable[Point]:
        """Return the points that are shown."""
        (least, least_at), (greatest, greatest_at) = self.least, self.greatest
        pairs = self.first, (least_at, least), (-greatest_at, greatest), self.last
        return [(datetime.fromtimestamp(epoch, UTC), value) for epoch, value in pairs]


@dataclass
class _Channel:
    count: int = 0
    few: list[Point] = field(default_factory=list)  # all of them, while they are no more than are shown
    parts: dict[int, Part] = field(default_factory=dict)

    def join(self, place: int, part: Part) -> None:
        known = self.parts.get(place)
        self.parts[place] = part if known is None else known.joined(part)


class Thinning:
    """A span that is put together bit by bit, in any order; each moment of a channel may come once."""

    def __init__(self, begin: datetime, end: datetime, points: int) -> None:
        width = width_of(begin, end, points)
        cut = pieces(begin, end, width)
        # A reading belongs to the part in which its summary begins, where the database would read one.
        self._borders = np.array([micros_of(piece.begin) for piece in cut])
        self._steps = np.array([piece.step_s * SECOND or 1 for piece in cut])
        self._begin, self._end = micros_of(begin), micros_of(end)
        self._points, self._width_s = points, width.total_seconds()
        self._channels: dict[str, _Channel] = {}

    def add(self, chunk: Chunk) -> None:
        """Add readings; those outside the span are left out."""
        first, last = np.searchsorted(chunk.micros, (self._begin, self._end))
        micros, values = chunk.micros[first:last], chunk.values[first:last]
        if not len(micros):
            return
        own = self._channels.setdefault(chunk.channel, _Channel())
        own.count += len(micros)
        if own.count <= self._points:
            own.few += zip(map(moment_of, micros.tolist()), values.tolist(), strict=True)
        else:
            own.few.clear()
        steps = self._steps[np.searchsorted(self._borders, micros, "right") - 1]
        places = np.floor((micros - micros % steps - self._begin) / SECOND / self._width_s).astype(np.int64)
        runs = np.flatnonzero(np.diff(places, prepend=-1))
        _, _, *numbers = (each.tolist() for each in figures_of(micros, values, runs))
        for place, *ends in zip(places[runs].tolist(), *numbers, strict=True):
            own.join(place, Part(*((one, other) for one, other in list(pairwise(ends))[::2])))

    def put(self, channel: str, count: int, parts: Mapping[int, Part]) -> None:
        """Add what the database has thinned, of a channel with more readings than are shown."""
        own = self._channels.setdefault(channel, _Channel())
        own.count += count
        own.few.clear()
        for place, part in parts.items():
            own.join(place, part)

    def series(self) -> list[Series]:
        """Return each channel as it is shown, in the order of names."""
        return [
            Series(name, own.count, in_order(own.few if own.count <= self._points else shown(own.parts.values())))
            for name, own in sorted(self._channels.items())
        ]


def shown(parts: Iterable[Part]) -> Iterable[Point]:
    """Return the points of all parts."""
    return (point for part in parts for point in part.points())
