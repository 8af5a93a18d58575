"""Brings files as people have them to a family's recordings: columns by name, or by quantity and unit, converted."""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipelines.errors import InvalidInput, NotFound
from pipelines.machines.family import Channel, Family, read_family
from pipelines.machines.proposal import Reading
from pipelines.signals.tabular import Column, Table, read_table
from pipelines.signals.tabular.headings import alike, quantity_by_words
from pipelines.signals.units import convert, quantity_of, range_rule, read_unit
from pipelines.signals.windows import Floats, Window, filled

MACHINE, TIME, ROW = "machine", "time", "row"
# Values outside the plausible range that may be sensors' faults; with more of them the unit is doubted.
# Source: own choice; of healthy exports none lies outside.
STRAY = 0.01
# Readings come faster than the family's where their step is below this share of it. Source: own choice.
FASTER = 0.75
# Steps of the rate that are no gap yet. Source: own choice; one reading may be late, or lost.
GAP = 2.5
# Quantities whose units say too little: a valve's position and an efficiency are both in percent.
BARE = {"ratio", "current", "voltage", "length", "time"}
PRIMARY = re.compile(
    r"pump|system|main|supply|oil\b|hydr|насос|систем|масл|главн|напор|haupt|pumpe|öl|förder", re.IGNORECASE
)
GIVEN = re.compile(r"^(.*?)\s*(?:\[([^\[\]]*)\])?$")
UNIT = re.compile(r"\s*[\[(][^\[\]()]*[\])]$")

# Oil that comes back tells its temperature as well as any, where no other does.
RETURNED = re.compile(r"(?:return|rücklauf|слив).*temp|temp.*(?:return|rücklauf|слив)|темп.*слив", re.IGNORECASE)

Tell = Callable[[str], object]


class Mapped(NamedTuple):
    """What a family's channels are read from.

    Attributes:
        values: By channel, in the family's unit.
        columns: By channel.
        lines: How each channel was found, or why it was not, in words.
    """

    values: dict[str, Floats]
    columns: dict[str, Column]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A Parquet file of recordings, and the columns that name its recordings and order their samples."""

    path: Path
    entity: str
    order: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """What people say of a file.

    Attributes:
        columns: By channel, the header of its column, with a unit in brackets behind it where the file has none.
        zone: Of moments that name none.
    """

    columns: Mapping[str, str]
    zone: str | None = None

    @classmethod
    def of(cls, words: Sequence[str], zone: str = "") -> "Wanted":
        """Read `pressure=HPU2.PT101.PV [bar]`.

        Raises:
            InvalidInput: There is no `=`.
        """
        pairs = [word.partition("=") for word in words]
        if wrong := [word for word, (_, mark, header) in zip(words, pairs, strict=True) if not mark or not header]:
            raise InvalidInput("channel", wrong[0], "must be a channel and a column, as pressure='PT101 [bar]'")
        return cls({name.strip(): header.strip() for name, _, header in pairs}, zone or None)


def map_channels(table: Table, family: Family, wanted: Wanted, any_value: bool = False) -> Mapped:
    """Find the columns of a family's channels, and bring them to its units.

    Args:
        any_value: Whether values that are not plausible stay, and are no error.

    Raises:
        InvalidInput: None is found, what people said is not there, or values are far outside what is plausible.
    """
    for name in wanted.columns:
        if name not in family.channels:
            raise InvalidInput("channel", name, f"must be one of {', '.join(family.channels)}")
    found: dict[str, tuple[Column, str, str]] = {}
    lines, values = [], {}
    for name, channel in family.channels.items():
        taken = [column for column, _, _ in found.values()]
        column, unit, why = _found(table, name, channel, wanted, taken)
        if column is None:
            lines.append(f"{name}: {why}")
            continue
        found[name] = (column, unit, why)
        lines.append(f"{name} <- {column.header!r}, {_change(unit, channel.unit)} ({why})")
        values[name] = convert(column.values, unit, channel.unit)
        if not any_value:
            values[name] = _plausible(table, column, values[name], channel, name, lines)
    if not values:
        raise InvalidInput("channels", table.report.name, _questions(table, family, lines))
    return Mapped(values, {name: column for name, (column, _, _) in found.items()}, tuple(lines))


def _change(unit: str, to: str) -> str:
    return unit if unit == to else f"{unit} to {to}"


def _questions(table: Table, family: Family, lines: Sequence[str]) -> str:
    """Return what people have to say where no channel is found."""
    asked = [f"{c.name!r}: {c.guess or 'which quantity'}?" for c in table.channels if c.unit is None][:8]
    example = next(
        (
            f"{c.guess}='{c.name} [{family.channels[c.guess].unit}]'"
            for c in table.channels
            if c.guess in family.channels
        ),
        "",
    )
    hint = (
        f"; say which column is what, as --channel {example or next(iter(family.channels)) + chr(61) + 'HEADER [UNIT]'}"
    )
    return f"must hold a channel of {family.name}: {'; '.join([*asked, *lines])}{hint}"


def _found(
    table: Table, name: str, channel: Channel, wanted: Wanted, taken: Sequence[Column]
) -> tuple[Column | None, str, str]:
    """Return a channel's column, the unit to read it in, and how it was found, or why it was not."""
    if name in wanted.columns:
        return _said(table, wanted.columns[name], channel)
    free = [column for column in table.channels if not any(column is other for other in taken)]
    for known in (channel.column, name):
        for column in free:
            if known in (column.header, column.name) and _convertible(column.unit, channel):
                return column, column.unit or channel.unit, "by name"
    fits = [column for column in free if _fits(column, name, channel)]
    main = [column for column in fits if not column.secondary] or [c for c in fits if RETURNED.search(c.header)]
    if len(main) > 1:
        main = [column for column in main if PRIMARY.search(column.header)] or main
    if len(main) == 1:
        (column,) = main
        others = [other.header for other in fits if other is not column]
        why = "by quantity and unit" if column.unit else f"by quantity; no unit is given, {channel.unit} is assumed"
        return (
            column,
            column.unit or channel.unit,
            why + (f", and not {', '.join(map(repr, others))}" if others else ""),
        )
    if len(fits) > 0:
        return (
            None,
            "",
            f"several columns or none of the main circuit: {', '.join(repr(c.header) for c in fits)}; say --channel",
        )
    other = [c for c in free if quantity_by_words(c.header) == quantity_by_words(name) is not None and c.unit]
    if other:
        return None, "", f"{other[0].header!r} is in {other[0].unit}, which cannot be converted to {channel.unit}"
    return None, "", "no column"


