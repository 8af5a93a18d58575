"""Files of the archive: whole once they have their name, closed to others, and broken ones are told."""

import stat
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from serve_app.store.archive_files import ArchiveFiles, name_after
from serve_app.store.chunks import Chunk

DAY = date(2026, 3, 2)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def chunk(name: str = "flow", count: int = 5) -> Chunk:
    """Readings a second apart."""
    return Chunk(name, np.arange(count) * 1_000_000 + int(NOON.timestamp() * 1e6), np.arange(count) / 8)


def kept(files: ArchiveFiles, path: str, *chunks: Chunk) -> None:
    """Write a file."""
    file = files.create(path)
    for each in chunks:
        file.write(each)
    file.finish()


@pytest.fixture(params=["folder", "object store"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArchiveFiles]:
    """Files in a folder, and in a store of objects that fsspec opens."""
    yield ArchiveFiles(str(tmp_path / "archive") if request.param == "folder" else f"fsspec+memory:/{tmp_path}")


def read(files: ArchiveFiles, path: str, *names: str) -> list[tuple[str, list[int], list[float]]]:
    """Read a file back."""
    return [
        (each.channel, each.micros.tolist(), each.values.tolist()) for each in files.read(path, list(names) or None)
    ]


def test_what_is_written_is_read(files: ArchiveFiles) -> None:
    """To the bit, by channel; what is removed is not there."""
    one, other = chunk(), chunk("level", 3)
    kept(files, "t/s/a.parquet", one, other)
    right = [(each.channel, each.micros.tolist(), each.values.tolist()) for each in (one, other)]
    assert read(files, "t/s/a.parquet") == right
    assert read(files, "t/s/a.parquet", "level", "none") == right[1:]
    files.remove("t/s")
    files.remove("t/s")
    files.remove_file("t/s/a.parquet")
    with pytest.raises(FileNotFoundError):
        read(files, "t/s/a.parquet")


def test_a_file_is_closed_to_others(tmp_path: Path) -> None:
    """It has rights of its owner alone, as the folders above it; others read it as plain Parquet, sorted, with zstd."""
    files = ArchiveFiles(str(tmp_path / "deep" / "archive"))
    kept(files, "t/s/a.parquet", chunk(), chunk("level"))
    path = tmp_path / "deep" / "archive" / "t" / "s" / "a.parquet"
    modes = [stat.S_IMODE(each.stat().st_mode) for each in (path, *list(path.parents)[:4])]
    assert modes == [0o600, 0o700, 0o700, 0o700, 0o700]
    table = pq.read_table(path)
    assert table.schema.names == ["channel", "at", "value"]
    assert table["at"][0].as_py() == NOON
    assert pq.ParquetFile(path).metadata.row_group(0).column(2).compression == "ZSTD"


def test_an_unfinished_file_has_no_name(files: ArchiveFiles, tmp_path: Path) -> None:
    """Given up it leaves nothing; one that nobody could give up goes when the next one of its day is there."""
    file = files.create("t/s/2026-03-02.000001.aa.parquet")
    file.write(chunk())
    file.discard()
    with pytest.raises(FileNotFoundError):
        read(files, "t/s/2026-03-02.000001.aa.parquet")
    if files.is_local:
        files.create("t/s/2026-03-02.000001.bb.parquet")
        with pytest.raises(FileNotFoundError):
            read(files, "t/s/2026-03-02.000001.bb.parquet")
        files.tidy("t/s", "2026-03-02.000001.cc.parquet")
        assert list((tmp_path / "archive" / "t" / "s").iterdir()) == []


def test_the_newest_file_of_a_day_stays(files: ArchiveFiles) -> None:
    """What it takes the place of goes, whoever wrote it; files of other days, and later ones of the day, stay."""
    first = name_after(DAY, None)
    second, rival = name_after(DAY, first), name_after(DAY, first)
    names = [first, rival, second, name_after(DAY, second), name_after(date(2026, 3, 1), None)]
    assert len(set(names)) == 5
    for name in names:
        kept(files, f"t/s/{name}", chunk())
    files.tidy("t/s", second)
    for name in names:
        if name in (first, rival):
            with pytest.raises(FileNotFoundError):
                read(files, f"t/s/{name}")
        else:
            assert read(files, f"t/s/{name}")
    files.tidy("t/none", second)


def test_a_broken_file_is_told(tmp_path: Path) -> None:
    """Cut short, changed by a bit, or another file altogether: never read as what it is not."""
    files = ArchiveFiles(str(tmp_path))
    random = np.random.default_rng(1)
    kept(files, "a.parquet", Chunk("flow", np.arange(5000), random.normal(size=5000)))
    whole = (tmp_path / "a.parquet").read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 1
    for content in (whole[:-9], whole[: len(whole) // 2], bytes(broken), b"", b"no file of this kind"):
        (tmp_path / "a.parquet").write_bytes(content)
        with pytest.raises((OSError, ValueError)):
            read(files, "a.parquet")


def test_a_file_is_read_where_it_was_written_alone(files: ArchiveFiles, tmp_path: Path) -> None:
    """One of another system, or of another day, that lies in its place is told, and never read as its readings."""
    kept(files, "tenant=1/a.parquet", chunk())
    assert files.is_there("tenant=1/a.parquet")
    assert not files.is_there("tenant=2/a.parquet")
    if files.is_local:
        (tmp_path / "archive" / "tenant=2").mkdir()
        (tmp_path / "archive" / "tenant=1" / "a.parquet").rename(tmp_path / "archive" / "tenant=2" / "a.parquet")
        assert not files.is_there("tenant=2/a.parquet")
        with pytest.raises(ValueError, match=r"it was written as tenant=1/a\.parquet"):
            read(files, "tenant=2/a.parquet")


def test_a_file_that_does_not_say_where_it_was_written_is_read(tmp_path: Path) -> None:
    """As those of before do not."""
    files = ArchiveFiles(str(tmp_path))
    kept(files, "a.parquet", chunk())
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table.replace_schema_metadata(), tmp_path / "b.parquet")
    assert read(files, "b.parquet") == read(files, "a.parquet")


@pytest.mark.parametrize("where", ["s3://AKIA:se/cret@bucket/hdx", "s3://AKIA:se cret@bucket", "s3://AKIA:cret@b/?x=1"])
def test_an_address_is_not_quoted(where: str) -> None:
    """One that cannot be opened is told without the key that may stand in it: the log is read by many."""
    with pytest.raises(ValueError, match="HDX_RETENTION__ARCHIVE cannot be opened") as raised:
        ArchiveFiles(where).read("a.parquet", None).__next__()
    assert "cret" not in str(raised.value)
