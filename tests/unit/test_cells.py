"""Rules of cells that hold numbers: units beside them, marks of decimals, spaces within."""

import numpy as np
import pytest

from tests.unit.test_tabular import read
from tests.unit.workbooks import Cell, rows_xml, workbook


def column(header: str, *cells: str) -> str:
    """Return a file with a column, and one beside it."""
    return f"{header};Oil [°C]\n" + "".join(f"{cell};{45 + place}.5\n" for place, cell in enumerate(cells))


@pytest.mark.parametrize(
    ("header", "cells", "unit", "values", "note"),
    [
        ("P [bar]", ("100 psi", "200 psi"), "bar", (6.895, 13.79), "2 cells are in psi: converted to bar"),
        ("P [bar]", ("70", "200 psi"), "bar", (70, 13.79), "1 cells are in psi: converted to bar"),
        ("P", ("70 bar", "71 bar", "200 psi"), "bar", (70, 71, 13.79), "1 cells are in psi: converted to bar"),
        ("P", ("70", "71 psi", "72 psi"), "psi", (None, 71, 72), "1 cells have no unit, most are in psi"),
        ("P", ("70", "71", "72 psi"), None, (70, 71, None), "1 cells have a unit (psi), most have none"),
        ("P [bar]", ("70 bar", "71 bar", "20 °C"), "bar", (70, 71, None), "1 cells are in degC, which is not"),
        ("P [bar]", ("70 bar", "71 bar"), "bar", (70, 71), ""),
    ],
)
def test_a_unit_in_a_cell_is_the_cells_own(
    header: str, cells: tuple[str, ...], unit: str | None, values: tuple[float | None, ...], note: str
) -> None:
    """It is converted to that of the column; a number whose unit is not known is left out, and told."""
    table = read(column(header, *cells))
    found = table.channels[0]
    assert found.unit == unit
    right = [np.nan if each is None else each for each in values]
    assert found.values.tolist() == pytest.approx(right, abs=0.01, nan_ok=True)
    assert any(note in each for each in table.report.notes) or not note
    assert bool(table.report.notes) == bool(note)
    assert sum(each.count for each in table.report.left_out) == int(np.isnan(right).sum())


def test_a_unit_beside_values_of_tags_is_theirs() -> None:
    """Where one tag stands in each row, too."""
    table = read("Time;Tag;Value\n" + "".join(f"2026-03-02 06:00:0{n};Pressure;{70 + n} psi\n" for n in range(9)))
    assert table.channels[0].unit == "psi"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("101 3", None),
        ("10 13", None),
        ("1'0", None),
        ("1013 2500", None),
        ("0.5 250", None),
        ("1 013", 1013),
        ("1’013’250.5", 1013250.5),
        ("1\u202f013.5", 1013.5),
        ("- 0.5", -0.5),
        ("− 0.5", -0.5),
        ("–.5", -0.5),
    ],
)
def test_spaces_part_thousands(cell: str, value: float | None) -> None:
    """What has others is no number, is left out and told; a minus may stand apart."""
    table = read(column("P [bar]", "100.5", cell, "101.5"))
    found = table.channels[0].values.tolist()
    assert found == pytest.approx([100.5, np.nan if value is None else value, 101.5], nan_ok=True)
    assert [each.count for each in table.report.left_out] == [1] * (value is None)


def test_numbers_of_a_workbook_say_nothing_of_the_marks_of_its_texts() -> None:
    """What is written as 1,105 beside the number 1.5 is not made 1105 by it."""
    rows: list[list[Cell]] = [[1.5 if n % 2 else "1,105", 45.5 + n] for n in range(9)]
    table = read(workbook({"a": rows_xml([["P [bar]", "Oil [°C]"], *rows])}))
    assert table.channels[0].values[:2].tolist() == [1.105, 1.5]
    assert any("',' is taken as decimal mark of 'P [bar]'" in note for note in table.report.notes)


@pytest.mark.parametrize(
    ("cells", "first", "second", "mark"),
    [
        (["1", *(f"1,01{n}" for n in range(8))], 1, 1.01, "','"),
        (["998", *(f"1,01{n}" for n in range(8))], 998, 1010, "'.'"),
        (["0", *(f"1,{n:03d}" for n in range(111, 175))], 0, 1111, "'.'"),
    ],
)
def test_one_whole_number_makes_no_thousands(cells: list[str], first: float, second: float, mark: str) -> None:
    """It does where it is far from what stands before the commas, or where all others have three digits behind."""
    table = read("P [bar];Flow [l/min]\n" + "".join(f"{cell};2,50{n % 10}\n" for n, cell in enumerate(cells)))
    assert table.channels[0].values[:2].tolist() == [first, second]
    assert table.channels[1].values[0] == 2.5
    notes = [note for note in table.report.notes if "decimal mark" in note]
    assert all(("'P [bar]'" in note) == note.startswith(mark) for note in notes)


@pytest.mark.parametrize(("header", "well", "ill"), [("Status", "Normal", "Alarm"), ("State", "OK", "High pressure")])
def test_a_state_of_the_machine_is_no_quality(header: str, well: str, ill: str) -> None:
    """Its faults are what is looked for: none of its readings is left out, not beside words of a quality either."""
    words = [ill if n > 20 else well for n in range(30)]
    for each in (words, [*words[:-1], "Bad"]):
        rows = "".join(f"2026-03-02 06:00:{n:02d};{10.5 + n};{word}\n" for n, word in enumerate(each))
        table = read(f"Time;P [bar];{header}\n{rows}")
        assert int(np.isnan(table.channels[0].values).sum()) == each.count("Bad")
    assert any(f"{ill!r} are no words of quality" in note for note in table.report.notes)


@pytest.mark.parametrize(
    ("unit", "reason"),
    [
        ("foo", "unit 'foo' of 'Pressure' is not known"),
        ("", "no unit of 'Pressure', which others have"),
        ("degC", "'Pressure' in degC, which is not converted to bar"),
    ],
)
def test_a_row_in_a_unit_that_cannot_be_read_is_left_out(unit: str, reason: str) -> None:
    """It is not taken for that of most rows of its tag."""
    rows = "".join(f"2026-03-02 06:00:0{n};Pressure;{70 + n};{'bar' if n < 6 else unit}\n" for n in range(9))
    table = read(f"Time;Tag;Value;Unit\n{rows}")
    assert (table.channels[0].unit, table.channels[0].values.tolist()) == ("bar", [70, 71, 72, 73, 74, 75])
    assert (3, reason) in [(each.count, each.reason) for each in table.report.left_out]
