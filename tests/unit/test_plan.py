"""Rules of cutting a large source into parts."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import InvalidInput, NotFound
from pipelines.machines.family import read_family
from pipelines.scoring.plan import (
    PLAN,
    Options,
    Part,
    adopt,
    plan_of,
    recording_parts,
    shared_out,
    survey,
    window_parts,
)

FAMILY = read_family("generic")
MEMBERS = {"adaptive": {"version": "1", "sha256": "a"}}


def written(path: Path, groups: list[list[str | None]]) -> Path:
    """Write a file with these keys, one list a row group."""
    schema = pa.schema([("file", pa.string()), ("flow", pa.float64())])
    with pq.ParquetWriter(path, schema) as writer:
        for keys in groups:
            writer.write_table(pa.table({"file": keys, "flow": np.arange(float(len(keys)))}, schema))
    return path


def covered(parts: list[Part]) -> list[tuple[str, int, int]]:
    """Return file, first row and last of each part."""
    return [(p.reads[0].name, p.reads[0].first + p.skip, p.reads[0].first + p.skip + p.rows) for p in parts]


def test_every_window_is_in_one_part(tmp_path: Path) -> None:
    """Small row groups are put together and large ones cut; no row is left out or met twice."""
    written(tmp_path / "a.parquet", [["x"] * 3, ["x"] * 3, ["x"] * 25])
    written(tmp_path / "b.parquet", [["x"] * 4])
    files, _ = survey(tmp_path)
    parts = window_parts(files, 10)
    assert covered(parts) == [
        ("a.parquet", 0, 10), ("a.parquet", 10, 20), ("a.parquet", 20, 30), ("a.parquet", 30, 31), ("b.parquet", 0, 4),
    ]  # fmt: skip
    assert [part.name for part in parts] == sorted(part.name for part in parts)


def test_a_recording_is_never_cut(tmp_path: Path) -> None:
    """All its rows are read by one part, from whichever files and row groups they stand in."""
    written(tmp_path / "a.parquet", [["y", "x"], ["y"], ["z"]])
    written(tmp_path / "b.parquet", [["z", "y"]])
    files, _ = survey(tmp_path)
    parts = recording_parts(tmp_path, files, "file", 2)
    assert [part.keys for part in parts] == [("x", "y"), ("z",)]
    assert [part.rows for part in parts] == [4, 2]
    read = [[(read.name, read.groups, read.first) for read in part.reads] for part in parts]
    assert read[0] == [("a.parquet", (0,), 0), ("a.parquet", (1,), 2), ("b.parquet", (0,), 0)]
    assert read[1] == [("a.parquet", (2,), 3), ("b.parquet", (0,), 0)]


def test_a_row_without_a_recording_is_refused(tmp_path: Path) -> None:
    """It is named by its file and number, and never left out in silence."""
    written(tmp_path / "a.parquet", [["y", "x"], ["y", None], ["z"]])
    files, _ = survey(tmp_path)
    with pytest.raises(InvalidInput, match=r"a\.parquet: row\[3\]\.file: must name the recording"):
        recording_parts(tmp_path, files, "file", 2)


def test_every_worker_has_work(tmp_path: Path) -> None:
    """Parts of a stretch are read together, and by several workers where there are fewer stretches than workers."""
    files, _ = survey(written(tmp_path / "a.parquet", [["x"] * 40]))
    parts = window_parts(files, 10)
    assert [len(task) for task in shared_out(parts, 1)] == [4]
    assert [len(task) for task in shared_out(parts, 3)] == [2, 2]
    assert [part for task in shared_out(parts, 3) for part in task] == parts
    assert shared_out([], 2) == []


def test_a_source_has_one_form(tmp_path: Path) -> None:
    """A folder without Parquet files, or with files of different columns, is refused by name."""
    with pytest.raises(NotFound):
        survey(tmp_path)
    written(tmp_path / "a.parquet", [["x"]])
    pq.write_table(pa.table({"flow": [1.0]}), tmp_path / "b.parquet")
    with pytest.raises(InvalidInput, match=r"must have the columns of a\.parquet.*b\.parquet"):
        survey(tmp_path)


def test_runs_are_never_mixed(tmp_path: Path) -> None:
    """A folder takes the same run again; other versions, other options or a changed source are refused by name."""
    source = written(tmp_path / "a.parquet", [["x"] * 4])
    target = tmp_path / "scores"
    options = Options.of("", "", 0, "score")

    def begun(members: dict[str, dict[str, str]], options: Options) -> None:
        files, _ = survey(source)
        adopt(target, plan_of(FAMILY, members, options, files, 1))

    begun(MEMBERS, options)
    begun(MEMBERS, options)
    with pytest.raises(InvalidInput, match=r"other members \(adaptive\)"):
        begun({"adaptive": {"version": "2", "sha256": "b"}}, options)
    with pytest.raises(InvalidInput, match=r"other options \(detail\)"):
        begun(MEMBERS, Options.of("", "", 0, "full"))
    written(source, [["x"] * 5])
    with pytest.raises(InvalidInput, match=r"other source \(a\.parquet\)"):
        begun(MEMBERS, options)
    (target / PLAN).write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidInput, match="must be the plan of an earlier run"):
        begun(MEMBERS, options)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    """Scores go neither into a folder that holds anything else, nor in place of a file."""
    (tmp_path / "notes.txt").touch()
    for target in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(InvalidInput, match="target"):
            adopt(target, {})
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
