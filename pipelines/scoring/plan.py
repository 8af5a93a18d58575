"""Cuts a large source into parts, each of which is scored on its own.

A run that was killed goes on where it stopped, and never mixes two models, two sources or two requests.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from configs.settings import version
from pipelines.detectors.base import Detail
from pipelines.errors import InvalidInput, NotFound
from pipelines.machines.family import Family
from pipelines.scoring.score import CHUNK, open_parquet, replacing

if TYPE_CHECKING:
    import pyarrow as pa

PLAN, SUCCESS = "_plan.json", "_SUCCESS"  # readers of a folder of Parquet files pass over names with an underscore
# Windows of a part. Source: own choice; some seconds of one core, which is what a killed run loses a worker.
WINDOWS = 16 * CHUNK
# Samples after which a part takes no further recording. Source: as for WINDOWS; a sample costs a judgement of its own.
SAMPLES = 20_000

Key = str | int | float | bytes | bool


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted of a run, as in `score`.

    Attributes:
        rows: Windows of a part, or samples after which it is full.
    """

    entity: str
    order: str
    settle: int
    detail: Detail
    rows: int

    @classmethod
    def of(cls, entity: str, order: str, settle: int, detail: Detail) -> "Options":
        """Return options with parts of the usual size."""
        return cls(entity, order, settle, detail, SAMPLES if entity else WINDOWS)


