"""How a span of time is read: the finest summaries that it needs, and the points that stand for the rest."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

# Summaries of a channel, in seconds, the longest first.
STEPS = (86_400, 3_600, 60)
# Points that stand for one part of a span: its first, its least, its greatest and its last.
OF_PART = 4

Point = tuple[datetime, float]


class Piece(NamedTuple):
    """A part of a span that is read from one kind of rows.

    Attributes:
        step_s: Of summaries; 0 for the readings themselves.
    """

    step_s: int
    begin: datetime
    end: datetime


def pieces(begin: datetime, end: datetime, width: timedelta) -> list[Piece]:
    """Cut a span into whole summaries no longer than `width`, and readings where none fits."""
    for step_s in STEPS:
        inner, outer = next_cell(begin, step_s), cell_of(end, step_s)
        if timedelta(seconds=step_s) <= width and inner < outer:
            return [*pieces(begin, inner, width), Piece(step_s, inner, outer), *pieces(outer, end, width)]
    return [Piece(0, begin, end)] if begin < end else []


def cell_of(at: datetime, step_s: int) -> datetime:
    """Return when the minute, hour or day of a moment began, of the clock of UTC."""
    return datetime.fromtimestamp(at.timestamp() // step_s * step_s, UTC)


def next_cell(at: datetime, step_s: int) -> datetime:
    """Return when the first minute, hour or day begins that lies wholly after a moment."""
    begun = cell_of(at, step_s)
    return begun if begun == at else begun + timedelta(seconds=step_s)


def width_of(begin: datetime, end: datetime, points: int) -> timedelta:
    """Return the length of the parts of a span that is shown by so many points."""
    return max((end - begin) / max(1, points // OF_PART), timedelta(microseconds=1))


def in_order(points: Iterable[Point]) -> tuple[Point, ...]:
    """Return points once each, in the order of time."""
    return tuple(sorted(set(points)))


def representative(part: Sequence[Point]) -> list[Point]:
    """Return what stands for one part: first, least, greatest, last; of alike values the first."""
    return [
        min(part),
        min(part, key=lambda point: (point[1], point[0])),
        min(part, key=lambda point: (-point[1], point[0])),
        max(part),
    ]
