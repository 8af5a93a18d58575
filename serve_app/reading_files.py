"""Reads files as people have them into readings: CSV, Excel or Parquet, by the channels of a family.

Beside `acquisition`, which says what a reading is and reads JSON.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from pipelines.datasets.mapping import Mapped, Wanted, map_channels, of_machine
from pipelines.errors import InvalidInput, OverLimit
from pipelines.machines.family import Family
from pipelines.signals.tabular import Column, Table, read_table
from pipelines.signals.tabular.bounds import CELLS_MAX
from serve_app.acquisition import NAME_MAX, ROWS_MAX, Acquired, as_text, check_moment, implausible
from serve_app.store.columns import EPOCH, ReadingColumns
from serve_app.store.records import Suspect


class Bounds(NamedTuple):
    """What is taken of one file.

    Attributes:
        rows: Moments.
        cells: Rows times columns.
        aside: Values of one column and reason that are set aside; the rest of them is counted alone.
    """

    rows: int = ROWS_MAX
    cells: int = CELLS_MAX
    aside: int = 10**9


OF_REQUEST = Bounds()
# So many columns or reasons have all that they may set aside. Source: own choice.
KINDS_ASIDE = 100


def read_file(body: bytes, family: Family, wanted: Wanted, now: datetime, bounds: Bounds = OF_REQUEST) -> Acquired:
    """Read CSV, Excel or Parquet: columns by name, or by quantity and unit, brought to the family's units.

    Args:
        body: The file.
        family: Whose channels are looked for.
        wanted: What people say of the file.
        now: By the service's clock.
        bounds: What is taken of it.

    Raises:
        OverLimit: It holds more than its bounds.
        InvalidInput: It cannot be read, is of several machines, holds no channel of the family, or moments that cannot
            be kept.
    """
    table = of_machine(read_table(body, "body", wanted.zone, bounds.cells), wanted.machine)
    _check_table(table, now, bounds.rows)
    mapped = map_channels(table, family, wanted, any_value=True)
    micros = np.asarray(table.times).astype("datetime64[us]").astype(np.int64)
    parts, empty, aside = [], 0, _Aside(micros, bounds.aside)
    by_header = {column.header: name for name, column in mapped.columns.items()}
    for name, values in mapped.values.items():
        channel, given = family.channels[name], ~np.isnan(values)
        empty += int((~given).sum())
        good = given & (values >= channel.low) & (values <= channel.high) & np.isfinite(values)
        parts.append((name, micros[good], values[good]))
        for at, value in aside.pairs(values, given & ~good):
            aside.suspects.append(Suspect(name, at, f"{value:.12g}", implausible(value, channel)))
    for column in table.channels:
        if column.header not in by_header:
            empty += int(np.isnan(column.values).sum())
            reason = _unmapped(column, family)
            pairs = aside.pairs(column.values, ~np.isnan(column.values))
            aside.suspects.extend(Suspect(_name(column.header), at, f"{v:.12g}", reason) for at, v in pairs)
    cells = sum(len(each.words) for each in table.left)
    aside.suspects.extend(_left(table, by_header, aside))
    readings = ReadingColumns.joined(parts)
    return Acquired(readings, aside.suspects, max(0, empty - cells), _notes(table, mapped), aside.beyond)


class _Aside:
    """Gathers what is set aside of a table, and counts what is more than that."""

    def __init__(self, micros: Any, most: int) -> None:
        self._micros, self._most = micros, most
        self.suspects: list[Suspect] = []
        self.beyond = 0

    def first(self, count: int) -> int:
        """Return how many of so many alike are set aside; the others count as beyond."""
        taken = min(count, self._most, KINDS_ASIDE * self._most - len(self.suspects))
        self.beyond += count - taken
        return taken

    def pairs(self, values: Any, wanted: Any) -> Iterator[tuple[datetime, float]]:
        """Yield the first of the values that are wanted, with their moments."""
        places = np.flatnonzero(wanted)
        places = places[: self.first(len(places))]
        for at, value in zip(self._micros[places].tolist(), values[places].tolist(), strict=True):
            yield EPOCH + timedelta(microseconds=at), value


def _check_table(table: Table, now: datetime, rows: int) -> None:
    if table.times is None:
        raise InvalidInput("time", table.report.name, "must have a column of moments")
    if not table.zoned:
        raise InvalidInput("zone", table.report.time, "must be said, as ?zone=Europe/Berlin: the moments name none")
    if len(table.rows) > rows:
        raise OverLimit("readings", len(table.rows), f"must hold 1 to {rows} moments")
    for place in (int(np.argmin(table.times)), int(np.argmax(table.times))):
        at = _moments(table.times[place : place + 1])[0]
        check_moment(at, f"line {table.rows[place] + 1}", at.isoformat(), now)


def _moments(times: Any) -> list[datetime]:
    """Return moments of nanoseconds as those that the database holds, in microseconds."""
    return [each.replace(tzinfo=UTC) for each in np.asarray(times).astype("datetime64[us]").astype(object)]


def _unmapped(column: Column, family: Family) -> str:
    """Return why a column is read as no channel."""
    unit = f" in {column.unit}" if column.unit else ""
    return f"a column{unit} that is read as no channel of the family {family.name}"


def _left(table: Table, by_header: Mapping[str, str], aside: _Aside) -> Iterator[Suspect]:
    """Yield cells that the reader left out though they hold something."""
    for cells in table.left:
        few = slice(0, aside.first(len(cells.words)))
        moments = _moments(cells.nanos[few].view("datetime64[ns]"))
        for header, at, word in zip(cells.headers[few], moments, cells.words[few], strict=True):
            name = by_header.get(header) or _name(header)
            yield Suspect(name, at, as_text(str(word)), cells.reason)


def _name(header: str) -> str:
    """Return a header as a name that the database can hold."""
    return "".join(letter if letter.isprintable() else " " for letter in header).strip()[:NAME_MAX] or "?"


def _notes(table: Table, mapped: Mapped) -> tuple[str, ...]:
    report = table.report
    return (*mapped.lines, *report.notes, *(f"left out: {omission}" for omission in report.left_out))
