"""Scores a source larger than memory by Ray Data, with the functions that score a file.

`plan` cuts the source into parts, and a run that was killed is simply run again.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.detectors.bundle import CARD, unpack
from pipelines.errors import InvalidInput
from pipelines.machines.family import Family
from pipelines.promotion.mlflow_client import Registry
from pipelines.scoring.plan import (
    SUCCESS,
    Options,
    Part,
    adopt,
    folder_of,
    plain,
    plan_of,
    recording_parts,
    shared_out,
    survey,
    window_parts,
)
from pipelines.scoring.score import (
    CHUNK,
    Done,
    open_parquet,
    replacing,
    sample_columns,
    score_batch,
    score_samples,
    write,
)
from pipelines.training.local_ray import local_ray

if TYPE_CHECKING:
    import pyarrow as pa
    import ray

# Ray's shared memory. Only the plan and the outcome of each part go through it. Source: Ray takes no less than 75 MB.
STORE_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Packed:
    """A registered version as its files, which go to the workers as they are."""

    version: str
    files: Mapping[str, bytes]


def fetch_members(registry: Registry, family: str, names: Sequence[str]) -> dict[str, Packed]:
    """Return what the replicas answer with for a family, by detector.

    Raises:
        NotFound: A detector has no version that is live.
        Unavailable: The registry does not answer.
    """
    members = {}
    for name in names:
        release = registry.live(family, name)
        members[name] = Packed(release.version, registry.fetch(release))
    return members


def score_many(
    family: Family,
    source: Path,
    target: Path,
    members: Mapping[str, Packed],
    options: Options,
    workers: int,
    done: Done,
) -> int:
    """Score a Parquet file, or all in a folder, into a folder with one file a part; return the number of rows.

    What an earlier run has written into the folder stays. A part holds whole recordings, or a block of windows.

    Args:
        workers: Processes that score, each with members of its own.

    Raises:
        InvalidInput: A column is missing, a value breaks a rule, or the folder holds another run.
    """
    files, schema = survey(source)
    folder = folder_of(source)
    if options.entity:
        sample_columns(family, schema, options.entity, options.order)
        parts = recording_parts(folder, files, options.entity, options.rows)
    else:
        parts = window_parts(files, options.rows)
    cards = {name: {"version": m.version, "sha256": sha256(m.files[CARD]).hexdigest()} for name, m in members.items()}
    adopt(target, plan_of(family, cards, options, files, len(parts)))
    missing = [part for part in parts if not (target / part.name).exists()]
    total = sum(part.rows for part in parts)
    rows = total - sum(part.rows for part in missing)
    done(rows, total)
    (target / SUCCESS).unlink(missing_ok=True)
    job = Job(family, folder, target, members, options, shared_out(missing, workers))
    for written in _outcomes(job, workers) if missing else ():
        rows += written
        done(rows, total)
    for left in target.glob(".part-*"):
        left.unlink()  # what a run that was killed was writing
    with replacing(target / SUCCESS) as temporary:
        temporary.touch()
    return total


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker has to know.

    Attributes:
        source: Folder of the files that are read.
        tasks: Parts that are read one after the other.
    """

    family: Family
    source: Path
    target: Path
    members: Mapping[str, Packed]
    options: Options
    tasks: Sequence[Sequence[Part]]


def _outcomes(job: Job, workers: int) -> Iterator[int]:
    """Let a pool of workers do the tasks; yield the rows of each part as it is written.

    Raises:
        InvalidInput: A value breaks a rule.
    """
    count = len(job.tasks)
    with _cluster(workers) as ray:
        rows = ray.data.from_items([{"task": number} for number in range(count)], override_num_blocks=count)
        outcomes = rows.map_batches(
            _Score,
            fn_constructor_args=(ray.put(job),),
            compute=ray.data.ActorPoolStrategy(size=min(workers, count), max_tasks_in_flight_per_actor=1),
            batch_size=1,
        )
        for outcome in outcomes.iter_rows():
            if outcome["failed"]:
                raise InvalidInput(*json.loads(outcome["failed"]))
            yield outcome["rows"]


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    """Start Ray for the parts alone, and stop it at the end."""
    with local_ray(workers, STORE_BYTES) as ray:
        # Each outcome is a block of its own, told of as soon as its part is written.
        ray.data.DataContext.get_current().target_max_block_size = 1
        yield ray


