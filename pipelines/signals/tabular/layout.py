"""Finds in a grid of cells where the header stands and where the data begin, whatever people have put above it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pipelines.errors import InvalidInput
from pipelines.signals.tabular.bounds import NAME_MAX
from pipelines.signals.tabular.clocks import CALENDAR, DIGITS
from pipelines.signals.tabular.headings import read_heading, role_of
from pipelines.signals.tabular.numerals import MISSING
from pipelines.signals.units import read_unit

# Rows that a header is looked for in. Source: own choice; the longest preambles of loggers have some dozens of lines.
TOP = 200


@dataclass(frozen=True, slots=True)
class Grid:
    """The cells of a file.

    Attributes:
        columns: One series a column, of text, or of the workbook's own numbers and moments among text.
        kind, encoding, delimiter: As in `Report`.
        headers: Of a file that has them beside its cells, as Parquet; None where they are cells.
        notes: What was assumed or mended in reading the cells.
    """

    columns: tuple["pd.Series[Any]", ...]
    kind: str
    encoding: str = ""
    delimiter: str = ""
    headers: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.columns[0]) if self.columns else 0


@dataclass(frozen=True, slots=True)
class Body:
    """Where the data of a grid stand.

    Attributes:
        headers: By column.
        first: Number of the first row of data.
        header_row: Number of the header's row; None where there is none.
        units: By column, from a row of units below the header; empty where there is none.
        preamble: Text above the header.
    """

    headers: tuple[str, ...]
    first: int
    header_row: int | None
    units: tuple[str, ...]
    preamble: tuple[str, ...] = ()


def is_reading(cell: Any) -> bool:
    """Return whether a cell holds a number or a moment."""
    if not isinstance(cell, str):
        return not pd.isna(cell)
    text = cell.strip()
    if not text or len(text) > 40:
        return False
    return _numeric(text) or bool(any(c.isdigit() for c in text) and ":" in text and _moment(text)) or _date(text)


def _numeric(text: str) -> bool:
    bare = text.lstrip("+-−").replace(" ", "").replace("\u00a0", "").replace("'", "")
    if not bare[:1].isdigit() and not (bare[:1] in ".," and bare[1:2].isdigit()):
        return False
    rest = bare.lstrip("0123456789.,")
    return not rest or all(c in "0123456789eE+-" for c in rest) or read_unit(rest) is not None


def _moment(text: str) -> bool:
    return bool(CALENDAR.match(text) or DIGITS.match(text)) or (text[:1].isdigit() and text.count(":") >= 1)


def _date(text: str) -> bool:
    return text[:1].isdigit() and sum(c.isdigit() for c in text) >= 4 and bool(CALENDAR.match(text))


def find_body(grid: Grid, name: str) -> Body:
    """Find header, units and data of a grid.

    Raises:
        InvalidInput: It holds no data.
    """
    if grid.headers is not None:
        return Body(_numbered(grid.headers), 0, None, ())
    raw = list(map(list, zip(*(column.iloc[:TOP].tolist() for column in grid.columns), strict=True)))
    top = [[_text(cell) for cell in row] for row in raw]
    first = next((row for row in range(len(raw)) if _is_data(raw[row], raw[row + 1 : row + 4])), None)
    if first is None:
        raise InvalidInput("file", name, f"must hold rows of numbers; there are none in its first {len(raw)} rows")
    first = _first_of_data(raw, first)
    last = first - 1
    while last >= 0 and not any(top[last]):
        last -= 1
    units: tuple[str, ...] = ()
    if last > 0 and _is_units(top[last]) and any(top[last - 1]):
        units, last = tuple(top[last]), last - 1
    if last < 0 or not _is_header(top[last], top[first]):
        return Body(_numbered([""] * len(grid.columns)), first, None, units, _preamble(top[:first]))
    headers = top[last]
    if last > 0 and _is_group(top[last - 1], headers):
        headers = _grouped(top[last - 1], headers)
        return Body(_numbered(headers), first, last, units, _preamble(top[: last - 1]))
    return Body(_numbered(headers), first, last, units, _preamble(top[:last]))


def _text(cell: Any) -> str:
    return "" if pd.isna(cell) else str(cell).strip()


def _is_data(row: Sequence[object], following: Sequence[Sequence[object]]) -> bool:
    """Return whether data begin with a row: most of its cells are readings or marks, as in the rows that follow."""

    def share(cells: Sequence[object]) -> tuple[int, int, int]:
        filled = [cell for cell in cells if _text(cell)]
        readings = sum(map(is_reading, filled))
        marks = sum(isinstance(cell, str) and cell.strip().casefold() in MISSING for cell in filled)
        return readings, marks, len(filled)

    readings, marks, filled = share(row)
    if not readings or filled == 1 < sum(bool(_text(cell)) for cell in (following[0] if following else ())):
        return False
    wide = max((share(other)[2] for other in following), default=filled)
    # A long row has a tag, a unit and a quality beside its moment and its value.
    return readings >= 2 or 2 * (readings + marks) >= filled >= wide / 2


def _first_of_data(rows: Sequence[Sequence[object]], first: int) -> int:
    """Return where data begin whose first rows hold a moment and no value yet, right below a header."""
    begin = first
    while begin and is_reading(rows[begin - 1][0]) and not any(map(_text, rows[begin - 1][1:])):
        begin -= 1
    above = [cell for cell in rows[begin - 1] if _text(cell)] if begin else []
    return begin if len(above) > 1 and not any(map(is_reading, above)) else first


def _is_units(row: Sequence[str]) -> bool:
    filled = [cell for cell in row if cell]
    known = [cell for cell in filled if read_unit(cell) or read_unit(cell.strip("[]()"))]
    return len(known) > 0 and 2 * len(known) >= len(filled) and not any(map(role_of, known))


def _is_header(row: Sequence[str], data: Sequence[str]) -> bool:
    filled = [place for place, cell in enumerate(row) if cell]
    # A title above data that have no header fills one cell; data of one column have one header.
    return len(filled) > 1 or sum(map(bool, data)) <= 1 or bool(filled and read_heading(row[filled[0]]).quantity)


def _is_group(row: Sequence[str], headers: Sequence[str]) -> bool:
    """Return whether a row names groups of columns: merged cells above the header, not above its first column."""
    filled = [place for place, cell in enumerate(row) if cell]
    if len(filled) < 2 or row[0] or any(map(is_reading, row)):
        return len(filled) >= 2 and not any(map(is_reading, row)) and max(filled) >= 2 and _repeats(headers)
    return len(filled) <= sum(map(bool, headers))


def _repeats(headers: Sequence[str]) -> bool:
    named = [header for header in headers if header]
    return len(set(named)) < len(named)


def _grouped(groups: Sequence[str], headers: Sequence[str]) -> list[str]:
    found, group = [], ""
    for name, header in zip(groups, headers, strict=True):
        group = name or group
        found.append(f"{group} | {header}" if group and header else header or group)
    return found


def _numbered(headers: Sequence[str]) -> tuple[str, ...]:
    """Return headers of which none is empty and none stands twice.

    Raises:
        InvalidInput: One is too long for a name.
    """
    seen: dict[str, int] = {}
    found = []
    for place, header in enumerate(headers, 1):
        if len(header) > NAME_MAX:
            raise InvalidInput("file", header, f"must name columns by at most {NAME_MAX} characters")
        name = " ".join(header.lstrip("#%; ").split()) or f"column {place}"
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return tuple(found)


def _preamble(rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    return tuple(" ".join(cell for cell in row if cell)[:200] for row in rows if any(row))
