"""Scores recordings offline with the code that serves, so that no service need run."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from configs.settings import Limits
from pipelines.datasets.recordings import beginning, check_columns, entities, series, settled, source_columns, trailing
from pipelines.detectors.base import Detail, FeatureTable
from pipelines.detectors.bundle import Bundle
from pipelines.diagnosis.ensemble import Verdicts, decide, judge, silenced, taught, worded
from pipelines.diagnosis.records import Diagnosis, Inspection
from pipelines.diagnosis.situation import Situations, situations
from pipelines.errors import InvalidInput
from pipelines.machines.commissioning import LEAST, Normal, commission, normals_of
from pipelines.machines.family import Family
from pipelines.scoring.table import tabulated
from pipelines.signals.channels import read_window
from pipelines.signals.reading import feature_table_of, make_feature_table
from pipelines.signals.units import range_rule
from pipelines.signals.windows import Floats, Stack, mended, stack

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CHUNK = 4096  # windows judged together: with 60 samples of 4 channels, 8 MB of samples and 30 MB of features and votes
# Windows of one recording judged between two changes of its baseline. Source: a micro-batch of the service is as large;
# one window at a time gave the same figures at eight times the cost.
BLOCK = 20
# Rows of a written row group: some 10 MB in memory, and large enough for Parquet's encodings to pay.
GROUP = 65_536
# Bytes of each column read at a time. Source: one row group of 200,000 windows, 390 MB: 0.5 MB held in place of 314 MB
# when its columns are read whole, and four times as fast.
BUFFER = 1 << 20

Done = Callable[[int, int], None]


def score(
    family: Family,
    source: Path,
    target: Path,
    members: Mapping[str, Bundle],
    entity: str,
    order: str,
    settle: int,
    done: Done,
    detail: Detail | None = None,
) -> int:
    """Score a Parquet file; return the number of rows written.

    With `entity` each row is one sample, scored from the window that ends with it (see `follow`), so that no row looks
    ahead. Without it each row is one window.

    Args:
        detail: None asks for what names the anomaly: components where the family has heads, else the channels' shares.
            Without `full`, an anomaly that no head judges has no type.

    Raises:
        InvalidInput: A column is missing or a value breaks a rule.
    """
    wanted = detail or names_anomaly(family)
    file = open_parquet(source)
    if entity:
        table = file.read(sample_columns(family, file.schema_arrow, entity, order))
        numbers = np.arange(len(table))
        tables = score_samples(family, table, numbers, members, entity, order, settle, wanted)
    else:
        tables = score_windows(family, file, members, wanted)
    return write(_told(tables, file.metadata.num_rows, done), target)


def _told(tables: Iterable["pa.Table"], total: int, done: Done) -> Iterator["pa.Table"]:
    """Pass tables on, and tell how many rows went by."""
    rows = 0
    for table in tables:
        rows += len(table)
        yield table
        done(rows, total)


def names_anomaly(family: Family) -> Detail:
    """Return the least detail that gives an anomaly a name."""
    return "components" if family.heads else "full"


def open_parquet(path: Path) -> "pq.ParquetFile":
    """Open a file so that of each column only a buffer is held, however large its row groups are."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, pre_buffer=False, buffer_size=BUFFER)


def write(tables: Iterable["pa.Table"], target: Path) -> int:
    """Write tables of one schema to a Parquet file as they come, all or nothing; return the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = 0
    groups = _gathered(tables)
    first = next(groups, pa.table({}))
    with replacing(target) as path, pq.ParquetWriter(path, first.schema) as writer:
        for group in chain([first], groups):
            writer.write_table(group)
            rows += len(group)
    return rows


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Give a path beside the target that takes its place at the end; a reader meets the whole file or none.

    Raises:
        InvalidInput: The target is a folder.
    """
    if target.is_dir():
        raise InvalidInput("target", target, "must be a file, not a folder")
    path = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        yield path
        with path.open("rb") as file:
            os.fsync(file.fileno())  # or a machine that goes down leaves the name without the content
        path.replace(target)
    finally:
        path.unlink(missing_ok=True)