def _convertible(unit: str | None, channel: Channel) -> bool:
    return unit is None or quantity_of(unit) == quantity_of(channel.unit)


def _fits(column: Column, name: str, channel: Channel) -> bool:
    """Return whether a column measures what a channel does."""
    words, quantity = quantity_by_words(column.header), quantity_of(channel.unit)
    meant = quantity_by_words(name.replace("_", " "))
    if column.unit is None:
        return words is not None and words == meant
    if quantity_of(column.unit) != quantity or (words is not None and not alike(words, quantity)):
        return False
    return words == meant or (words is None and quantity not in BARE)


def _said(table: Table, text: str, channel: Channel) -> tuple[Column, str, str]:
    """Return the column that people name.

    Raises:
        InvalidInput: It is not there, or its unit is not known, or another quantity's.
    """
    match = GIVEN.match(text)
    header, unit = (match[1], match[2]) if match else (text, None)
    for name, given in ((text, None), (header, unit)):
        column = next((c for c in table.channels if name.casefold() in _names(c)), None)
        if column is not None:
            known = read_unit(given) if given else column.unit or channel.unit
            if known is None:
                raise InvalidInput("channel", text, f"must have a unit that is known, as {header} [{channel.unit}]")
            if not _convertible(known, channel):
                convert(np.zeros(1), known, channel.unit)
            return column, known, "as said"
    there = ", ".join(repr(column.header) for column in table.channels)
    raise InvalidInput("channel", text, f"must be a column of numbers; there are {there}")


def _names(column: Column) -> set[str]:
    """Return what people may call a column: its header, with and without path and unit."""
    names = {column.header, column.name, UNIT.sub("", column.header), UNIT.sub("", column.name)}
    return {name.casefold() for name in names}


