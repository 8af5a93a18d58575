"""Reads one file of readings into channels with units, one row a moment, and a report of all that was left out."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.errors import InvalidInput
from pipelines.signals.tabular.account import Account, ColumnReading, LeftCells, Report
from pipelines.signals.tabular.bounds import CELLS_MAX, check_size
from pipelines.signals.tabular.cells import read_columns
from pipelines.signals.tabular.clocks import Moments
from pipelines.signals.tabular.fields import (
    Field,
    fields_of,
    find_time,
    header_zone,
    name_rest,
    stacked,
    without_noise,
)
from pipelines.signals.tabular.headings import Heading, read_heading
from pipelines.signals.tabular.layout import Body, Grid, find_body
from pipelines.signals.tabular.merge import Merged, gaps, merge, turn
from pipelines.signals.tabular.omissions import Reading, leave_bad, leave_timeless, put_in_zone
from pipelines.signals.tabular.source import open_grid
from pipelines.signals.tabular.tags import machines_of
from pipelines.signals.units import convert, quantity_of, read_unit
from pipelines.signals.windows import Floats

# A line above the header that names the zone.
ZONE = re.compile(r"time ?zone|zeitzone|часовой пояс|\btz\b", re.IGNORECASE)
LABEL = "label"
# Tells by header and cells whether a column is what people say of the rows, and no reading.
IsLabel = Callable[[str, "pd.Series[Any]"], bool]


@dataclass(frozen=True, slots=True, eq=False)
class Column:
    """One column of readings.

    Attributes:
        name: Without the path of its machine.
        header: As found; the tag in a long layout.
        unit: Canonical; None where none is given.
        guess: Quantity by the letters of a tag, which people have to confirm.
        secondary: Not the machine's main reading of its quantity.
        values: NaN where there is none.
        unknown: What stands in its header as a unit and is none that is known; empty where nothing does.
    """

    name: str
    header: str
    quantity: str | None
    unit: str | None
    guess: str | None
    secondary: bool
    values: Floats
    unknown: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A file of readings with one row a moment and machine.

    Attributes:
        times: UTC; None where rows have an order alone. Time that has passed is counted from 1970.
        machines: Of each row; None where the file names none.
        texts: Other columns, by header, as text.
        rows: Number of the row in the file that each was made from, from 0.
        step_s: Usual time between two moments; 0 where there is no time.
        zoned: Whether the zone of the moments is known, by the file or by whoever read it.
        left: Cells that were left out though they hold something.
    """

    times: NDArray[np.datetime64] | None
    machines: NDArray[np.object_] | None
    channels: tuple[Column, ...]
    texts: Mapping[str, NDArray[np.object_]]
    rows: NDArray[np.int64]
    step_s: float
    report: Report
    zoned: bool = False
    left: tuple[LeftCells, ...] = ()


def read_table(
    source: Path | bytes,
    name: str = "",
    zone: str | None = None,
    cells: int = CELLS_MAX,
    is_label: IsLabel | None = None,
) -> Table:
    """Read a file of CSV, text, Excel or Parquet, packed by gzip or not.

    Args:
        source: The file, or where it is.
        name: To tell it by; the path's own when left out.
        zone: Of moments that name none, as `Europe/Berlin`; they are taken as UTC when left out.
        cells: Rows times columns, at most, in the file and in what becomes of it.
        is_label: Which columns are kept as text, whatever they are called or hold; none when left out.

    Raises:
        InvalidInput: It cannot be read, or is over a limit.
    """
    name = name or (source.name if isinstance(source, Path) else "file")
    grid = open_grid(source, name, cells)
    body = find_body(grid, name)
    reading = _begun(grid, body, name, cells, is_label)
    zone = zone or next((named for line in body.preamble if ZONE.search(line) and (named := header_zone(line))), None)
    moments, columns, zone = find_time(reading.fields, zone)
    reading.moments = moments
    if moments is not None:
        leave_timeless(reading, columns)
        put_in_zone(reading, zone)
    elif timeless := [each.header for each in reading.fields if each.named == "time" and each.role != LABEL]:
        reading.account.note(
            f"{', '.join(map(repr, timeless))}: read as no time, most cells are no moments of one form"
        )
    decimal = read_columns(reading.fields, grid.delimiter, reading.account)
    name_rest(reading.fields, reading.moments)
    leave_bad(reading)
    rows_read = len(reading.rows)
    tag = reading.with_role("tag")
    merged, texts = _long(reading, tag[0], cells) if tag else _wide(reading, cells)
    line = 1 if grid.headers is not None else 0 if body.header_row is None else body.header_row + 1
    layout = "long" if tag else "wide"
    shape = Report(name, grid.kind, grid.encoding, grid.delimiter, decimal * (grid.kind == "text"), line, layout)
    return _table(reading, merged, texts, shape, columns, zone, rows_read)