def _gathered(tables: Iterable["pa.Table"]) -> Iterator["pa.Table"]:
    """Put small tables together to row groups."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= GROUP:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def score_windows(
    family: Family, file: "pq.ParquetFile", members: Mapping[str, Bundle], detail: Detail
) -> Iterator["pa.Table"]:
    """Score one row a window, on every core."""
    # The libraries of the members let go of the interpreter while they compute, so that threads use every core.
    workers = os.cpu_count() or 1
    waiting: deque[Future[pa.Table]] = deque()
    first = 0
    with ThreadPoolExecutor(workers) as pool:
        for batch in file.iter_batches(CHUNK):
            waiting.append(pool.submit(score_batch, family, batch, first, members, detail))
            first += len(batch)
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def score_batch(
    family: Family, batch: "pa.RecordBatch", first: int, members: Mapping[str, Bundle], detail: Detail
) -> "pa.Table":
    """Score a batch of rows that hold one window each; every column that holds no list is kept as a key.

    Args:
        first: Number of the batch's first row in its file.
    """
    import pyarrow as pa

    columns = source_columns(family, batch.schema.empty_table().to_pandas())
    keys = [field.name for field in batch.schema if not _holds_lists(field.type)]
    stacked = stack_of(family, batch, columns, first)
    table = feature_table_of(stacked, [None] * len(batch), family)
    seconds = _lengths(stacked) / stacked.rate_hz
    votes = {name: bundle.votes(table, detail=detail) for name, bundle in members.items()}
    situation = situations(family, table, _lengths(stacked).astype(np.int64))
    verdicts = decide(family, table, seconds, np.zeros(len(batch), dtype=np.bool_), votes, situation=situation)
    return tabulated(family, pa.Table.from_batches([batch.select(keys)]), table, verdicts, detail, situation)


def stack_of(family: Family, batch: "pa.RecordBatch", columns: Mapping[str, str], first: int) -> Stack:
    """Return the windows of a batch of rows, checked as the service checks a body.

    Args:
        first: Number of the batch's first row in its file.
    """
    whole = _regular(family, batch, columns)
    if whole is not None:
        return whole
    # Rows of unequal length or with a channel left out, and rows that break a rule: one by one, so that it is named.
    rate = _rate(family)
    held = {name: batch.column(column).to_pylist() for name, column in columns.items()}
    rows = range(len(batch))
    given = [{name: values[row] for name, values in held.items() if values[row] is not None} for row in rows]
    windows = [read_window(given[row], rate, family, Limits(), f"row[{first + row}]") for row in rows]
    return stack(windows, tuple(family.channels))


def _regular(family: Family, batch: "pa.RecordBatch", columns: Mapping[str, str]) -> Stack | None:
    """Return the windows of a batch in one piece; None where they have to be looked at one by one."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts: dict[str, Floats] = {}
    for name, column in columns.items():
        array = batch.column(column)
        if array.null_count or not _holds_lists(array.type) or not len(array):
            return None
        length = pc.list_value_length(array).unique()
        flat = array.flatten()
        numeric = pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)
        if len(length) != 1 or flat.null_count or not numeric:
            return None
        parts[name] = flat.to_numpy().astype(np.float64).reshape(len(batch), -1)
        channel, limits = family.channels[name], Limits()
        fits = limits.values_min <= parts[name].shape[1] <= limits.values
        # NaN is neither above nor below.
        if not fits or not ((parts[name] >= channel.low) & (parts[name] <= channel.high)).all():
            return None
    (samples, *others) = {part.shape[1] for part in parts.values()}
    if others:
        return None
    values = np.full((len(batch), len(family.channels), samples), np.nan)
    for place, name in enumerate(family.channels):
        if name in parts:
            values[:, place] = parts[name]
    return Stack(values, tuple(family.channels), np.full(len(batch), _rate(family)))


def _rate(family: Family) -> float:
    return next(iter(family.channels.values())).rate_hz


def _lengths(stacked: Stack) -> Floats:
    measured = ~np.isnan(stacked.values).all(axis=1)
    lengths: Floats = measured.sum(axis=1).astype(np.float64)
    return lengths


