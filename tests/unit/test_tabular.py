"""Rules of reading files of readings as people have them."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import InvalidInput
from pipelines.signals.tabular import Column, Table, read_table

CASES = Path(__file__).parents[3] / "shared" / "cases" / "40-own-csv"
needs_cases = pytest.mark.skipif(
    not CASES.exists(), reason="the exports of own machines (../shared/cases) are not here"
)
ROWS = 40
PRESSURES = [180 + 0.5 * float(np.sin(n)) for n in range(ROWS)]
OILS = [45 + 0.01 * n for n in range(ROWS)]


def of(table: Table, header: str) -> Column:
    """Return a column by its header or name."""
    return next(each for each in table.channels if header in (each.header, each.name))


def read(text: str | bytes, zone: str | None = None) -> Table:
    """Read a file that holds a text."""
    return read_table(text if isinstance(text, bytes) else text.encode(), "export.csv", zone)


def lines(header: str, row: str) -> str:
    """Return a header, and rows with `{n}` second, `{p}` pressure and `{t}` temperature."""
    rows = (row.format(n=n, p=PRESSURES[n], t=OILS[n], m=n // 60) for n in range(ROWS))
    return "\n".join([header, *rows, ""])


def german(number: float, digits: int = 2) -> str:
    """Return a number as Germans write it."""
    return f"{number:,.{digits}f}".translate(str.maketrans(",.", ".,"))


def left_out(table: Table) -> list[tuple[int, str, str]]:
    """Return what was left out."""
    return [(each.count, each.what, each.reason) for each in table.report.left_out]


def moments(table: Table) -> list[str]:
    """Return the first and the last moment, in seconds."""
    assert table.times is not None
    return [str(np.datetime64(table.times[place], "s")) for place in (0, -1)]


# --- exports of four machines


@needs_cases
def test_an_export_of_a_press_with_decimal_commas() -> None:
    """Semicolons, decimal commas and a mark of the encoding; every column has its unit."""
    table = read_table(CASES / "press-eu.csv")
    assert (table.report.encoding, table.report.delimiter, table.report.decimal) == ("utf-8-sig", ";", ",")
    found = {each.header: (each.quantity, each.unit) for each in table.channels}
    assert found == {
        "Pump pressure [psi]": ("pressure", "psi"),
        "Oil temperature [°F]": ("temperature", "degF"),
        "Flow [gpm]": ("flow", "gpm"),
        "Vibration [mm/s RMS]": ("velocity", "mm/s"),
        "Motor current [A]": ("current", "A"),
        "Speed [rpm]": ("speed", "rpm"),
    }
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:24:59"]
    assert (len(table.rows), table.step_s, left_out(table)) == (1500, 1.0, [])
    assert of(table, "Pump pressure [psi]").values[0] == 2582.86


@needs_cases
def test_an_export_of_a_historian_with_one_tag_a_row() -> None:
    """One moment a row at the densest tag; zones are read, and of bare tags it is asked what they are."""
    table = read_table(CASES / "historian-long.csv")
    assert (table.report.layout, table.report.machines, table.step_s) == ("long", ("HPU2",), 1.0)
    assert moments(table) == ["2026-03-02T03:00:00", "2026-03-02T03:19:59"]
    guesses = {each.name: each.guess for each in table.channels}
    assert guesses == {"PT101": "pressure", "TT102": "temperature", "FT103": "flow", "VT104": "vibration"}
    assert all(each.quantity is None and each.unit is None for each in table.channels)
    assert (17, "cells of 'Value'", "quality 'Bad'") in left_out(table)
    assert (17, "rows", "the same tag and moment again with the same value: merged") in left_out(table)
    assert sum("held" in note for note in table.report.notes) == 3
    assert len(np.unique(table.times)) == len(table.rows)  # type: ignore[arg-type]
    assert np.isfinite(of(table, "VT104").values).mean() > 0.99


@needs_cases
def test_an_export_in_an_encoding_of_windows() -> None:
    """Russian headers and units; three digits behind the comma are no thousands."""
    table = read_table(CASES / "nasos-1251.csv")
    assert (table.report.encoding, table.report.decimal) == ("cp1251", ",")
    assert [each.unit for each in table.channels] == ["MPa", "degC", "l/s", "mm/s"]
    assert of(table, "Давление, МПа").values[:2].tolist() == [12.44, 12.396]


@needs_cases
def test_an_export_with_a_preamble_and_a_summary() -> None:
    """12-hour clock, thousands with commas, marks of no value, a gap and a summary: all is told."""
    table = read_table(CASES / "excavator-us.csv")
    assert table.report.header_row == 4
    assert moments(table) == ["2026-03-02T13:00:00", "2026-03-02T13:21:39"]
    assert of(table, "Main pump (psi)").values[1] == 3376
    assert np.isnan(of(table, "Case drain (gpm)").values[0])
    assert of(table, "Case drain (gpm)").secondary
    assert not of(table, "Pump flow (gpm)").secondary
    assert (1, "rows", "a summary and no reading") in left_out(table)
    assert (13, "cells of 'Main pump (psi)'", "say that there is no value") in left_out(table)
    assert any("gaps: 1" in note for note in table.report.notes)
    assert any("month first" in note for note in table.report.notes)


# --- moments


@pytest.mark.parametrize(
    ("header", "first"),
    [
        ("time", "1772431200"),
        ("timestamp", "1772431200000"),
        ("t", "1772431200000000"),
        ("Time", "1772431200000000000"),
        ("Timestamp", "639080280000000000"),
        ("Time", "134169048000000000"),
        ("Time", "2026-03-02T06:00:00Z"),
        ("Time", "2026-03-02 09:00:00+03:00"),
        ("Time", "2026-03-02T01:00:00.000-0500"),
        ("Время (МСК)", "02.03.2026 09:00:00"),
        ("Time (UTC-5)", "2026/03/02 01:00"),
        ("Zeit", "02.03.26 06:00"),
        ("Time", "3/2/2026 6:00:00 AM"),
        ("Time", "02-Mar-2026 06:00:00"),
        ("Time", "2 марта 2026 г. 06:00:00"),
        ("Time", "Mon Mar  2 06:00:00 2026"),
        ("Time", "20260302T060000"),
        ("Time", "46083.25"),
    ],
)
def test_moments_are_read_as_they_are_written(header: str, first: str) -> None:
    """Epochs in any unit, serial days, zones in cells or header, months in words, days or months first."""
    other = "2026-03-03 06:00Z" if not first.replace(".", "").isdigit() or len(first) < 9 else first
    table = read(f"{header};Pressure [bar]\n" + "".join(f"{first};{p:.2f}\n" for p in PRESSURES[:3]))
    assert moments(table)[0] == "2026-03-02T06:00:00", other


def test_date_and_clock_in_two_columns() -> None:
    """They are one moment, in UTF-16 and with tabulators, too."""
    text = "Datum\tUhrzeit\tÖldruck [bar]\n" + "".join(
        f"02.03.2026\t06:00:{n:02d}\t{german(PRESSURES[n])}\n" for n in range(ROWS)
    )
    for encoded in (text.encode("utf-16"), text.encode("utf-16-le")):
        table = read(encoded)
        assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:39"]
        assert (of(table, "Öldruck [bar]").quantity, table.report.delimiter) == ("pressure", "\t")


def test_days_that_run_on_tell_the_order_of_the_date() -> None:
    """A day above twelve decides; else that days follow each other; else the assumption is told."""
    march = "".join(f"{day:02d}/03/2026 06:00,{PRESSURES[day]:.1f}\n" for day in range(1, 12))
    assert moments(read("Time,P [bar]\n" + march)) == ["2026-03-01T06:00:00", "2026-03-11T06:00:00"]
    american = "".join(f"03/{day:02d}/2026 06:00,{PRESSURES[day]:.1f}\n" for day in range(1, 20))
    assert moments(read("Time,P [bar]\n" + american)) == ["2026-03-01T06:00:00", "2026-03-19T06:00:00"]
    either = read("Time,P [bar]\n" + "".join(f"02/03/2026 06:00:{n:02d},{PRESSURES[n]:.1f}\n" for n in range(20)))
    assert moments(either)[0] == "2026-03-02T06:00:00"
    assert any("day first" in note for note in either.report.notes)


def berlin(begin: str, end: str) -> str:
    """Return what a clock on a wall of Berlin shows every five minutes."""
    local = pd.date_range(begin, end, freq="5min", tz="UTC").tz_convert("Europe/Berlin")
    return "Zeit;Druck [bar]\n" + "".join(f"{t:%d.%m.%Y %H:%M};{180 + n / 10:.1f}\n" for n, t in enumerate(local))


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
@pytest.mark.parametrize(
    ("begin", "end"), [("2026-10-24 22:00", "2026-10-25 04:00"), ("2026-03-28 22:00", "2026-03-29 04:00")]
)
def test_clocks_that_are_changed_lose_no_row(begin: str, end: str, zone: str | None) -> None:
    """An hour read twice is two hours, an hour that never was is no gap; with the zone known, and without."""
    table = read(berlin(begin, end), zone)
    assert table.times is not None
    assert set(np.diff(table.times).astype("timedelta64[s]").astype(int).tolist()) == {300}
    if zone:
        assert moments(table) == [begin.replace(" ", "T") + ":00", end.replace(" ", "T") + ":00"]
    else:
        assert any("clock was put" in note for note in table.report.notes)


def test_an_unknown_zone_is_refused() -> None:
    """It is named."""
    with pytest.raises(InvalidInput, match="Europe/Atlantis"):
        read(lines("Time;P [bar]", "2026-03-02 06:00:{n:02d};{p:.2f}"), "Europe/Atlantis")


def test_time_that_has_passed_and_no_time_at_all() -> None:
    """Seconds since the beginning are a time without a date; without any, rows keep their order."""
    passed = read(lines("Time [ms],Pressure [bar]", "{n}00,{p:.2f}"))
    assert passed.step_s == pytest.approx(0.1)
    bare = read(lines("Pressure [bar],Oil [°C]", "{p:.2f},{t:.2f}"))
    assert bare.times is None
    np.testing.assert_allclose(of(bare, "Pressure [bar]").values, PRESSURES, atol=0.01)


# --- numbers


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["1.480,5", "1.481,5", "990,0"], [1480.5, 1481.5, 990]),
        (["1,480.5", "1,481.5", "990.0"], [1480.5, 1481.5, 990]),
        (["1 480,5", "1\u00a0481,5", "990,0"], [1480.5, 1481.5, 990]),
        (["1'480.5", "1'481.5", "990.0"], [1480.5, 1481.5, 990]),
        (["1.480", "1.481", "2,5"], [1480, 1481, 2.5]),
        (["0,480", "1,481", "2,500"], [0.48, 1.481, 2.5]),
        (["−5,5", "+5,5", "1,2e3"], [-5.5, 5.5, 1200]),
        (["12,5 bar", "12,6 bar", "12,7 bar"], [12.5, 12.6, 12.7]),
    ],
)
def test_numbers_are_read_as_they_are_written(cells: list[str], right: list[float]) -> None:
    """Decimal commas and points, thousands with points, commas, spaces and apostrophes, units in the cells."""
    table = read("Time;Druck [bar]\n" + "".join(f"2026-03-02 06:00:{n:02d};{cell}\n" for n, cell in enumerate(cells)))
    assert of(table, "Druck [bar]").values.tolist() == right


def test_states_in_cells_are_told() -> None:
    """Each word that is no number is told with its count and first line; marks of no value, too."""
    text = lines("Time;Pressure (bar)", "2026-03-02 06:00:{n:02d};{p:.2f}").splitlines()
    text[3], text[5], text[7], text[9] = (
        f"{text[n].split(';')[0]};{word}" for n, word in ((3, "Comm Fail"), (5, "Comm Fail"), (7, "N/A"), (9, "-9999"))
    )
    table = read("\n".join([*text, "Average;180,2", ";", "End of report"]))
    assert left_out(table) == [
        (1, "rows", "empty"),
        (2, "rows", "a summary and no reading"),
        (1, "cells of 'Pressure (bar)'", "say that there is no value"),
        (2, "cells of 'Pressure (bar)'", "are no numbers"),
        (1, "cells of 'Pressure (bar)'", "a number that marks what is missing"),
    ]
    assert "line 4: 'Comm Fail'" in table.report.left_out[3].first
    assert int(np.isnan(of(table, "Pressure (bar)").values).sum()) == 4


# --- layouts


def test_several_machines_in_one_file() -> None:
    """By a column, by the paths of tags, and by the paths of columns: the same rows come out."""
    column = "Time,Asset,PT (bar),TT (°C)\n" + "".join(
        f"2026-03-02T06:00:{n:02d}Z,HPU{m},{PRESSURES[n] + m:.2f},{OILS[n]:.2f}\n" for n in range(ROWS) for m in (1, 2)
    )
    tags = "Tag;Time;Val;Unit\n" + "".join(
        f"HPU{m}.{tag};2026-03-02T06:00:{n:02d}Z;{value:.2f};{unit}\n"
        for n in range(ROWS)
        for m in (1, 2)
        for tag, value, unit in (("PT", PRESSURES[n] + m, "bar"), ("TT", OILS[n], "C"))
    )
    paths = "Time,HPU1.PT.PV [bar],HPU1.TT.PV [°C],HPU2.PT.PV [bar],HPU2.TT.PV [°C]\n" + "".join(
        f"2026-03-02T06:00:{n:02d}Z,{PRESSURES[n] + 1:.2f},{OILS[n]},{PRESSURES[n] + 2:.2f},{OILS[n]}\n"
        for n in range(ROWS)
    )
    for text in (column, tags, paths):
        table = read(text)
        assert table.report.machines == ("HPU1", "HPU2")
        assert [each.unit for each in table.channels] == ["bar", "degC"]
        assert table.machines is not None
        assert table.machines.tolist() == ["HPU1"] * ROWS + ["HPU2"] * ROWS
        second = table.channels[0].values[ROWS:]
        np.testing.assert_allclose(second, np.array(PRESSURES) + 2, atol=0.01)


@pytest.mark.parametrize(
    ("good", "bad"),
    [("192", "0"), ("Good", "Uncertain"), ("1", "0"), ("GOOD", "BAD"), ("0", "2147483648"), ("Хорошее", "Плохое")],
)
def test_readings_of_bad_quality_are_left_out(good: str, bad: str) -> None:
    """In a column for all, and in one of its own for each channel."""
    mark = [bad if n % 10 == 3 else good for n in range(ROWS)]
    rows = [f"2026-03-02 06:00:{n:02d};{PRESSURES[n]:.2f};{mark[n]};{OILS[n]:.2f};{good}" for n in range(ROWS)]
    table = read("\n".join(["Time;PT101 [bar];PT101 Quality;TT102 [°C];TT102 Quality", *rows]))
    assert left_out(table) == [(4, "cells of 'PT101 [bar]'", f"quality {bad!r}")]
    assert np.flatnonzero(np.isnan(of(table, "PT101 [bar]").values)).tolist() == [3, 13, 23, 33]
    assert not np.isnan(of(table, "TT102 [°C]").values).any()


def test_duplicates_and_disorder_are_told() -> None:
    """The same again is merged; of other values the last counts; rows are sorted."""
    rows = lines("Time;P [bar]", "2026-03-02 06:00:{n:02d};{p:.2f}").splitlines()
    rows[5], rows[6] = rows[6], rows[5]
    rows += [rows[1], "2026-03-02 06:00:01;170"]
    table = read("\n".join(rows))
    assert left_out(table) == [
        (1, "rows", "the same moment again with the same values: merged"),
        (1, "rows", "the same moment again with other values: the last one counts"),
    ]
    assert any("sorted" in note for note in table.report.notes)
    assert table.times is not None
    assert (np.diff(table.times) > np.timedelta64(0)).all()
    assert table.channels[0].values[1] == 170


def test_a_slow_tag_is_held_for_a_while() -> None:
    """For three of its own intervals, and not longer."""
    rows = []
    for n in range(120):
        slow = str(n) if n % 5 == 0 and n < 60 else ""
        rows.append(f"2026-03-02 06:{n // 60:02d}:{n % 60:02d};{180 + n % 7}.5;{slow}")
    table = read("\n".join(["Time;P [bar];T [°C]", *rows]))
    held = of(table, "T [°C]").values
    assert held[:11].tolist() == [0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 10]
    assert np.flatnonzero(np.isnan(held))[0] == 55 + 15 + 1
    assert any("is held" in note for note in table.report.notes)


def test_two_columns_of_one_name_are_two_channels() -> None:
    """None is lost, and they can be told apart."""
    table = read(lines("Time,Pressure (bar),Pressure (bar)", "2026-03-02 06:00:{n:02d},{p:.2f},{t:.2f}"))
    assert [each.header for each in table.channels] == ["Pressure (bar)", "Pressure (bar) (2)"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_units_below_the_header_and_a_preamble_above(pack: type[bytes]) -> None:
    """Packed or not."""
    text = lines(
        "Logger v3\nStation: 4\n\nTime;Pressure;Oil temperature\n;bar;°C", "2026-03-02 06:00:{n:02d};{p:.2f};{t:.2f}"
    )
    table = read_table(pack(text.encode()), "log.csv.gz")
    assert [(each.header, each.unit) for each in table.channels] == [("Pressure", "bar"), ("Oil temperature", "degC")]
    assert table.report.header_row == 4


def test_spaces_and_no_header() -> None:
    """Columns in spaces are cut; columns without a name are asked about."""
    spaced = read(lines("time   pressure_bar  temp_c", "2026-03-02T06:00:{n:02d}   {p:.2f}   {t:.2f}"))
    assert [each.unit for each in spaced.channels] == ["bar", "degC"]
    bare = read(lines("", "2026-03-02 06:00:{n:02d},{p:.2f},{t:.2f}"))
    assert [each.asked for each in bare.report.columns if each.role == "channel"] == [
        "which quantity, in which unit?"
    ] * 2


def test_columns_with_moments_of_their_own() -> None:
    """As spreadsheets fetch tags: each is read by the moments before it, and a shorter list leaves out nothing."""
    rows = [f"02.03.2026 06:00:{n:02d};{PRESSURES[n]:.2f};" + _slow(n) for n in range(ROWS)]
    table = read("\n".join(["PT101 Time;PT101 [bar];TT102 Time;TT102 [°C]", *rows]))
    assert (len(table.rows), left_out(table)) == (ROWS, [])
    assert of(table, "TT102 [°C]").values[[0, 9, 10, 39]].tolist() == [0, 0, 1, 3]


def _slow(row: int) -> str:
    return f"02.03.2026 06:00:{10 * row:02d};{row}" if row < 4 else ";"


def test_columns_that_are_no_channels() -> None:
    """Numbers of rows, states and modes of the machine are kept aside; a place tells rows of one tag apart."""
    text = lines("No.;Time;Pump running;Pressure [bar];Mode", "{n};2026-03-02 06:00:{n:02d};TRUE;{p:.2f};AUTO")
    table = read(text)
    assert [each.header for each in table.channels] == ["Pressure [bar]"]
    assert sorted(table.texts) == ["Mode", "Pump running"]
    assert table.machines is None
    places = "DateTime,Location,Sensor,Reading,Unit\n" + "".join(
        f"2026-03-02 06:00:{n:02d},Hall {m},{sensor},{value:.1f},{unit}\n"
        for n in range(ROWS)
        for m in (1, 2)
        for sensor, value, unit in (("Main pressure", 180, "bar"), ("Pump flow", 25, "L/min"))
    )
    assert read(places).report.machines == ("Hall 1", "Hall 2")
    assert left_out(read(places)) == []


def test_groups_above_the_header_are_machines() -> None:
    """Where the same names stand under each; and where they do not, they are part of the names."""
    header = "Time;Unit 1;;Unit 2;\n;Druck;Temp;Druck;Temp\n;bar;°C;bar;°C"
    table = read(lines(header, "2026-03-02 06:00:{n:02d};{p:.2f};{t:.2f};{p:.2f};{t:.2f}"))
    assert table.report.machines == ("Unit 1", "Unit 2")
    assert [(each.name, each.unit) for each in table.channels] == [("Druck", "bar"), ("Temp", "degC")]


def test_what_is_left_out_is_handed_on() -> None:
    """Cells of bad quality, words and marks are kept as they stand with moment and reason; empty ones are not."""
    text = lines("time,pressure [bar],quality", "2026-05-04T06:{m:02d}:{n:02d}Z,{p:.2f},good").splitlines()
    for row, words in ((3, "120.5,bad"), (4, "ERR,good"), (5, ",good"), (6, "-9999,good")):
        text[row] = f"{text[row].split(',')[0]},{words}"
    table = read("\n".join(text))
    assert table.zoned
    found = [
        (header, str(np.datetime64(int(nanos), "ns").astype("datetime64[s]")), word, cells.reason)
        for cells in table.left
        for header, nanos, word in zip(cells.headers, cells.nanos, cells.words, strict=True)
    ]
    assert found == [
        ("pressure [bar]", "2026-05-04T06:00:02", "120.5", "quality 'bad'"),
        ("pressure [bar]", "2026-05-04T06:00:03", "ERR", "are no numbers"),
        ("pressure [bar]", "2026-05-04T06:00:05", "-9999", "a number that marks what is missing"),
    ]


def test_tags_that_are_left_out_are_named() -> None:
    """In a long layout the cells that are left out bear their tag, and a clock without a zone is told."""
    rows = [f"2026-05-04 06:00:{n:02d};{tag};{n + 100}" for n in range(20) for tag in ("PT1 bar", "TT1 degC")]
    rows[5] = rows[5].rpartition(";")[0] + ";Bad Input"
    table = read("\n".join(["time;tag;value", *rows]))
    assert not table.zoned
    ((header,), (word,)) = table.left[0].headers, table.left[0].words
    assert (header, word) == ("TT1 degC", "Bad Input")


def test_a_pump_of_0_and_1_is_no_machine() -> None:
    """One row a moment, 0 and 1 under `pump` say how the pump is; two rows a moment are two pumps."""
    once = [f"2026-03-02 06:00:{n:02d};{180 + n};{int(n > 5)}" for n in range(12)]
    assert read("\n".join(["time;pressure [bar];pump", *once])).machines is None
    both = [f"2026-03-02 06:00:{n // 2:02d};{180 + n};{n % 2}" for n in range(12)]
    machines = read("\n".join(["time;pressure [bar];pump", *both])).machines
    assert machines is not None
    assert set(machines.tolist()) == {"0", "1"}