def _begun(grid: Grid, body: Body, name: str, cells: int, is_label: IsLabel | None) -> Reading:
    account = Account()
    for note in grid.notes:
        account.note(note)
    if body.preamble:
        account.note(f"above the header: {' / '.join(body.preamble[:5])[:200]}")
    fields, rows = without_noise(fields_of(grid, body), body, account)
    if not fields:
        raise InvalidInput("file", name, "must hold rows of numbers")
    for field in fields:
        if is_label is not None and is_label(field.header, field.cells):
            field.role, field.named, field.heading, field.unit = LABEL, None, Heading(field.header), None
    fields, rows, blocks = stacked(fields, rows, cells)
    if len(np.unique(blocks)) > 1:
        account.note(f"{blocks.max() + 1} columns of moments, each for the columns after it: brought together")
    return Reading(fields, rows, blocks, None, account)


def _machine_keys(reading: Reading) -> NDArray[np.object_] | None:
    names = reading.machine_words()
    if names is None:
        return None
    gone = (names == "").to_numpy(dtype=np.bool_)
    if gone.any():
        header = reading.with_role("machine")[0].header
        reading.account.leave("rows", (reading.rows[gone] + 1).tolist(), f"no machine under {header!r}")
        reading.only(~gone)
        names = names[~gone]
    return names.to_numpy(dtype=object)


def _nanos(reading: Reading) -> NDArray[np.int64]:
    """Return the moments, or the numbers of the rows where there is no time."""
    return np.arange(len(reading.rows), dtype=np.int64) if reading.moments is None else reading.moments.nanos


def _long(reading: Reading, tag: Field, cells: int) -> tuple[Merged, dict[str, NDArray[np.object_]]]:
    """Read one tag a row."""
    machines = _machine_keys(reading)
    (value,) = reading.with_role("value")
    assert value.numbers is not None  # noqa: S101
    names = tag.words
    split = machines_of(list(names.unique())) if machines is None else {}
    keys = (
        machines
        if machines is not None
        else names.map({n: m for n, (m, _) in split.items()}).fillna("").to_numpy(object)
    )
    own = names.map({n: o for n, (_, o) in split.items()}).fillna(names)
    units = reading.with_role("unit")
    said = units[0].words if units else None
    for name in own.unique():
        mine = (own == name).to_numpy(dtype=np.bool_)
        heading = read_heading(name)
        if said is not None:
            heading = _in_one_unit(reading, value, name, mine, said, heading)
        elif heading.unit is None and value.unit:
            heading = heading._replace(unit=value.unit, quantity=quantity_of(value.unit))
        elif heading.unit is None and value.heading.unknown:
            heading = heading._replace(unknown=value.heading.unknown)
        reading.headings[name] = heading._replace(text=str(names[mine].iloc[0]))
    frame = pd.DataFrame(
        {
            "machine": keys,
            "nanos": _nanos(reading),
            "row": reading.rows,
            "tag": own.to_numpy(),
            "value": value.numbers.values,
        }
    )
    frame = frame[frame["value"].notna()]
    if not len(frame):
        raise InvalidInput("file", value.header, "must hold numbers of good quality")
    check_size(len(frame[["machine", "nanos"]].drop_duplicates()), frame["tag"].nunique(), tag.header, cells)
    wide, tags = turn(frame, reading.account)
    return merge(wide, tags, reading.account), {}


def _in_one_unit(
    reading: Reading, value: Field, name: str, mine: NDArray[np.bool_], said: "pd.Series[str]", heading: Heading
) -> Heading:
    """Bring the values of one tag to the unit that most of its rows name."""
    assert value.numbers is not None  # noqa: S101
    counts = said[mine].map(read_unit).value_counts()
    if not len(counts):
        return heading
    unit = str(counts.index[0])
    strange = mine & said.map(read_unit).isna().to_numpy(dtype=np.bool_) & ~np.isnan(value.numbers.values)
    for word in said[strange].unique()[:5]:
        part = strange & (said == word).to_numpy(dtype=np.bool_)
        reason = f"unit {word!r} of {name!r} is not known" if word else f"no unit of {name!r}, which others have"
        reading.account.leave("rows", (reading.rows[part] + 1).tolist(), reason)
        strange &= ~part
        value.numbers.values[part] = np.nan
    reading.account.leave("rows", (reading.rows[strange] + 1).tolist(), f"units of {name!r} that are not known")
    value.numbers.values[strange] = np.nan
    for other in map(str, counts.index[1:]):
        part = mine & (said.map(read_unit) == other).to_numpy(dtype=np.bool_)
        if quantity_of(other) != quantity_of(unit):
            reason = f"{name!r} in {other}, which is not converted to {unit}"
            reading.account.leave("rows", (reading.rows[part] + 1).tolist(), reason)
            value.numbers.values[part] = np.nan
            continue
        value.numbers.values[part] = convert(value.numbers.values[part], other, unit)
        reading.account.note(f"{name!r}: {part.sum()} values in {other} are read in {unit}, as most")
    quantity = heading.quantity if heading.quantity == "level" else quantity_of(unit)
    return heading._replace(unit=unit, quantity=quantity)


