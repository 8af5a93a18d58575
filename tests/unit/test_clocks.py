"""Rules of moments in files where several things come together."""

from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import InvalidInput
from tests.unit.test_tabular import OILS, PRESSURES, ROWS, left_out, moments, read
from tests.unit.workbooks import Cell, rows_xml, workbook


def test_machines_one_below_the_other_are_no_change_of_clocks() -> None:
    """Where one machine's hour ends and the next one's begins, the clock was not put back."""
    rows = [f"M{m};2026-10-25 0{2 + n // 36}:{n % 36:02d}:00;{180 + m}.5" for m in (1, 2) for n in range(ROWS)]
    table = read("\n".join(["Asset;Time;P [bar]", *rows]))
    assert table.times is not None
    assert (table.times[:ROWS] == table.times[ROWS:]).all()
    assert not any("clock" in note for note in table.report.notes)


def test_clocks_are_put_back_on_each_machine() -> None:
    """Each has its hour twice, with the zone known and without, and no row is taken for a duplicate."""
    local = pd.date_range("2026-10-24 22:00", "2026-10-25 03:55", freq="5min", tz="UTC").tz_convert("Europe/Berlin")
    text = "Asset;Zeit;P [bar]\n" + "".join(f"M{m};{t:%d.%m.%Y %H:%M};180,5\n" for m in (1, 2) for t in local)
    for zone in (None, "Europe/Berlin"):
        table = read(text, zone)
        assert (len(table.rows), left_out(table)) == (2 * len(local), [])
        assert table.times is not None
        assert (np.diff(table.times[: len(local)]) == np.timedelta64(300, "s")).all()


def test_a_day_and_its_share() -> None:
    """A spreadsheet holds a clock as a share of the day, and a date as its midnight."""
    rows: list[list[Cell]] = [[datetime(2026, 3, 2), (21_600 + n) / 86_400, OILS[n]] for n in range(ROWS)]
    table = read(workbook({"a": rows_xml([["Date", "Time", "Oil (°C)"], *rows])}))
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:39"]


def test_a_clock_alone_goes_past_midnight() -> None:
    """And counts on past a day, where it is the time that has passed."""
    rows = [f"{(23 + (59 + n) // 60) % 24:02d}:{(59 + n) % 60:02d};{PRESSURES[n]:.1f}" for n in range(ROWS)]
    night = read("\n".join(["Time;P [bar]", *rows]))
    assert (night.step_s, len(night.rows)) == (60, ROWS)
    passed = read("Elapsed;P [bar]\n" + "".join(f"{25 + n}:00:00;{PRESSURES[n]:.1f}\n" for n in range(ROWS)))
    assert (passed.step_s, len(passed.rows)) == (3600, ROWS)


def test_states_among_values_are_told_by_tag() -> None:
    """A tag of words costs no tag of numbers; each of its words is told."""
    tags = (("Pump pressure [bar]", "180,5"), ("Pump state", "RUN"), ("Valve", "OPEN"))
    text = "Tag;Time;Value\n" + "".join(
        f"{tag};2026-03-02 06:00:{n:02d};{value}\n" for n in range(ROWS) for tag, value in tags
    )
    table = read(text)
    assert [each.name for each in table.channels if np.isfinite(each.values).any()] == ["Pump pressure [bar]"]
    assert left_out(table) == [(ROWS, "cells of 'Value'", "are no numbers")] * 2


@pytest.mark.parametrize(
    ("never", "form"),
    [
        ("0001-01-01T00:00:00Z", "%Y-%m-%dT%H:%M:%SZ"),
        ("01.01.0001 00:00:00", "%d.%m.%Y %H:%M:%S"),
        ("01-Jan-0001 00:00:00", "%d-%b-%Y %H:%M:%S"),
    ],
)
def test_the_first_year_is_no_moment(never: str, form: str) -> None:
    """Programs of Windows write it where they have none: such a row is left out, and not read as 2001."""
    first = pd.Timestamp("2026-03-02 06:00")
    rows = [f"{first + pd.Timedelta(seconds=n):{form}};{PRESSURES[n]:.1f}" for n in range(ROWS)]
    table = read("\n".join(["Time;P [bar]", f"{never};0.0", *rows]))
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:39"]
    assert [(count, what) for count, what, _ in left_out(table)] == [(1, "rows")]


@pytest.mark.parametrize("zone", ["localtime", "tzlocal()", "dateutil/", "dateutil//etc/hostname", "dateutil//nowhere"])
def test_a_zone_is_no_file_and_not_that_of_this_machine(zone: str) -> None:
    """Names that a library opens as files, and says of whether they are there, are no zones."""
    with pytest.raises(InvalidInput, match="must be a time zone as Europe/Berlin"):
        read("Time;P [bar]\n" + "".join(f"2026-03-02 06:00:{n:02d};{PRESSURES[n]:.1f}\n" for n in range(ROWS)), zone)


STAMPS = [pd.Timestamp("2026-03-02 06:00") + pd.Timedelta(seconds=n) for n in range(30)]


