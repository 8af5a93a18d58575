"""Readings by column are the readings they were made of."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from serve_app.store.columns import ReadingColumns, micros_of, moment_of, text_array
from serve_app.store.records import Reading

AT = datetime(2026, 3, 1, 23, 59, 59, 999_999, tzinfo=UTC)
ROWS = [
    Reading("flow", AT, 1.0),
    Reading("pressure", AT + timedelta(microseconds=1), 2.0),
    Reading("flow", AT, 1.0),
    Reading("flow", AT, 3.0),
    Reading("flow", AT - timedelta(days=1), 4.0),
]


def test_columns_are_their_rows() -> None:
    """Read one by one, in part and joined, they are what was given, to the microsecond and in UTC."""
    columns = ReadingColumns.of(ROWS)
    assert list(columns) == ROWS
    assert ReadingColumns.of(columns) is columns
    assert list(columns[1:3]) == ROWS[1:3]
    assert columns[-1] == ROWS[-1]
    assert columns.ends() == (ROWS[4].at, ROWS[1].at)
    assert {day.isoformat() for day in columns.days()} == {"2026-02-28", "2026-03-01", "2026-03-02"}
    parts = [("flow", columns.micros[:1], columns.values[:1]), ("pressure", columns.micros[1:2], columns.values[1:2])]
    assert list(ReadingColumns.joined(parts)) == ROWS[:2]
    assert list(ReadingColumns.joined([])) == list(ReadingColumns.of([])) == []


def test_the_last_one_of_a_moment_counts() -> None:
    """Of one channel and moment the last is left; the others repeat the one before, or give way."""
    last, same, other = ReadingColumns.of(ROWS).once()
    assert list(last) == [ROWS[4], ROWS[3], ROWS[1]]
    assert (same, other) == (1, 1)
    nothing, *counts = ReadingColumns.of([]).once()
    assert (len(nothing), counts) == (0, [0, 0])


@pytest.mark.parametrize("year", [1970, 2000, 2026, 2100])
def test_moments_are_exact(year: int) -> None:
    """A moment of any zone is the same one after it was counted."""
    at = datetime(year, 5, 6, 7, 8, 9, 123_457, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert moment_of(micros_of(at)) == at


def test_words_stand_as_postgresql_takes_them() -> None:
    """An array of one dimension: head, then length and bytes of each."""
    head = b"".join(number.to_bytes(4, "big") for number in (1, 0, 25, 3, 1))
    assert text_array(["é", "b"], [2, 1]) == head + 2 * (b"\0\0\0\2" + "é".encode()) + b"\0\0\0\1b"
