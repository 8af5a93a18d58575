"""Keeps account of how a file was read: what was taken as what, and what was left out, with its reason."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Omission:
    """Rows or cells that were left out for one reason.

    Attributes:
        what: `rows`, or `cells of` a column.
        first: The first of them, with its line.
    """

    what: str
    count: int
    reason: str
    first: str

    def __str__(self) -> str:
        return f"{self.count} {self.what}: {self.reason} (first: {self.first})"


@dataclass(frozen=True, slots=True, eq=False)
class LeftCells:
    """Cells that hold something and were left out for one reason, as they stand, for whoever reviews them.

    Attributes:
        headers: Of the column of each, or its tag in a long layout.
        machines: Of each; empty where the file names none.
        nanos: Moment of each, in nanoseconds since 1970.
        words: What stands there.
    """

    headers: NDArray[np.object_]
    machines: NDArray[np.object_]
    nanos: NDArray[np.int64]
    words: NDArray[np.object_]
    reason: str

    def of_machine(self, name: str) -> "LeftCells":
        """Return those of one machine."""
        keep = self.machines == name
        return LeftCells(self.headers[keep], self.machines[keep], self.nanos[keep], self.words[keep], self.reason)


@dataclass(frozen=True, slots=True)
class ColumnReading:
    """What one column was read as.

    Attributes:
        header: As it stands in the file.
        role: `time`, `machine`, `tag`, `value`, `quality`, `unit`, `channel`, `text`, `label` or `empty`.
        quantity: What its words or its unit say that it measures; None where nothing does.
        unit: Canonical name of the unit it was read in; None where there is none.
        asked: What has to be said by people, as a question; empty where nothing has.
    """

    header: str
    role: str
    quantity: str | None = None
    unit: str | None = None
    asked: str = ""
    values: int = 0
    least: float | None = None
    greatest: float | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """How a file was read.

    Attributes:
        kind: `text`, `workbook` or `parquet`.
        encoding, delimiter, decimal: Of a text; the decimal mark of most of its columns.
        header_row: Line of the header, from 1; 0 where there is none.
        layout: `wide`, one column a channel, or `long`, one tag a row.
        time: Column or columns of the time, their format and zone, in words; empty where there is no time.
        notes: What was assumed or mended, in words.
    """

    name: str
    kind: str
    encoding: str = ""
    delimiter: str = ""
    decimal: str = ""
    header_row: int = 0
    layout: str = "wide"
    time: str = ""
    rows_read: int = 0
    moments: int = 0
    machines: tuple[str, ...] = ()
    columns: tuple[ColumnReading, ...] = ()
    left_out: tuple[Omission, ...] = ()
    notes: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Return the report in plain values."""
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield the report as people read it."""
        told = [self.kind, self.encoding, f"delimiter {self.delimiter!r}" * bool(self.delimiter)]
        told += [f"decimal mark {self.decimal!r}" * bool(self.decimal)]
        told += [f"header in line {self.header_row}" if self.header_row else "no header", f"{self.layout} layout"]
        yield f"{self.name}: {', '.join(word for word in told if word)}"
        yield f"  time: {self.time or 'none, rows are taken in their order'}"
        machines = f", machines: {', '.join(self.machines)}" if self.machines else ""
        yield f"  {self.rows_read} rows read, {self.moments} moments{machines}"
        for column in self.columns:
            yield f"  {_column_line(column)}"
        for omission in self.left_out:
            yield f"  left out: {omission}"
        for note in self.notes:
            yield f"  note: {note}"


def _column_line(column: ColumnReading) -> str:
    told = [f"{column.header!r}: {column.role}"]
    if column.role == "channel":
        told = [f"{column.header!r}: {column.quantity or 'unknown quantity'}, {column.unit or 'no unit'}"]
        if column.least is not None:
            told += [f"{column.values} values {column.least:g} to {column.greatest:g}"]
    return ", ".join([*told, *([column.asked] if column.asked else [])])


@dataclass(slots=True)
class Account:
    """Gathers what a reading leaves out and assumes."""

    left_out: list[Omission] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    cells: list[LeftCells] = field(default_factory=list)

    def leave(self, what: str, lines: Sequence[int], reason: str, first: object = "") -> None:
        """Note what was left out; nothing where there are no lines."""
        if len(lines):
            shown = f"line {lines[0]}" + (f": {str(first)[:60]!r}" if first != "" else "")
            self.left_out.append(Omission(what, len(lines), reason, shown))

    def note(self, text: str) -> None:
        """Note an assumption once."""
        if text not in self.notes:
            self.notes.append(text)
