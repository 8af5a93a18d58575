"""Readings by column: many at once, without an object for each, and as PostgreSQL takes arrays of them."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Self, overload

import numpy as np
import orjson
import psycopg
from numpy.typing import NDArray
from psycopg.adapt import Dumper
from psycopg.pq import Format

from serve_app.store.records import Reading

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000  # in microseconds, the unit of moments here and in PostgreSQL
DAY = 86_400 * SECOND
# PostgreSQL counts moments from 2000.
OF_POSTGRES = 10_957 * DAY
# Numbers of types in PostgreSQL's catalogue, as `pg_type.dat` has them.
TEXT, INT, BIGINT, DOUBLE, MOMENT = 25, 23, 20, 701, 1184
HEAD = 20  # bytes of an array before its first number
FORMATS = {INT: ">i4", BIGINT: ">i8", DOUBLE: ">f8", MOMENT: ">i8"}

Micros = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class ReadingColumns(Sequence[Reading]):
    """Readings in columns of one length; read one by one it is a sequence of them.

    Attributes:
        names: Channels.
        places: Of each reading, which of `names` it is of.
        micros: Moments, in microseconds since 1970, UTC.
        values: In the unit that the system speaks.
    """

    names: tuple[str, ...]
    places: NDArray[np.int32]
    micros: Micros
    values: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Reading]) -> "ReadingColumns":
        """Return readings by column."""
        if isinstance(rows, ReadingColumns):
            return rows
        names: dict[str, int] = {}
        places = [names.setdefault(row.channel, len(names)) for row in rows]
        return cls.made(names, places, [micros_of(row.at) for row in rows], [row.value for row in rows])

    @classmethod
    def made(cls, names: Sequence[str] | dict[str, int], places: Any, micros: Any, values: Any) -> Self:
        """Return what is given as columns."""
        columns = np.asarray(places, np.int32), np.asarray(micros, np.int64), np.asarray(values, np.float64)
        return cls(tuple(names), *columns)

    @classmethod
    def joined(cls, parts: Sequence[tuple[str, Micros, NDArray[np.float64]]]) -> "ReadingColumns":
        """Return the readings of channels one after another, each with its moments and values."""
        if not parts:
            return cls.made((), (), (), ())
        names, micros, values = zip(*parts, strict=True)
        places = np.repeat(np.arange(len(names)), [len(each) for each in micros])
        return cls.made(names, places, np.concatenate(micros), np.concatenate(values))

    def __len__(self) -> int:
        return len(self.values)

    @overload
    def __getitem__(self, place: int) -> Reading: ...
    @overload
    def __getitem__(self, place: slice) -> "ReadingColumns": ...
    def __getitem__(self, place: int | slice) -> "Reading | ReadingColumns":
        """Return one reading, or some."""
        if isinstance(place, slice):
            return self.taken(np.arange(len(self))[place])
        at = moment_of(int(self.micros[place]))
        return Reading(self.names[self.places[place]], at, float(self.values[place]))

    def __iter__(self) -> Iterator[Reading]:
        return (self[place] for place in range(len(self)))

    def taken(self, which: Any) -> "ReadingColumns":
        """Return some of them: by their places, or where a mask is true."""
        return ReadingColumns(self.names, self.places[which], self.micros[which], self.values[which])

    def days(self) -> set[date]:
        """Return their days, by the clock of UTC."""
        return {EPOCH.date() + timedelta(days=int(day)) for day in np.unique(self.micros // DAY)}

    def ends(self) -> tuple[datetime, datetime]:
        """Return the earliest and the latest moment; there must be one."""
        return moment_of(int(self.micros.min())), moment_of(int(self.micros.max()))

    def once(self) -> "tuple[ReadingColumns, int, int]":
        """Return the last one of each channel and moment, in the order of both.

        Returns:
            Them, how many of the others repeat the one before, and how many it takes the place of.
        """
        order = np.lexsort((self.micros, self.places))
        rows = self.taken(order)
        again = (rows.places[1:] == rows.places[:-1]) & (rows.micros[1:] == rows.micros[:-1])
        same = int((again & (rows.values[1:] == rows.values[:-1])).sum())
        last = np.append(~again, True)[: len(rows)]
        return rows.taken(last), same, int(again.sum()) - same

    def to_bytes(self) -> bytes:
        """Return them packed."""
        names = orjson.dumps(self.names)
        content = self.places.tobytes() + self.micros.tobytes() + self.values.tobytes()
        return len(names).to_bytes(4, "big") + names + zlib.compress(content, 1)

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """Return what `to_bytes` has packed."""
        begin = 4 + int.from_bytes(content[:4], "big")
        names, data = orjson.loads(content[4:begin]), zlib.decompress(content[begin:])
        count = len(data) // 20  # bytes of a reading
        ends = 4 * count, 12 * count
        columns = data[: ends[0]], data[ends[0] : ends[1]], data[ends[1] :]
        kinds = zip(columns, (np.int32, np.int64, np.float64), strict=True)
        return cls(tuple(names), *(np.frombuffer(each, kind) for each, kind in kinds))

    def arrays(self) -> dict[str, "BinaryArray"]:
        """Return them as arrays of PostgreSQL: channels, moments and values; those of a channel must stand together."""
        runs = np.flatnonzero(np.diff(self.places, prepend=-1))
        channels = [self.names[place] for place in self.places[runs]]
        counts = np.diff(np.append(runs, len(self)))
        return {
            "channels": text_array(channels, counts),
            "moments": moment_array(self.micros),
            "values": number_array(DOUBLE, self.values),
        }


def micros_of(at: datetime) -> int:
    """Return a moment in microseconds since 1970."""
    passed = at - EPOCH
    return (passed.days * 86_400 + passed.seconds) * SECOND + passed.microseconds


def moment_of(micros: int) -> datetime:
    """Return the moment of so many microseconds since 1970."""
    return EPOCH + timedelta(microseconds=micros)


# --- arrays as PostgreSQL sends and takes them; source: `array_recv` and the `*recv` of each type


class BinaryArray(bytes):
    """An array in the binary form of PostgreSQL; the query casts it to its type."""


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: BinaryArray) -> bytes:
        return bytes(obj)


psycopg.adapters.register_dumper(BinaryArray, _ArrayDumper)


def number_array(kind: int, values: Any) -> BinaryArray:
    """Return numbers as an array of `INT`, `BIGINT`, `DOUBLE` or `MOMENT`."""
    form = np.dtype([("length", ">i4"), ("value", FORMATS[kind])])
    cells = np.empty(len(values), form)
    cells["length"], cells["value"] = form["value"].itemsize, values
    return BinaryArray(_head(kind, len(values)) + cells.tobytes())


def numbers_of(kind: int, content: bytes) -> NDArray[Any]:
    """Return the numbers of an array, as `array_send` gives it."""
    cells = np.frombuffer(content, np.dtype([("length", ">i4"), ("value", FORMATS[kind])]), offset=HEAD)
    return cells["value"].astype(cells["value"].dtype.newbyteorder("="))


def moments_of(content: bytes) -> Micros:
    """Return the moments of an array."""
    return numbers_of(MOMENT, content) + OF_POSTGRES


def moment_array(micros: Micros) -> BinaryArray:
    """Return moments as an array."""
    return number_array(MOMENT, micros - OF_POSTGRES)


def text_array(words: Sequence[str], counts: Sequence[int] | NDArray[np.int64]) -> BinaryArray:
    """Return words as an array, each so many times."""
    cells = [len(word.encode()).to_bytes(4, "big") + word.encode() for word in words]
    content = b"".join(cell * int(count) for cell, count in zip(cells, counts, strict=True))
    return BinaryArray(_head(TEXT, int(sum(counts))) + content)


def _head(kind: int, length: int) -> bytes:
    return np.array([1, 0, kind, length, 1], ">i4").tobytes()
