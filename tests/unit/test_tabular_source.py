"""Rules of opening files: workbooks, Parquet, and what cannot be read."""

import gzip
import io
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import InvalidInput
from pipelines.signals.tabular import read_table
from tests.unit.test_tabular import OILS, PRESSURES, ROWS, left_out, moments, of
from tests.unit.workbooks import Cell, rows_xml, workbook

# --- workbooks and Parquet


def press_rows(rows: Sequence[Sequence[Cell]]) -> list[list[Cell]]:
    """Return a sheet with a merged title, group titles, a row of units, and rows of moments and numbers."""
    return [
        ["Presse 4, Halle 2"],
        [None],
        ["Zeit", "Druck", "Öltemperatur", "Status"],
        [None, "MPa", "°C", None],
        *map(list, rows),
    ]


def test_a_workbook_with_a_merged_title_and_units_below_the_header() -> None:
    """Moments and numbers of cells are taken as they are; the largest sheet is read, and the others are told."""
    begin = datetime(2026, 3, 2, 6)
    rows: list[list[Cell]] = [[begin + timedelta(seconds=n), PRESSURES[n] / 10, OILS[n], "RUN"] for n in range(ROWS)]
    rows[4][1] = "Bad Input"
    rows += [["Mittelwert", 18.0, 45.2, None]]
    data = workbook({"Notes": rows_xml([["read me"]]), "Data": rows_xml(press_rows(rows))}, "A1:D1")
    table = read_table(data, "press.xlsx")
    assert [(each.header, each.unit) for each in table.channels] == [("Druck", "MPa"), ("Öltemperatur", "degC")]
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:39"]
    assert of(table, "Druck").values[0] == 18.0
    assert set(table.texts["Status"]) == {"RUN"}
    assert (1, "rows", "a summary and no reading") in left_out(table)
    assert (1, "cells of 'Druck'", "are no numbers") in left_out(table)
    assert any("'Notes'" in note for note in table.report.notes)


def test_parquet_as_it_stands(tmp_path: Path) -> None:
    """Types of the file are kept: moments with a zone, numbers, words; nulls are told."""
    index = pd.date_range("2026-03-02 09:00", periods=ROWS, freq="s", tz="Europe/Moscow")
    frame = pd.DataFrame(
        {"ts": index, "unit_name": "HPU1", "Pressure (kPa)": PRESSURES, "Flow, l/s": [None, *[0.5] * (ROWS - 1)]}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    table = read_table(tmp_path / "a.parquet")
    assert moments(table) == ["2026-03-02T06:00:00", "2026-03-02T06:00:39"]
    assert [each.unit for each in table.channels] == ["kPa", "l/s"]
    assert left_out(table) == [(1, "cells of 'Flow, l/s'", "empty")]


def test_a_zone_of_parquet_may_have_any_name() -> None:
    """Its moments are those of UTC, also where nobody here knows the zone."""
    begin = pa.array([1_772_431_200 + n for n in range(ROWS)], pa.int64()).cast(pa.timestamp("s", "Mars/Phobos"))
    file = io.BytesIO()
    pq.write_table(pa.table({"time": begin, "P [bar]": PRESSURES}), file)
    table = read_table(file.getvalue(), "far.parquet")
    assert (table.zoned, moments(table)) == (True, ["2026-03-02T06:00:00", "2026-03-02T06:00:39"])


@pytest.mark.parametrize("pack", ["text", "book"])
def test_data_may_begin_with_moments_alone(pack: str) -> None:
    """Before a sensor says its first value its rows hold a moment: the header above them is the header."""
    begin = datetime(2026, 3, 2, 6)
    rows: list[list[Cell]] = [
        [begin + timedelta(seconds=n), None if n < 3 else PRESSURES[n], None if n < 3 else OILS[n]] for n in range(ROWS)
    ]
    lines = ["Pump 7", "Time;P [bar];Oil (°C)", *(";".join("" if v is None else str(v) for v in row) for row in rows)]
    data = "\n".join(lines).encode()
    if pack == "book":
        data = workbook({"a": rows_xml([["Pump 7"], ["Time", "P [bar]", "Oil (°C)"], *rows])})
    table = read_table(data, "late")
    assert [(each.header, each.unit) for each in table.channels] == [("P [bar]", "bar"), ("Oil (°C)", "degC")]
    assert np.isfinite(of(table, "P [bar]").values).sum() == ROWS - 3


# --- what cannot be read


FAR = '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "must not be empty"),
        (b"a,b\n1,2\n\0\0\0\0abc", "line 3 holds a NUL byte"),
        (b"Dear all,\nplease find attached\n", "must hold rows of numbers"),
        (b"1," * 1_500_000, "lines of at most"),
        ((",".join(["c"] * 3000) + "\n" + ",".join(["1"] * 3000)).encode(), "at most 2000 columns"),
        (gzip.compress(b"0" * (257 * 2**20), 1), "must not unpack to more than"),
        (gzip.compress(b"a,b\n1,2\n")[:-9], "whole gzip file"),
        (b"PAR1" + b"x" * 100, "whole Parquet file"),
        (pd.DataFrame().to_parquet(), "must have columns"),
        (b"PK\x03\x04" + b"x" * 100, "whole workbook"),
        (workbook({"a": FAR}), "at most 2000 columns"),
        (workbook({"a": " " * (401 * 2**20)}), "must not unpack to more than"),
        (("Time,P [bar],F [l/min]\n" + "2026-03-02 06:00:01,180,5,25,1\n" * 20).encode(), "decimal commas need quotes"),
    ],
    ids=["empty", "nul", "prose", "line", "columns", "gzip", "cut", "parquet", "bare", "zip", "far", "bomb", "commas"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(data: bytes, rule: str) -> None:
    """In a line that says what is wrong, within bounded memory."""
    with pytest.raises(InvalidInput, match=rule):
        read_table(data, "hostile")


def test_a_broken_file_is_refused_and_nothing_else() -> None:
    """Whatever a transfer has done to a file: it is read, or refused as input."""
    random = np.random.default_rng(7)
    begin = datetime(2026, 3, 2, 6)
    rows: list[list[Cell]] = [[begin + timedelta(seconds=n), PRESSURES[n], "Good"] for n in range(ROWS)]
    text = "Zeit;Druck [bar];Status\n" + "".join(
        f"02.03.2026 06:00:{n:02d};{PRESSURES[n]:.2f};Good\n" for n in range(ROWS)
    )
    book = workbook({"a": rows_xml([["Time", "P [bar]", "Quality"], *rows])})
    for data in (text.encode("cp1251"), text.encode("utf-16"), gzip.compress(text.encode()), book):
        for _ in range(25):
            broken = bytearray(data)
            for place in random.integers(0, len(data), 3):
                broken[place] = random.integers(0, 256)
            del broken[int(random.integers(len(data) // 2, len(data))) :]
            with suppress(InvalidInput):
                read_table(bytes(broken), "broken")
