"""Brings files as people have them to a family's recordings: one row a sample, or windows."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.datasets.mapping import Mapped, Wanted, map_channels, of_machine, readings_of
from pipelines.errors import InvalidInput, NotFound
from pipelines.machines.commissioning import LEAST, NEEDED
from pipelines.machines.family import Family
from pipelines.machines.proposal import SAMPLES_TAKEN, Proposal, propose
from pipelines.signals.tabular import Report, Table, read_table
from pipelines.signals.tabular.bounds import CELLS_MAX
from pipelines.signals.windows import Floats, Window, filled

MACHINE, TIME, ROW = "machine", "time", "row"
# Readings come faster than the family's where their step is below this share of it. Source: own choice.
FASTER = 0.75
# Steps of the rate that are no gap yet. Source: own choice; one reading may be late, or lost.
GAP = 2.5

# Windows that a machine is commissioned from, at most. Source: the memory of a baseline; more would be forgotten.
WINDOWS_MAX = 400

Tell = Callable[[str], object]


class Proposed(NamedTuple):
    """A machine kind that a file shows.

    Attributes:
        report: How the file was read.
        lines: What was found how, what is odd, and how many machines there are, in words.
    """

    proposal: Proposal
    report: Report
    lines: tuple[str, ...]


def proposed(
    source: Path | bytes,
    title: str,
    wanted: Wanted,
    cells: int = CELLS_MAX,
    taken: tuple[int, int] = SAMPLES_TAKEN,
) -> Proposed:
    """Propose a machine kind from a file of readings.

    Args:
        source: The file, or where it is.
        title: One line for people.
        wanted: What people say of the file.
        cells: As in `read_table`.
        taken: As in `propose`.

    Raises:
        InvalidInput: It cannot be read, no column has a unit, or rows come too seldom.
    """
    table = read_table(source, zone=wanted.zone, cells=cells)
    readings, lines = readings_of(table, wanted)
    proposal = propose(title, readings, table.step_s, taken)
    count = len(table.report.machines)
    several = [f"{count} machines: a system for each"] if count > 1 else []
    return Proposed(proposal, table.report, (*lines, *proposal.notes, *several))


@dataclass(frozen=True, slots=True)
class Source:
    """A Parquet file of recordings, and the columns that name its recordings and order their samples."""

    path: Path
    entity: str
    order: str


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
    family: Family,
    source: Path | bytes,
    wanted: Wanted,
    tell: Tell,
    begin: datetime | None = None,
    end: datetime | None = None,
    cells: int = CELLS_MAX,
) -> list[Window]:
    """Return the windows of one machine in a file, of the family's length: at most `WINDOWS_MAX`, from all over it.

    They lie one behind the other; where that is fewer than a commissioning has, each has half of the one before it. A
    gap ends a window; samples that are missing stand on the line between their neighbours, as far as the family allows,
    and a channel that lacks more is not measured in that window.

    Args:
        family: Of the machine.
        source: The file, or where it is.
        wanted: What people say of it.
        tell: Told line by line how it was read.
        begin: Of the readings that count; all when left out.
        end: Likewise.
        cells: As in `read_table`.

    Raises:
        InvalidInput: It cannot be read, holds no channel of the family, or several machines of which none is named.
    """
    if begin is not None and end is not None and end <= begin:
        raise InvalidInput("to", end.isoformat(), "must be later than from")
    table = read_table(source, zone=wanted.zone, cells=cells)
    for line in table.report.lines():
        tell(line)
    table = of_machine(table, wanted.machine)
    mapped = map_channels(table, family, wanted)
    frame, told = frame_of(table, mapped, family, table.report.name.partition(".")[0])
    for line in (*mapped.lines, *told):
        tell(f"  {line}")
    family_hz = next(iter(family.channels.values())).rate_hz
    # Readings that come more slowly than the family's make windows of as many samples.
    rate_hz = min(family_hz, 1 / table.step_s) if table.step_s > 0 else family_hz
    if table.times is None and (begin is not None or end is not None):
        field = "to" if begin is None else "from"
        raise InvalidInput(field, str(begin or end), "must be left out: no column of the file is read as moments")
    frame, moments = _within(frame, table.times is not None, begin, end)
    length = max(1, round(family.window_s * family_hz))
    places, short = spans(moments, len(frame), rate_hz, length)
    halves = ""
    if LEAST <= len(places) < NEEDED:
        places, _ = spans(moments, len(frame), rate_hz, length, max(1, length // 2))
        halves = ", each with half of the one before it"
    taken = np.linspace(0, len(places) - 1, min(len(places), WINDOWS_MAX)).astype(np.int64).tolist()
    values = {name: frame[name].to_numpy() for name in mapped.values}
    pieces = ({name: each[places[number]] for name, each in values.items()} for number in taken)
    found = [window for piece in pieces if (window := whole(piece, rate_hz, family)) is not None]
    tell(f"  {len(places)} windows of {length / rate_hz:g} s{halves}; {short} samples at ends and gaps fill none")
    if len(found) < len(places):
        tell(f"  {len(found)} of the windows are taken, from all over the file")
    return found


def _within(
    frame: pd.DataFrame, is_timed: bool, begin: datetime | None, end: datetime | None
) -> tuple[pd.DataFrame, NDArray[np.datetime64] | None]:
    """Return the rows between two moments, with their own; all rows, and None, where there are no moments."""
    if not is_timed:  # a column of another kind may bear that name
        return frame, None
    moments = frame[TIME].astype("datetime64[ns]").to_numpy()
    chosen = np.ones(len(frame), dtype=np.bool_)
    for edge, below in ((begin, True), (end, False)):
        if edge is not None:
            at = np.datetime64(int(edge.timestamp() * 1e9), "ns")
            chosen &= moments >= at if below else moments < at
    return frame[chosen], moments[chosen]


def spans(
    moments: NDArray[np.datetime64] | None, count: int, rate_hz: float, length: int, step: int = 0
) -> tuple[list[NDArray[np.int64]], int]:
    """Return the places of each window's samples, and how many would fill none that lie one behind the other.

    Args:
        moments: Of the samples of one machine; a gap ends a window. None where they have an order alone.
        count: Of the samples.
        rate_hz: Of the samples.
        length: Samples of a window.
        step: Samples from the begin of one to that of the next; 0 for one behind the other.
    """
    steps = np.zeros(0, dtype=np.int64) if moments is None else np.diff(moments).astype(np.int64)
    breaks = np.flatnonzero(steps > GAP / rate_hz * 1e9) + 1
    found, short = list[NDArray[np.int64]](), 0
    for piece in np.split(np.arange(count, dtype=np.int64), breaks):
        short += len(piece) % length
        found += [piece[first : first + length] for first in range(0, len(piece) - length + 1, step or length)]
    return found, short


def whole(values: Mapping[str, Floats], rate_hz: float, family: Family) -> Window | None:
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
