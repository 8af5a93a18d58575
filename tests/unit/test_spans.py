"""How a span is cut into summaries and readings, and which points stand for its parts."""

from datetime import UTC, datetime, timedelta

import pytest

from serve_app.store.spans import Piece, cell_of, in_order, next_cell, pieces, representative, width_of

DAY = datetime(2026, 3, 2, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def at(*clock: int, days: int = 0) -> datetime:
    """Hours, minutes and seconds of a day."""
    return DAY + timedelta(days=days, **dict(zip(("hours", "minutes", "seconds"), clock, strict=False)))


def test_a_span_is_cut_into_the_longest_summaries() -> None:
    """Readings to the first whole minute, minutes to the hour, hours to the day, days, and back down again."""
    found = pieces(at(22, 58, 30), at(1, 2, 3, days=3), timedelta(days=1))
    assert found == [
        Piece(0, at(22, 58, 30), at(22, 59)),
        Piece(60, at(22, 59), at(23)),
        Piece(3600, at(23), at(days=1)),
        Piece(86_400, at(days=1), at(days=3)),
        Piece(3600, at(days=3), at(1, days=3)),
        Piece(60, at(1, days=3), at(1, 2, days=3)),
        Piece(0, at(1, 2, days=3), at(1, 2, 3, days=3)),
    ]


@pytest.mark.parametrize("step_s", [60, 3600, 86_400])
def test_a_summary_as_long_as_a_part_is_read(step_s: int) -> None:
    """One that is longer, by however little, is not: its peak could lie in either of two parts."""
    begin, end, width = DAY, DAY + timedelta(days=2), timedelta(seconds=step_s)
    assert pieces(begin, end, width) == [Piece(step_s, begin, end)]
    below = {60: 0, 3600: 60, 86_400: 3600}[step_s]
    assert pieces(begin, end, width - MICROSECOND) == [Piece(below, begin, end)]


def test_a_span_without_a_whole_summary_is_read_as_it_is() -> None:
    """One that ends where a minute begins holds none of it, and one of no length holds nothing."""
    assert pieces(at(5, 0, 1), at(5, 1), DAY - at(days=-1)) == [Piece(0, at(5, 0, 1), at(5, 1))]
    assert pieces(at(5), at(5), timedelta(days=1)) == []
    assert pieces(at(5, 0, 1), at(5, 0, 1), timedelta(days=1)) == []
    assert pieces(at(5), at(5, 1), timedelta(days=1)) == [Piece(60, at(5), at(5, 1))]


@pytest.mark.parametrize("step_s", [60, 3600, 86_400])
def test_a_cell_begins_where_it_begins(step_s: int) -> None:
    """A moment on the border is the begin of its own cell, and one beside it lies in the one before."""
    step = timedelta(seconds=step_s)
    assert (cell_of(DAY, step_s), next_cell(DAY, step_s)) == (DAY, DAY)
    assert (cell_of(DAY - MICROSECOND, step_s), next_cell(DAY - MICROSECOND, step_s)) == (DAY - step, DAY)
    assert (cell_of(DAY + MICROSECOND, step_s), next_cell(DAY + MICROSECOND, step_s)) == (DAY, DAY + step)
    assert cell_of(DAY, step_s).tzinfo is UTC


@pytest.mark.parametrize(("points", "parts"), [(1, 1), (3, 1), (4, 1), (7, 1), (8, 2), (11, 2), (12, 3)])
def test_four_points_stand_for_a_part(points: int, parts: int) -> None:
    """So a span is cut into a quarter as many parts as points, and into one at least."""
    assert width_of(DAY, DAY + timedelta(hours=6), points) == timedelta(hours=6) / parts


def test_a_part_has_a_length() -> None:
    """Many points of a short span divide it no finer than clocks do."""
    assert width_of(DAY, DAY + MICROSECOND, 4000) == MICROSECOND


def test_a_part_is_shown_by_its_ends() -> None:
    """First, least, greatest and last; of alike values the earliest, wherever it stands."""
    values = [3.0, 1.0, 5.0, 1.0, 5.0, 2.0]
    part = [(at(0, 0, second), value) for second, value in enumerate(values)]
    right = [part[0], part[1], part[2], part[5]]
    assert representative(part) == right
    assert representative(part[::-1]) == right
    assert in_order([*reversed(right), *part[:2]]) == tuple(right)