def _plausible(table: Table, column: Column, values: Floats, channel: Channel, name: str, lines: list[str]) -> Floats:
    """Return values without the few that are not plausible.

    Raises:
        InvalidInput: They are many.
    """
    wrong = np.flatnonzero((values < channel.low) | (values > channel.high))
    if not len(wrong):
        return values
    value, line = float(values[wrong[0]]), int(table.rows[wrong[0]]) + 1
    rule = range_rule(value, channel)
    if len(wrong) > STRAY * max(1, int((~np.isnan(values)).sum())):
        raise InvalidInput(f"line {line}, {column.header!r}, read as {name}", value, rule)
    lines.append(f"  left out: {len(wrong)} values of {name}: {rule} (first: line {line}: {value:g})")
    values = values.copy()
    values[wrong] = np.nan
    return values


def readings_of(table: Table, wanted: Wanted) -> tuple[list[Reading], list[str]]:
    """Return the columns of a file as channels of a machine kind that is to be: the main ones by their usual names.

    Returns:
        The channels, and what was found how, in words.

    Raises:
        InvalidInput: What people said of a column is not so.
    """
    generic, lines = read_family("generic"), list[str]()
    names: dict[str, tuple[Column, str]] = {}
    for name, channel in generic.channels.items():
        taken = [column for column, _ in names.values()]
        column, unit, why = _found(table, name, channel, wanted, taken)
        if column is not None and (column.unit or name in wanted.columns):
            names[name] = column, unit
            lines.append(f"{name} <- {column.header!r}, {unit} ({why})")
    for name in wanted.columns:
        if name not in generic.channels:
            column, unit = _asked(table, wanted.columns[name])
            names[name] = column, unit
            lines.append(f"{name} <- {column.header!r}, {unit} (as said)")
    found = [Reading(name, column.header, unit, None, column.values) for name, (column, unit) in names.items()]
    used = {id(column) for column, _ in names.values()}
    for column in table.channels:
        if id(column) not in used:
            name = _channel_name(column, [each.name for each in found])
            found.append(Reading(name, column.header, column.unit, column.guess, column.values))
            lines += [f"{name} <- {column.header!r}, {column.unit}"] if column.unit else []
    return found, lines


def _asked(table: Table, text: str) -> tuple[Column, str]:
    """Return a column that people name for a channel of their own, with its unit.

    Raises:
        InvalidInput: It is not there, or nobody says its unit.
    """
    match = GIVEN.match(text)
    header, unit = (match[1], match[2]) if match else (text, None)
    column = next((each for each in table.channels if header.casefold() in _names(each)), None)
    known = None if column is None else (read_unit(unit) or unit if unit else column.unit)
    if column is None or known is None:
        there = ", ".join(repr(each.header) for each in table.channels)
        raise InvalidInput("channel", text, f"must be a column with a unit, as 'HEADER [bar]'; there are {there}")
    return column, known


def _channel_name(column: Column, taken: Sequence[str]) -> str:
    """Return a name that a definition takes, and that no other channel has."""
    plain = re.sub(r"[^\w .,()/%+-]+", " ", UNIT.sub("", column.name)).strip(" ._-") or "channel"
    plain = re.sub(r"^[\W_]+", "", plain)[:60] or "channel"
    numbers = (f"{plain} {number}" for number in range(2, len(taken) + 3))
    return next(name for name in (plain, *numbers) if name not in taken)


def frame_of(table: Table, mapped: Mapped, family: Family, stem: str) -> tuple[pd.DataFrame, list[str]]:
    """Return one row a sample: machine, time, channels, and all other columns; and what was changed, in words."""
    told: list[str] = []
    parts: dict[str, object] = dict(table.texts)
    used = {id(column) for column in mapped.columns.values()}
    names = {known for name, channel in family.channels.items() for known in (name, channel.column)}
    rest = [column for column in table.channels if id(column) not in used]
    # A column under the name of a channel that it is not, as for its unit, would be taken for it further on.
    told += [
        f"left out: column {column.header!r}, which is not read as that channel"
        for column in rest
        if column.header in names
    ]
    parts |= {column.header: column.values for column in rest if column.header not in names}
    parts |= mapped.values
    parts[MACHINE] = np.full(len(table.rows), stem, dtype=object) if table.machines is None else table.machines
    if table.times is not None:
        parts[TIME] = table.times
    parts[ROW] = table.rows
    frame = pd.DataFrame(parts)
    empty = frame[list(mapped.values)].isna().all(axis=1)
    if empty.any():
        told.append(f"left out: {int(empty.sum())} moments without a value of any channel")
        frame = frame[~empty].reset_index(drop=True)
    rate = next(iter(family.channels.values())).rate_hz
    if 0 < table.step_s * rate < FASTER:
        told.append(f"readings every {table.step_s:g} s are averaged to {rate:g} a second, as the family has them")
        frame = _averaged(frame, rate, list(mapped.values))
    elif table.step_s * rate > 1 / FASTER:
        told.append(f"readings every {table.step_s:g} s are slower than the family's {rate:g} a second")
    for name, values in ((family.entity, frame[MACHINE]), (family.group, frame[MACHINE])):
        if name and name not in frame:
            frame[name] = values
    if family.order and family.order not in frame:
        frame[family.order] = frame.groupby(MACHINE).cumcount()
    return frame, told


