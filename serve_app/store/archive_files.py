"""Files of the archive: a system's readings of a day as Parquet, in a folder or in an object store.

Columns are channel, at and value, in the order of the first two; each group of rows is of one channel. A file is whole
once it has its name: in a folder it is written under another, and synchronised with the disk, before it is renamed.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from serve_app.store.chunks import Chunk

UNFINISHED = ".part"
# Under which a file says where in the archive it was written: of another system, or day, it is never read.
PLACE = b"hdx.path"
# Of a name, characters that are the day, and those up to the number that says which file of the day it is.
DAY, NUMBERED = 10, 17


def name_after(day: date, before: str | None) -> str:
    """Return the name of a day's next file; no two have the same, whoever writes them."""
    number = 1 + (int(before[DAY + 1 : NUMBERED]) if before else 0)
    return f"{day.isoformat()}.{number:06d}.{secrets.token_hex(4)}.parquet"


class ArchiveFiles:
    """Files below one folder or address."""

    def __init__(self, where: str) -> None:
        self._where = where

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        try:
            system, root = FileSystem.from_uri(self._where)
        except Exception as error:  # which quotes the address, and with it a key that may stand there
            reason = str(error).replace(self._where, "it")
            raise ValueError(f"HDX_RETENTION__ARCHIVE cannot be opened: {reason}") from None
        return system, root.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Tell whether they lie on a file system of this machine."""
        return bool(self._opened[0].type_name == "local")

    @property
    def root(self) -> str:
        """Folder, or name in the store, that all of them are below."""
        return self._opened[1]

    def create(self, path: str) -> "DayFile":
        """Begin a file.

        Raises:
            OSError: It cannot be made.
        """
        system, root = self._opened
        return DayFile(system, root, path, self.is_local)

    def read(self, path: str, channels: Sequence[str] | None) -> Iterator[Chunk]:
        """Yield the readings of some channels, all where None, in their order.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read.
            ValueError: It is none, or broken.
        """
        import pyarrow.parquet as pq

        system, root = self._opened
        with system.open_input_file(f"{root}/{path}") as file:
            try:
                with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                    _check(parquet, path)
                    yield from _chunks(parquet, channels)
            except FileNotFoundError as error:  # where it was there when it was opened
                raise OSError(f"{path}: removed while it was read") from error

    def is_there(self, path: str) -> bool:
        """Tell whether there is a file, whole as far as its end says."""
        import pyarrow.parquet as pq

        system, root = self._opened
        try:
            with system.open_input_file(f"{root}/{path}") as file, pq.ParquetFile(file) as parquet:
                _check(parquet, path)
        except (OSError, ValueError):
            return False
        return True

    def tidy(self, folder: str, kept: str) -> None:
        """Remove the files of a day that one has taken the place of, and those that were never finished before it."""
        from pyarrow.fs import FileSelector

        system, root = self._opened
        for each in system.get_file_info(FileSelector(f"{root}/{folder}", allow_not_found=True)):
            name = each.base_name
            if name.startswith(kept[:DAY]) and name != kept and name[:NUMBERED] <= kept[:NUMBERED]:
                self.remove_file(f"{folder}/{name}")

    def remove_file(self, path: str) -> None:
        """Remove a file; where there is none, nothing is done."""
        system, root = self._opened
        with suppress(FileNotFoundError):
            system.delete_file(f"{root}/{path}")

    def remove(self, folder: str) -> None:
        """Remove a folder with its files; where there is none, nothing is done."""
        system, root = self._opened
        with suppress(FileNotFoundError):
            system.delete_dir(f"{root}/{folder}")


class DayFile:
    """A file that is being written; it has its name once it is finished."""

    def __init__(self, system: Any, root: str, path: str, is_local: bool) -> None:
        import pyarrow.parquet as pq

        self._system, self._path, self._is_local = system, f"{root}/{path}", is_local
        self._file = _made(self._path + UNFINISHED) if is_local else _begun(system, self._path)
        self._writer = pq.ParquetWriter(
            self._file,
            _schema().with_metadata({PLACE: path}),
            compression="zstd",
            use_dictionary=["channel", "value"],
            column_encoding={"at": "DELTA_BINARY_PACKED"},
            write_page_checksum=True,
        )

    def write(self, chunk: Chunk) -> None:
        """Write readings that follow those before in the order of channels and time.

        Raises:
            OSError: There is no room, or no right.
        """
        import pyarrow as pa

        columns = [pa.repeat(chunk.channel, len(chunk.micros)), pa.array(chunk.micros), pa.array(chunk.values)]
        columns[1] = columns[1].cast(_schema().field("at").type)
        self._writer.write_table(pa.table(columns, schema=_schema()), row_group_size=len(chunk.micros))

    def finish(self) -> None:
        """End the file, and give it its name.

        Raises:
            OSError: There is no room, or no right.
        """
        self._writer.close()
        if self._is_local:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if self._is_local:
            Path(self._path + UNFINISHED).replace(self._path)
            synchronise(Path(self._path).parent)

    def discard(self) -> None:
        """Leave nothing of a file that cannot be finished, as far as that is possible."""
        for end in (self._writer.close, self._file.close):
            with suppress(Exception):
                end()
        with suppress(Exception):
            self._system.delete_file(self._path + UNFINISHED * self._is_local)


def _schema() -> Any:
    import pyarrow as pa

    return pa.schema([("channel", pa.string()), ("at", pa.timestamp("us", "UTC")), ("value", pa.float64())])


def _check(parquet: Any, path: str) -> None:
    """Check that a file is one of the archive, and the one that was written there.

    Raises:
        ValueError: It is another one.
    """
    schema = parquet.schema_arrow
    if not schema.equals(_schema()):
        raise ValueError(f"its columns are {schema.names}")
    place = (schema.metadata or {}).get(PLACE, path.encode())  # of files of before nobody can tell
    if place != path.encode():
        raise ValueError(f"it was written as {place.decode(errors='replace')}")


def _chunks(parquet: Any, channels: Sequence[str] | None) -> Iterator[Chunk]:
    for number in range(parquet.metadata.num_row_groups):
        name = parquet.metadata.row_group(number).column(0).statistics.min
        if channels is None or name in channels:
            table = parquet.read_row_group(number, ["at", "value"], use_threads=False)
            yield Chunk(name, table["at"].cast("int64").to_numpy(), table["value"].to_numpy())


def _made(path: str) -> Any:
    """Make a file that nobody else can read, and the folders above it, that nobody else can enter."""
    folder = Path(path).parent
    for each in reversed([each for each in (folder, *folder.parents) if not each.exists()]):
        each.mkdir(mode=0o700, exist_ok=True)
        synchronise(each.parent)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _begun(system: Any, path: str) -> Any:
    system.create_dir(path.rpartition("/")[0], recursive=True)
    return system.open_output_stream(path)


def synchronise(path: Path) -> None:
    """See a file or a folder on the disk."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