@dataclass(frozen=True, slots=True)
class File:
    """One Parquet file of the source.

    Attributes:
        groups: Rows of each row group.
        footer: SHA-256 of its metadata: places, sizes and ranges of all its columns.
    """

    name: str
    size: int
    modified_ns: int
    footer: str
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Row groups of one file that are read one after the other.

    Attributes:
        groups: Their places in the file.
        first: Number of their first row in the file.
    """

    name: str
    groups: tuple[int, ...]
    first: int


@dataclass(frozen=True, slots=True)
class Part:
    """A unit of work, and the file that it becomes.

    Attributes:
        rows: That it has.
        reads: Where they stand: one stretch for windows, for recordings as many as hold any of their rows.
        skip: Windows of the stretch that belong to the parts before it.
        keys: The recordings; empty for windows.
    """

    name: str
    rows: int
    reads: tuple[Stretch, ...]
    skip: int = 0
    keys: tuple[Key, ...] = ()


def folder_of(source: Path) -> Path:
    """Return the folder that the files of a source stand in."""
    return source if source.is_dir() else source.parent


def survey(source: Path) -> tuple[list[File], "pa.Schema"]:
    """Return the files of a source, in the order of their names, and the columns they share.

    Raises:
        InvalidInput: They have not the same columns.
        NotFound: There are none.
    """
    paths = sorted(source.glob("*.parquet")) if source.is_dir() else [source]
    if not paths:
        raise NotFound("Parquet file in", source)
    files, schemas = [], []
    for path in paths:
        opened, status = open_parquet(path), path.stat()
        metadata, schema = opened.metadata, opened.schema_arrow.remove_metadata()
        groups = tuple(metadata.row_group(place).num_rows for place in range(metadata.num_row_groups))
        files.append(File(path.name, status.st_size, status.st_mtime_ns, _footer(path), groups))
        schemas.append(schema)
        if schema != schemas[0]:
            raise InvalidInput("source", path.name, f"must have the columns of {paths[0].name}, in its order and types")
    return files, schemas[0]


def _footer(path: Path) -> str:
    """Return the SHA-256 of a file's metadata.

    Source: Parquet format, file layout: metadata, their length in four bytes, `PAR1`.
    """
    with path.open("rb") as file:
        file.seek(-8, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, os.SEEK_END)
        return sha256(file.read(length)).hexdigest()


def window_parts(files: Sequence[File], rows: int) -> list[Part]:
    """Cut files with one row a window into parts of so many rows."""
    parts: list[Part] = []
    for file in files:
        for stretch, total in _stretches(file, rows):
            for skip in range(0, total, rows):
                name = _name(len(parts), (file.name, file.footer, stretch.groups, skip, rows))
                parts.append(Part(name, min(rows, total - skip), (stretch,), skip))
    return parts


def _stretches(file: File, rows: int) -> Iterator[tuple[Stretch, int]]:
    """Put small row groups together; yield each stretch and its number of rows."""
    groups: list[int] = []
    first = total = 0
    for place, found in enumerate(file.groups):
        groups.append(place)
        total += found
        if total >= rows:
            yield Stretch(file.name, tuple(groups), first), total
            groups, first, total = [], first + total, 0
    if total:
        yield Stretch(file.name, tuple(groups), first), total


def recording_parts(folder: Path, files: Sequence[File], entity: str, rows: int) -> list[Part]:
    """Put whole recordings together to parts, in the order of their keys; a recording is never cut."""
    found = _recordings(folder, files, entity)
    footers = {file.name: file.footer for file in files}
    starts = {file.name: [0, *accumulate(file.groups)] for file in files}
    parts: list[Part] = []
    keys: list[Key] = []
    total = 0
    ordered = sorted(found)
    for place, key in enumerate(ordered, 1):
        keys.append(key)
        total += found[key].rows
        if total >= rows or place == len(ordered):
            reads = tuple(_reads(starts, [found[key] for key in keys]))
            content = [(read.name, footers[read.name], read.groups) for read in reads]
            parts.append(Part(_name(len(parts), (content, keys)), total, reads, keys=tuple(keys)))
            keys, total = [], 0
    return parts


@dataclass(slots=True)
class _Recording:
    """Where the rows of a recording stand: by file and row group."""

    rows: int
    places: set[tuple[str, int]]


def _recordings(folder: Path, files: Sequence[File], entity: str) -> dict[Key, _Recording]:
    """Find the recordings by reading their column alone.

    Raises:
        InvalidInput: A row names none.
    """
    import pyarrow.compute as pc

    found: dict[Key, _Recording] = {}
    for file in files:
        opened, first = open_parquet(folder / file.name), 0
        for group in range(len(file.groups)):
            for batch in opened.iter_batches(row_groups=[group], columns=[entity]):
                keys = _named(batch.column(0), f"{file.name}: row[{{}}].{entity}", first)
                first += len(batch)
                for entry in pc.value_counts(keys).to_pylist():
                    recording = found.setdefault(entry["values"], _Recording(0, set()))
                    recording.rows += entry["counts"]
                    recording.places.add((file.name, group))
    return found


def _named(column: "pa.Array", field: str, first: int) -> "pa.Array":
    """Return the keys of rows, each of which has one; as where pandas groups rows, NaN is none.

    Args:
        field: Name of the key of row `{}`.
        first: Number of the first row in its file.

    Raises:
        InvalidInput: A row has none.
    """
    import pyarrow.compute as pc

    keys = plain(column)
    missing = pc.index(pc.is_null(keys, nan_is_null=True), True).as_py()
    if missing >= 0:
        raise InvalidInput(field.format(first + missing), None, "must name the recording of its row")
    return keys


def plain(column: "pa.Array") -> "pa.Array":
    """Return a column of words kept by number as the words themselves."""
    import pyarrow as pa

    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _reads(starts: Mapping[str, Sequence[int]], recordings: Sequence[_Recording]) -> Iterator[Stretch]:
    """Return every row group that holds a row of the recordings, in the order of the source."""
    for name, group in sorted(set().union(*(recording.places for recording in recordings))):
        yield Stretch(name, (group,), starts[name][group])


def _name(number: int, content: object) -> str:
    """Name a part by its place, so that a sorted folder is in order, and by what it is made from."""
    digest = sha256(json.dumps(content, default=str).encode()).hexdigest()
    return f"part-{number:06d}-{digest[:16]}.parquet"


def shared_out(parts: Sequence[Part], workers: int) -> list[list[Part]]:
    """Return the tasks of a run: parts of one stretch together, as each must be read from its beginning.

    Where there are fewer stretches than workers, a stretch is given to several.
    """
    stretches = [list(together) for _, together in groupby(parts, key=lambda part: part.keys or part.reads)]
    shares = -(-workers // len(stretches)) if stretches else 1
    tasks = []
    for stretch in stretches:
        size = -(-len(stretch) // shares)
        tasks += [stretch[first : first + size] for first in range(0, len(stretch), size)]
    return tasks


def plan_of(
    family: Family, members: Mapping[str, Mapping[str, str]], options: Options, files: Sequence[File], parts: int
) -> dict[str, Any]:
    """Return in plain values all that the content of the parts depends on.

    Args:
        members: By detector, version and SHA-256.
    """
    return {
        "hdx": version(),
        "family": {"name": family.name, "sha256": sha256(family.model_dump_json().encode()).hexdigest()},
        "members": {name: dict(member) for name, member in members.items()},
        "options": asdict(options),
        "source": {file.name: asdict(file) | {"groups": len(file.groups)} for file in files},
        "rows": sum(sum(file.groups) for file in files),
        "parts": parts,
    }


def adopt(target: Path, plan: Mapping[str, Any]) -> None:
    """Begin a run in a folder, or go on with the one that it holds.

    Raises:
        InvalidInput: The folder holds something else.
    """
    if target.exists() and not target.is_dir():
        raise InvalidInput("target", target, "must be a folder where --workers is given or the source is one")
    target.mkdir(parents=True, exist_ok=True)
    path = target / PLAN
    if path.exists():
        if changed := _changed(path, plan):
            rule = f"holds scores made with other {changed}; give another folder, or the same {changed} to go on"
            raise InvalidInput("target", target, rule)
    elif any(not place.name.startswith(f".{PLAN}") for place in target.iterdir()):
        raise InvalidInput("target", target, "must be empty or hold an earlier run")
    else:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(plan, indent=1), encoding="utf-8")


def _changed(path: Path, plan: Mapping[str, Any]) -> str:
    """Return in words what an earlier plan has otherwise, or an empty string."""
    try:
        earlier: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        mine: dict[str, Any] = json.loads(json.dumps(plan))
        apart = [name for name, value in mine.items() if earlier[name] != value]
        if not apart:
            return ""
        before, now = earlier[apart[0]], mine[apart[0]]
        inner = [key for key in {**now, **before} if now.get(key) != before.get(key)] if isinstance(now, dict) else []
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InvalidInput("target", path, "must be the plan of an earlier run") from None
    return f"{apart[0]} ({', '.join(inner)})" if inner else apart[0]
