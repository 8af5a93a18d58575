"""Commissions a machine: from windows while it runs well to what is normal for it, by operating point.

The store keeps the outcome as bytes, `signals/reading` sets windows against it, and a window judged normal moves it a
little. Works with `operating_points`, which finds the loads that the machine runs at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from pipelines.errors import InvalidInput
from pipelines.machines.baseline import Baseline, learn
from pipelines.signals.windows import Floats

State = Literal["commissioning", "monitoring", "maintenance"]

# Windows after which a machine counts as commissioned, and the fewest from which people may say that it is.
# Source: own choice, to be measured by `make bench-machines`, which draws false and missed alarms by their number.
NEEDED, LEAST = 20, 6
MAGIC = b"HDXN\x01\x00\x00\x00"


@dataclass(frozen=True, slots=True, eq=False)
class OperatingPoint:
    """One load that a machine runs at, and what is normal for it there.

    Attributes:
        baseline: Sums of the raw features over its windows; `origin` is their mean when it was commissioned.
        shape: What the adaptive detector knows of its windows beyond that.

    Shapes: `shape` `float64[S]`.
    """

    baseline: Baseline
    shape: Floats


class Learned(NamedTuple):
    """What a window teaches: sums to add to one operating point."""

    point: int
    sums: Baseline


@dataclass(frozen=True, slots=True, eq=False)
class Normal:
    """What is normal for one system."""

    points: tuple[OperatingPoint, ...]

    @classmethod
    def of(cls, baseline: Baseline) -> "Normal":
        """Return running sums as the normal of a machine with one operating point."""
        return cls((OperatingPoint(baseline, np.zeros(0)),))

    def learning(self, learned: Learned) -> "Normal":
        """Return it with what a window taught; an operating point that is no longer there learns nothing."""
        if learned.point >= len(self.points):
            return self
        points = list(self.points)
        known = points[learned.point]
        points[learned.point] = replace(known, baseline=known.baseline + learned.sums)
        return Normal(tuple(points))

    def to_bytes(self) -> bytes:
        """Return all numbers as they are, bit for bit."""
        head = np.array([len(self.points), len(self.points[0].shape)], dtype=np.int64)
        parts = (part for point in self.points for part in (point.baseline.to_bytes(), point.shape.tobytes()))
        return b"".join([MAGIC, head.tobytes(), *parts])

    @classmethod
    def from_bytes(cls, content: bytes) -> "Normal":
        """Rebuild from `to_bytes`, or from the running sums of a system that was never commissioned."""
        if not content.startswith(MAGIC):
            return cls.of(Baseline.from_bytes(content))
        numbers = content[len(MAGIC) :]
        count, size = np.frombuffer(numbers, dtype=np.int64, count=2).tolist()
        rest = numbers[16:]
        step, tail = len(rest) // count, 8 * size
        pieces = [rest[first : first + step] for first in range(0, len(rest), step)]
        return cls(
            tuple(
                OperatingPoint(Baseline.from_bytes(piece[: step - tail]), np.frombuffer(piece[step - tail :]))
                for piece in pieces
            )
        )


def normals_of(baselines: Sequence[Baseline | None]) -> list[Normal | None]:
    """Return running sums of systems as their normals."""
    return [None if baseline is None else Normal.of(baseline) for baseline in baselines]


def commission(rows: Floats, means: Mapping[str, int]) -> Normal:
    """Learn what is normal for a machine from windows while it ran well; one in ten may be faulty.

    Args:
        rows: Raw features, one row a window.
        means: By channel, the place of its mean among the features.

    Shapes: `rows` `float64[N, F]`.

    Raises:
        InvalidInput: There are too few windows.
    """
    if len(rows) < LEAST:
        raise InvalidInput("windows", len(rows), f"must be at least {LEAST}")
    learned = [learn(row) for row in rows]
    return Normal.of(sum(learned[1:], learned[0]))
