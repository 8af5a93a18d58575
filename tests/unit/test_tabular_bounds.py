"""Files that are made to cost much: each is refused, or read, for a bounded amount of time and memory."""

import io
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import InvalidInput
from pipelines.signals.tabular import read_table
from tests.unit.workbooks import rows_xml, shared_texts, workbook

CELLS = 4_000_000
SECONDS = [f"2026-03-02T06:{n // 60 % 60:02d}:{n % 60:02d}Z" for n in range(3600)]


def text(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def parquet(frame: pd.DataFrame) -> bytes:
    file = io.BytesIO()
    frame.to_parquet(file, index=False)
    return file.getvalue()


def far_cells(cell: str) -> bytes:
    """A workbook of two cells as far apart as they can be, the second written in a way of its own."""
    return workbook({"a": f'<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576">{cell}</row>'})


def one_text_in_many_cells() -> bytes:
    """A workbook in which 200,000 cells are one text of 32,000 characters: 6.4 GB."""
    row = "".join('<c t="s"><v>0</v></c>' for _ in range(100))
    return workbook({"a": "".join(f"<row>{row}</row>" for _ in range(2000))}, parts=shared_texts(["x" * 32_000]))


def one_text_in_many_rows() -> bytes:
    """Parquet in which 100,000 rows are one text of 100,000 characters: 10 GB in a file of some kilobytes."""
    words = pd.Series(["x" * 100_000]).astype("category").take(np.zeros(100_000, dtype=np.int64))
    return parquet(
        pd.DataFrame({"time": np.arange(100_000) + 1_772_430_000, "pressure [bar]": 1.0, "note": words.array})
    )


def every_tag_at_its_own_moment() -> bytes:
    """One tag a row, three hundred of them, none at the moment of another: a row and a column for each."""
    rows = (f"P{n % 300} [bar],{1_772_430_000 + n},1.5" for n in range(20_000))
    return text("tag,time,value", *rows)


def every_column_of_its_own_machine() -> bytes:
    """Many machines, each with channels of its own: a row for each machine and moment."""
    header = [f"M{n}.P{n // 2} [bar]" for n in range(300)]
    return text(",".join(["time", *header]), *(",".join([at, *["1"] * len(header)]) for at in SECONDS[:100]))


def every_column_with_its_own_moments() -> bytes:
    """Columns of moments before each column of numbers: a row for each moment of each."""
    lines = (",".join(f"{at.replace('Z', f'.{n:03d}Z')},1" for n in range(150)) for at in SECONDS[:200])
    return text(",".join(["time", "P [bar]"] * 150), *lines)


def every_mark_of_quality_another() -> bytes:
    """Half of the readings are good, and each of the others is bad in words of its own."""
    rows = (f"{1_772_430_000 + n},1.5,{'good' if n % 2 else f'no {n}'}" for n in range(100_000))
    return text("time,P [bar],quality", *rows)


def many_machines_with_many_channels() -> bytes:
    """Two hundred machines in a column, of as many channels."""
    header = ",".join(["time", "machine", *(f"P{n} [bar]" for n in range(200))])
    return text(header, *(",".join([SECONDS[n], f"M{n}", *["1"] * 200]) for n in range(200)))


REFUSED: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "columns": (lambda: text(",".join(["c"] * 500_000), ",".join(["1"] * 500_000)), "at most 2000 columns"),
    "cells": (lambda: text("a,b", *["1,2"] * 2_000_001), "at most 4000000 cells"),
    "reference in another place": (lambda: far_cells('<c s="0" r="XFD1048576"><v>1</v></c>'), "columns|cells|bytes"),
    "reference in small letters": (lambda: far_cells('<c r="xfd1048576"><v>1</v></c>'), "columns|cells|bytes|read"),
    "reference in apostrophes": (lambda: far_cells("<c r='XFD1048576'><v>1</v></c>"), "columns|cells|bytes|read"),
    "cells without reference": (lambda: far_cells("<c><v>1</v></c>" * 16_000), "columns|cells|bytes"),
    "far in each of many sheets": (
        lambda: workbook({f"s{n}": '<row r="2000"><c r="BAA2000"><v>1</v></c></row>' for n in range(60)}),
        "rows of numbers",
    ),
    "one text in many cells": (one_text_in_many_cells, "bytes"),
    "one text in many rows": (one_text_in_many_rows, "must not unpack to more"),
    "entities": (
        lambda: workbook({"a": rows_xml([["&a;"]])}, declared='<!DOCTYPE x [<!ENTITY a "aaaaaaaa">]>'),
        "rows of numbers|workbook",
    ),
    "external entities": (
        lambda: workbook({"a": "&a;"}, declared='<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>'),
        "must not be empty|workbook",
    ),
    "tags": (every_tag_at_its_own_moment, "at most 4000000 cells"),
    "machines": (every_column_of_its_own_machine, "at most 4000000 cells|columns"),
    "channels of machines": (many_machines_with_many_channels, "channels of all machines"),
    "moments": (every_column_with_its_own_moments, "at most 4000000 cells"),
    "a name of a megabyte": (
        lambda: text("time," + "p " * 400_000, *(f"{at},1" for at in SECONDS[:9])),
        "name columns",
    ),
}


@pytest.mark.parametrize("hostile", REFUSED)
def test_what_would_cost_much_is_refused(hostile: str) -> None:
    """By its rule, before it is made."""
    make, rule = REFUSED[hostile]
    with pytest.raises(InvalidInput, match=rule):
        read_table(make(), "hostile", cells=CELLS)


def one_long_number() -> bytes:
    """A number of half a million digits, which is none, and a text that begins as one."""
    return text("time,P [bar]", *(f"{at},1.5" for at in SECONDS[:50]), f"{SECONDS[50]},{'9' * 500_000}x{'9' * 20}")


READ: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "a number of many digits": (one_long_number, "are no numbers"),
    "digits that Python does not convert": (
        lambda: text("time,P [bar]", *(f"{at},1.5" for at in SECONDS[:50]), f"{SECONDS[50]},{'9' * 5000}"),
        "are no numbers",
    ),
    "marks of quality": (every_mark_of_quality_another, "of another quality than good"),
    "a tag of spaces": (
        lambda: text("time;P [bar];note", *(f"{at};1.5;a{' ' * 200_000}b" for at in SECONDS[:20])),
        "",
    ),
}


@pytest.mark.parametrize("hostile", READ)
def test_what_looks_dear_is_read(hostile: str) -> None:
    """What it holds beside is read all the same."""
    make, told = READ[hostile]
    table = read_table(make(), "hostile", cells=CELLS)
    assert len(table.rows) >= 20
    assert not told or any(told in omission.reason for omission in table.report.left_out)