def _averaged(frame: pd.DataFrame, rate: float, channels: Sequence[str]) -> pd.DataFrame:
    """Return one row for each time in which the family has a sample: means of channels, the last of all else."""
    nanos = frame[TIME].astype("datetime64[ns]").to_numpy().astype(np.int64)
    slot = (nanos // int(1e9 / rate)) * int(1e9 / rate)
    how: dict[str, str] = {
        name: "mean" if name in channels else "last" for name in frame.columns if name not in (MACHINE, TIME)
    }
    found = frame.assign(**{TIME: slot.view("datetime64[ns]")}).groupby([MACHINE, TIME], sort=True).agg(how)
    return found.reset_index()


def cut(frame: pd.DataFrame, family: Family, channels: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """Cut samples into rows of one window each, for a family whose recordings have such; its labels must be alike."""
    rate = next(iter(family.channels.values())).rate_hz
    length = max(1, round(family.window_s * rate))
    labels = [head.column for head in family.heads.values() if head.column in frame] + [family.label] * bool(
        family.label
    )
    rows, mixed = [], 0
    for _, part in frame.groupby(MACHINE, sort=True):
        for first in range(0, len(part) - length + 1, length):
            piece = part.iloc[first : first + length]
            if piece[list(channels)].isna().any(axis=None) or any(piece[label].nunique() > 1 for label in labels):
                mixed += 1
                continue
            last = piece.iloc[-1].to_dict()
            rows.append(last | {name: piece[name].tolist() for name in channels})
    told = [f"{len(frame)} samples are cut into {len(rows)} windows of {length}"]
    told += [f"left out: {mixed} windows with missing values or with more than one label"] if mixed else []
    if not rows:
        raise InvalidInput("data", len(frame), f"must hold a window of {length} samples without a missing value")
    return pd.DataFrame(rows), told


def windows_in(
    family: Family, source: Path, wanted: Wanted, tell: Tell, begin: datetime | None = None, end: datetime | None = None
) -> list[Window]:
    """Return the windows of one machine in a file, one behind the other, of the family's length.

    A gap ends a window; samples that are missing stand on the line between their neighbours, as far as the family
    allows, and a channel that lacks more is not measured in that window.

    Args:
        tell: Told line by line how it was read.
        begin: Of the readings that count; all when left out.
        end: Likewise.

    Raises:
        InvalidInput: It cannot be read, holds no channel of the family, or several machines.
    """
    table = read_table(source, zone=wanted.zone)
    mapped = map_channels(table, family, wanted)
    frame, told = frame_of(table, mapped, family, source.name.partition(".")[0])
    for line in (*table.report.lines(), *(f"  {line}" for line in (*mapped.lines, *told))):
        tell(line)
    if (machines := sorted(set(frame[MACHINE].tolist()))) and len(machines) > 1:
        raise InvalidInput("machine", len(machines), f"must be one: the file holds {', '.join(map(str, machines[:5]))}")
    family_hz = next(iter(family.channels.values())).rate_hz
    # Readings that come more slowly than the family's make windows of as many samples.
    rate_hz = min(family_hz, 1 / table.step_s) if table.step_s > 0 else family_hz
    if TIME in frame:
        moments = frame[TIME].astype("datetime64[ns]").to_numpy()
        chosen = np.ones(len(frame), dtype=np.bool_)
        for edge, below in ((begin, True), (end, False)):
            if edge is not None:
                at = np.datetime64(int(edge.timestamp() * 1e9), "ns")
                chosen &= moments >= at if below else moments < at
        frame, moments = frame[chosen], moments[chosen]
        breaks = np.flatnonzero(np.diff(moments).astype(np.int64) > GAP / rate_hz * 1e9) + 1
    else:
        breaks = np.zeros(0, dtype=np.int64)
    length = max(1, round(family.window_s * family_hz))
    found, short = [], 0
    for piece in np.split(np.arange(len(frame)), breaks):
        short += len(piece) % length
        for first in range(0, len(piece) - length + 1, length):
            values = {name: frame[name].to_numpy()[piece[first : first + length]] for name in mapped.values}
            if (window := _whole(values, rate_hz, family)) is not None:
                found.append(window)
    tell(f"  {len(found)} windows of {length / rate_hz:g} s; {short} samples at ends and gaps fill none")
    return found


def _whole(values: Mapping[str, Floats], rate_hz: float, family: Family) -> Window | None:
    """Return a window of the channels that lack no more samples than the family allows."""
    missing = {name: int(np.isnan(samples).sum()) for name, samples in values.items()}
    kept = {n: filled(each) for n, each in values.items() if missing[n] <= family.missing * len(each)}
    return Window(kept, rate_hz, tuple((name, missing[name]) for name in kept if missing[name])) if kept else None


def holds_recordings(family: Family, source: Path) -> bool:
    """Return whether a file is Parquet with columns of the family's own names."""
    import pyarrow.parquet as pq

    with source.open("rb") as file:
        if file.read(4) != b"PAR1":
            return False
    names = set(pq.read_schema(source).names)
    return any(known in names for name, channel in family.channels.items() for known in (channel.column, name))


def native_lines(family: Family, source: Path) -> Iterator[str]:
    """Yield how Parquet with a family's own columns is read.

    Raises:
        NotFound: A folder holds none.
    """
    import pyarrow.parquet as pq

    paths = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not paths:
        raise NotFound("Parquet file in", source)
    for path in paths:
        file = pq.ParquetFile(path)
        names = file.schema_arrow.names
        yield f"{path.name}: Parquet, {file.metadata.num_rows} rows, columns by name"
        for name, channel in family.channels.items():
            column = next((known for known in (channel.column, name) if known in names), None)
            yield f"  {name} <- {column!r}, {channel.unit}" if column else f"  {name}: no column"


@contextmanager
def opened(
    family: Family,
    source: Path,
    wanted: Wanted,
    tell: Tell,
    entity: str = "",
    order: str = "",
    dry_run: bool = False,
    windows: bool = False,
) -> Iterator[Source]:
    """Give a file as Parquet with a family's columns: itself where it is, else what is read from it.

    Args:
        tell: Told line by line how it was read.
        entity: Header of the recording; the machine when empty.
        order: Header of the order; the time when empty.
        dry_run: Tell of recordings that are read as they are, too.
        windows: Cut into windows where the family's recordings are.

    Raises:
        InvalidInput: It cannot be read, or holds no channel of the family.
    """
    if source.is_dir() or (holds_recordings(family, source) and not wanted.columns):
        for line in native_lines(family, source) if dry_run else ():
            tell(line)
        yield Source(source, entity, order)
        return
    frame, channels, timed = _read(family, source, wanted, tell)
    for name in (entity, order):
        if name and name not in frame:
            raise InvalidInput("data", name, f"must be a column; there are {', '.join(map(str, frame.columns))}")
    if windows and family.layout == "window":
        frame, told = cut(frame, family, channels)
        for line in told:
            tell(f"  {line}")
    with TemporaryDirectory(prefix="hdx-") as folder:
        path = Path(folder) / f"{source.name}.parquet"
        frame.to_parquet(path, index=False)
        status = source.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))  # a run that was killed knows its source again
        yield Source(path, entity or MACHINE, order or (TIME if timed else ROW))


def _read(family: Family, source: Path, wanted: Wanted, tell: Tell) -> tuple[pd.DataFrame, list[str], bool]:
    table = read_table(source, zone=wanted.zone)
    for line in table.report.lines():
        tell(line)
    mapped = map_channels(table, family, wanted)
    frame, told = frame_of(table, mapped, family, source.name.partition(".")[0])
    for line in (*mapped.lines, *told):
        tell(f"  {line}")
    return frame, list(mapped.values), table.times is not None