@pytest.mark.parametrize(
    ("cells", "stray"),
    [
        ([f"{at:%d.%m.%y %H:%M:%S}" for at in STAMPS], "45.03.26 06:00:30"),
        ([f"{at:%d.%m.%Y %H:%M:%S}" for at in STAMPS], "45.03.2026 06:00:30"),
        ([f"{at:%d.%m.%y %H:%M:%S}" for at in STAMPS], "02.45.26 06:00:30"),
        ([f"{at:%d.%m.%y %H:%M:%S}" for at in STAMPS], "02.03.26 06:00:75"),
        ([f"{at:%d.%m.%Y %H:%M:%S}" for at in STAMPS], "01.03.2026 24:30:00"),
        ([f"{at:%Y-%m-%dT%H:%M:%S}" for at in STAMPS], "2026-03-02T06:00:75"),
        ([f"{at:%Y-%m-%dT%H:%M:%S}" for at in STAMPS], "2026-03-02T24:30:00"),
        ([f"{at:%Y%m%dT%H%M%S}" for at in STAMPS], "20260302T060075"),
        ([f"{(at - pd.Timestamp('1899-12-30')) / pd.Timedelta(days=1):.8f}" for at in STAMPS], "0"),
        ([str(at.value // 10**6) for at in STAMPS], "0"),
        ([str(at.value // 10**9) for at in STAMPS], "1e12"),
    ],
)
def test_one_slip_costs_its_own_row_alone(cells: list[str], stray: str) -> None:
    """Neither its neighbours' dates nor their order hang on it; it is left out and told."""
    rows = [f"{cell};{PRESSURES[n]:.1f}" for n, cell in enumerate([*cells, stray])]
    table = read("\n".join(["Time;P [bar]", *rows]))
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:29"]
    assert left_out(table) == [(1, "rows", "no moment that can be read")]


def test_the_end_of_a_day() -> None:
    """24:00:00 is the next day's beginning, and a leap second the next minute's."""
    table = read("Time;P [bar]\n01.03.2026 23:59:60;1.5\n01.03.2026 24:00:01;1.5\n02.03.2026 24:00:00;1.6\n")
    assert moments(table) == ["2026-03-02T00:00:00", "2026-03-03T00:00:00"]


def test_dates_of_a_spreadsheet_beside_texts() -> None:
    """A year in front tells its own row; the others have their order."""
    cells = [f"{at:%Y-%m-%d %H:%M:%S}" if n < 3 else f"{at:%d.%m.%Y %H:%M:%S}" for n, at in enumerate(STAMPS[:9])]
    table = read("Time;P [bar]\n" + "".join(f"{cell};1.5\n" for cell in cells))
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:08"]
    assert left_out(table) == []


def test_a_time_that_is_none_is_told() -> None:
    """A column whose header names the time, and of which none is read."""
    table = read("Time;P [bar]\n" + "".join(f"{cell};1.5\n" for cell in ("morning", "noon", "night")))
    assert table.times is None
    assert any(note.startswith("'Time': read as no time") for note in table.report.notes)


@pytest.mark.parametrize(
    ("zone", "second"), [("Europe/Berlin", "05:00:01"), ("+03:00", "03:00:01"), (None, "06:00:01")]
)
def test_rows_without_a_zone_beside_those_with_one(zone: str | None, second: str) -> None:
    """Each cell's zone is its own; the others are of the zone that people name."""
    cells = ["2026-03-02 06:00:00+01:00", *(f"2026-03-02 06:00:0{n}" for n in range(1, 5))]
    table = read("Time;P [bar]\n" + "".join(f"{cell};{n}.5\n" for n, cell in enumerate(cells)), zone)
    assert table.times is not None
    found = {
        str(np.datetime64(at, "s")): value for at, value in zip(table.times, table.channels[0].values, strict=True)
    }
    assert found["2026-03-02T05:00:00"] == 0.5
    assert found[f"2026-03-02T{second}"] == 1.5
    assert f"4 rows name no zone, while others do: read as {zone or 'UTC'}" in table.report.notes
    assert table.zoned == (zone is not None)


def test_the_zone_of_a_clock_beside_its_date() -> None:
    """It counts as in one cell."""
    table = read("Date;Time;P [bar]\n" + "".join(f"02.03.2026;06:00:0{n}+01:00;1.5\n" for n in range(5)))
    assert (moments(table)[0], table.zoned) == ("2026-03-02T05:00:00", True)


def test_a_zone_that_is_not_known_is_refused() -> None:
    """By column, word and rule; words that are none are read past, and a single row costs itself."""
    rows = [f"2026-03-02 06:00:0{n}" for n in range(9)]
    with pytest.raises(InvalidInput, match="must be a zone that is known") as caught:
        read("Time;P [bar]\n" + "".join(f"{row} IST;1.5\n" for row in rows), "UTC")
    assert (caught.value.field, caught.value.value) == ("zone in 'Time'", "IST")
    table = read("Time;P [bar]\n" + "".join(f"{row} {'IST' if row == rows[-1] else 'Uhr'};1.5\n" for row in rows))
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:07"]
    assert left_out(table) == [(1, "rows", "no moment that can be read")]