class _Score:
    """Scores tasks; the members are loaded once an actor, from the files of their versions."""

    def __init__(self, job: "ray.ObjectRef[Job]") -> None:
        import ray

        self._job = ray.get(job)
        self._members = {name: unpack(member.files) for name, member in self._job.members.items()}

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        for number in batch["task"]:
            for part, tables in self._scored(self._job.tasks[number]):
                yield self._outcome(part, tables)

    def _outcome(self, part: Part, tables: Iterator["pa.Table"]) -> dict[str, list[Any]]:
        """Write a part; a value that breaks a rule is told in JSON: an error raised here would come in Ray's words."""
        try:
            rows = write(tables, self._job.target / part.name)
        except InvalidInput as error:
            where = ", ".join(dict.fromkeys(read.name for read in part.reads))
            return {"rows": [0], "failed": [json.dumps([f"{where}: {error.field}", error.value, error.rule])]}
        return {"rows": [rows], "failed": [""]}

    def _scored(self, task: Sequence[Part]) -> Iterator[tuple[Part, Iterator["pa.Table"]]]:
        if self._job.options.entity:
            for part in task:
                yield part, self._samples(part)
        else:
            for part, pieces in groupby(windows_of(self._job.source, task), key=itemgetter(0)):
                yield part, self._windows(pieces)

    def _windows(self, pieces: Iterable[tuple[Part, "pa.RecordBatch", int]]) -> Iterator["pa.Table"]:
        for _, batch, first in pieces:
            yield score_batch(self._job.family, batch, first, self._members, self._job.options.detail)

    def _samples(self, part: Part) -> Iterator["pa.Table"]:
        job, family, options = self._job, self._job.family, self._job.options
        schema = open_parquet(job.source / part.reads[0].name).schema_arrow
        columns = sample_columns(family, schema, options.entity, options.order)
        table, numbers = samples_of(job.source, part, columns)
        return score_samples(
            family, table, numbers, self._members, options.entity, options.order, options.settle, options.detail
        )


def windows_of(folder: Path, task: Sequence[Part]) -> Iterator[tuple[Part, "pa.RecordBatch", int]]:
    """Read the parts of one stretch; yield pieces of each, with the number of their first row in the file."""
    (stretch,) = task[0].reads
    end = task[-1].skip + task[-1].rows
    begun = 0
    for batch in open_parquet(folder / stretch.name).iter_batches(CHUNK, row_groups=list(stretch.groups)):
        for part in task:
            first, last = max(part.skip, begun), min(part.skip + part.rows, begun + len(batch))
            if first < last:
                yield part, batch.slice(first - begun, last - first), stretch.first + first
        begun += len(batch)
        if begun >= end:
            return


def samples_of(folder: Path, part: Part, columns: Sequence[str]) -> tuple["pa.Table", NDArray[np.int64]]:
    """Read whole recordings; return their rows and the number of each in its file.

    Args:
        columns: By `sample_columns`; the first names the recording.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    keys: pa.Array | None = None
    kept, numbers = [], []
    for read in part.reads:
        first = read.first
        for batch in open_parquet(folder / read.name).iter_batches(row_groups=list(read.groups), columns=list(columns)):
            column = plain(batch.column(columns[0]))
            keys = pa.array(part.keys, column.type) if keys is None else keys
            mine = pc.is_in(column, keys)
            kept.append(batch.filter(mine))
            numbers.append(first + np.flatnonzero(mine.to_numpy(zero_copy_only=False)))
            first += len(batch)
    return pa.Table.from_batches(kept).select(list(columns)), np.concatenate(numbers)