def _holds_lists(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def sample_columns(family: Family, schema: "pa.Schema", entity: str, order: str) -> list[str]:
    """Return the columns that scoring samples reads.

    Raises:
        InvalidInput: One is missing.
    """
    frame = schema.remove_metadata().empty_table().to_pandas()
    keys = [entity, *([order] if order else [])]
    check_columns(frame, keys)
    return [*keys, *source_columns(family, frame).values()]


def score_samples(
    family: Family,
    table: "pa.Table",
    numbers: NDArray[np.int64],
    members: Mapping[str, Bundle],
    entity: str,
    order: str,
    settle: int,
    detail: Detail,
) -> Iterator["pa.Table"]:
    """Score one row a sample, recording by recording.

    Args:
        table: Whole recordings, by `sample_columns`.
        numbers: `int64[L]` of its rows in their file, to name one that breaks a rule.
    """
    frame = table.to_pandas(ignore_metadata=True)
    keys = table.select([entity, *([order] if order else [])])
    for _, places in entities(entity, order, frame):
        values = series(family, frame, places)
        _check_samples(family, values, numbers[places])
        first = 0
        for _, features, verdicts, situation in blocks(family, values, members, settle, detail):
            rows = places[first : first + len(verdicts.quality)]
            first += len(rows)
            yield tabulated(family, keys.take(rows), features, verdicts, detail, situation)


def _check_samples(family: Family, values: Mapping[str, Floats], numbers: NDArray[np.int64]) -> None:
    """Check one recording as the service checks a body; a sample that is not known (NaN) is none.

    Raises:
        InvalidInput: Names the first row whose value lies outside its channel's range.
    """
    for name, samples in values.items():
        channel = family.channels[name]
        wrong = np.flatnonzero((samples < channel.low) | (samples > channel.high))
        if len(wrong):
            value = float(samples[wrong[0]])
            raise InvalidInput(f"row[{numbers[wrong[0]]}].{name}", value, range_rule(value, channel))


def follow(
    family: Family, values: Mapping[str, Floats], members: Mapping[str, Bundle], settle: int
) -> Iterator[Diagnosis]:
    """Judge every sample of one recording by the window that ends with it, as a service that met them in order."""
    for inspections, table, verdicts, situation in blocks(family, values, members, settle, "full"):
        yield from worded(family, inspections, table, verdicts, {}, situation=situation)


def blocks(
    family: Family, values: Mapping[str, Floats], members: Mapping[str, Bundle], settle: int, detail: Detail
) -> Iterator[tuple[list[Inspection], FeatureTable, Verdicts, Situations]]:
    """Decide on the windows that end with each sample of one recording, a block of them at a time.

    The first `settle` samples are judged without a baseline, and give the first one; after them it learns as the
    service's does, from windows judged normal.
    """
    rate = _rate(family)
    length = max(1, round(family.window_s * rate))
    total = len(next(iter(values.values())))
    settle = min(settle, total)
    whole = not any(np.isnan(samples).any() for samples in values.values())
    normal: Normal | None = None
    alarm = False
    first = 0
    while first < total:
        if first == settle and settle:
            normal = _normal(values, rate, length, settle, family)
        last = min(first + BLOCK, settle if first < settle else total)
        windows = [trailing(values, place, length, rate) for place in range(first, last)]
        if not whole:  # a sample that is missing is so in a service's window, too
            windows = [mended(window, family.missing) for window in windows]
        table = make_feature_table(windows, [normal] * len(windows), family)
        votes = {name: bundle.votes(table, detail=detail) for name, bundle in members.items()}
        seconds = np.array([window.seconds for window in windows])
        learning = first < settle
        if learning:
            unknown = np.ones(len(windows), dtype=np.bool_)
            votes = {name: silenced(each, family, unknown) for name, each in votes.items()}
        samples = np.array([window.samples for window in windows], dtype=np.int64)
        situation = situations(family, table, samples)
        alarms = np.full(len(windows), alarm)
        verdicts = decide(family, table, seconds, alarms, votes, True, situation)
        yield (
            [Inspection(window, family.name, normal, alarm, commissioning=learning) for window in windows],
            table,
            verdicts,
            situation,
        )
        if first >= settle:
            for learned in taught(family, seconds, table, verdicts):
                if learned is not None:
                    normal = Normal.of(learned.sums) if normal is None else normal.learning(learned)
        alarm = bool(verdicts.left[-1])
        first = last


def _normal(values: Mapping[str, Floats], rate_hz: float, length: int, settle: int, family: Family) -> Normal | None:
    """Return what is normal for a machine, learned from its first samples as the service learns it.

    From fewer windows than the service takes, it is their running sums.
    """
    rows = beginning(values, rate_hz, length, settle, family)
    if len(rows) >= LEAST:
        return commission(rows, family)
    (found,) = normals_of([settled(values, rate_hz, length, settle, family)])
    return found


def judged(
    inspections: Sequence[Inspection], family: Family, members: Mapping[str, Bundle], consecutive: bool = False
) -> list[Diagnosis]:
    """Judge inspections with given members, as the service does."""
    table = make_feature_table([i.window for i in inspections], [i.baseline for i in inspections], family)
    votes = {name: bundle.votes(table) for name, bundle in members.items()}
    return judge(family, inspections, table, votes, {}, 1, consecutive)