def _wide(reading: Reading, cells: int) -> tuple[Merged, dict[str, NDArray[np.object_]]]:
    """Read one channel a column; columns of several machines are set one below the other."""
    machines = _machine_keys(reading)
    channels = {each.header: each for each in reading.with_role("channel")}
    if not channels:
        raise InvalidInput(
            "file", ", ".join(each.header for each in reading.fields)[:80], "must have a column of numbers"
        )
    split = machines_of(list(channels)) if machines is None else {}
    base = {"nanos": _nanos(reading), "row": reading.rows, "block": reading.blocks}
    frames = []
    owners: dict[str, dict[str, Field]] = {}
    for header, each in channels.items():
        machine, name = split.get(header, ("", header))
        owners.setdefault(machine, {})[name] = each
        reading.headings.setdefault(name, each.heading._replace(unit=each.unit, quantity=_quantity(each)))
    check_size(len(reading.rows) * len(owners), len(reading.headings), next(iter(channels)), cells)
    for machine, held in owners.items():
        values = {name: _values(reading, name, each) for name, each in held.items()}
        key = machines if machines is not None else machine
        frames.append(pd.DataFrame({"machine": key, **base, **values}))
    frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    names = list(reading.headings)
    if reading.moments is None:
        order = frame.sort_values(["machine", "nanos"], kind="stable")
        found = {name: order[name].to_numpy(dtype=np.float64) for name in names}
        merged = Merged(
            order["machine"].to_numpy(object), order["nanos"].to_numpy(np.int64), found, order["row"].to_numpy(np.int64)
        )
    else:
        merged = merge(frame, names, reading.account)
    sorter = np.argsort(reading.rows, kind="stable")
    places = sorter[np.searchsorted(reading.rows, merged.rows, sorter=sorter)]
    texts = [*reading.with_role("text"), *reading.with_role(LABEL)]
    return merged, {each.header: each.words.to_numpy(dtype=object)[places] for each in texts}


def _quantity(each: Field) -> str | None:
    if each.unit is None or each.heading.quantity in ("level", "humidity"):
        return each.heading.quantity
    return quantity_of(each.unit)


def _values(reading: Reading, name: str, each: Field) -> Floats:
    """Return the values of a column in the unit of the first column of that name."""
    assert each.numbers is not None  # noqa: S101
    unit = reading.headings[name].unit
    return (
        convert(each.numbers.values, each.unit, unit)
        if unit and each.unit and unit != each.unit
        else each.numbers.values
    )


def _table(
    reading: Reading,
    merged: Merged,
    texts: dict[str, NDArray[np.object_]],
    report: Report,
    times: Sequence[Field],
    zone: str | None,
    rows_read: int,
) -> Table:
    account, moments = reading.account, reading.moments
    none = np.full(len(merged.nanos), np.nan)  # of a tag without one good value
    columns = tuple(
        Column(name, h.text, h.quantity, h.unit, h.guess, h.secondary, merged.values.get(name, none), h.unknown)
        for name, h in reading.headings.items()
    )
    step, count, longest = gaps(merged) if moments is not None else (0.0, 0, 0.0)
    if count:
        account.note(f"gaps: {count}, the longest of {longest:g} s; nothing is put into them")
    machines = tuple(str(name) for name in dict.fromkeys(merged.machines) if name)
    report = replace(
        report,
        time=_time_words(moments, times, zone, merged, step),
        rows_read=rows_read,
        moments=len(merged.nanos),
        machines=machines,
        columns=(*_other_columns(reading), *map(_told, columns)),
        left_out=tuple(account.left_out),
        notes=tuple(account.notes),
    )
    stamps = None if moments is None else merged.nanos.view("datetime64[ns]")
    zoned = moments is not None and (moments.zoned or zone is not None)
    keys = merged.machines if machines else None
    return Table(stamps, keys, columns, texts, merged.rows, step, report, zoned, tuple(account.cells))


def _time_words(moments: Moments | None, times: Sequence[Field], zone: str | None, merged: Merged, step: float) -> str:
    if moments is None:
        return ""
    headers = " and ".join(repr(each.header) for each in times)
    every = f", every {step:g} s" if step else ""
    if moments.kind == "elapsed":
        return f"{headers}, {moments.text}{every}"
    first, last = (np.datetime_as_string(np.datetime64(int(f(merged.nanos)), "ns"), "s") for f in (np.min, np.max))
    where = "zone as written" if moments.zoned else f"zone {zone}" if zone else "no zone given: read as UTC"
    return f"{headers}, {moments.text}, {where}; {first}Z to {last}Z{every}"


def _other_columns(reading: Reading) -> list[ColumnReading]:
    return [ColumnReading(each.header, each.role) for each in reading.fields if each.role != "channel"]


def _told(column: Column) -> ColumnReading:
    known = column.values[~np.isnan(column.values)]
    least, greatest = (float(known.min()), float(known.max())) if len(known) else (None, None)
    heading = Heading(column.header, column.quantity, column.unit, column.guess, unknown=column.unknown)
    return ColumnReading(
        column.header, "channel", column.quantity, column.unit, heading.asked, len(known), least, greatest
    )
