"""Readings of files are thinned as those of tables are, however they are cut, and two streams become one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from serve_app.store.chunks import Chunk, merged
from serve_app.store.columns import SECOND, micros_of
from serve_app.store.spans import Point, in_order, representative, width_of
from serve_app.store.thinning import Part, Thinning

BEGIN = datetime(2026, 3, 2, 5, 30, 0, 7, UTC)


def points(count: int, every_s: float, seed: int = 1) -> list[Point]:
    """Readings one after another, with values that repeat."""
    values = np.random.default_rng(seed).integers(0, 50, count) / 10
    return [(BEGIN + timedelta(seconds=every_s * n), float(value)) for n, value in enumerate(values)]


def cut(channel: str, found: list[Point], places: list[int]) -> Iterator[Chunk]:
    """Yield readings in chunks that begin at some places."""
    for first, last in zip([0, *places], [*places, len(found)], strict=True):
        if first < last:
            yield Chunk.of(channel, found[first:last])


@pytest.mark.parametrize("count", [1, 3, 20, 21, 400])
def test_parts_are_those_of_readings(count: int) -> None:
    """Where no summary fits, each part is shown by its first, least, greatest and last; few are shown as they are."""
    found, end = points(count, 0.9), BEGIN + timedelta(seconds=0.9 * 400)
    width = width_of(BEGIN, end, 20)
    assert width < timedelta(minutes=2)
    parts: dict[int, list[Point]] = {}
    for point in found:
        minute = point[0].replace(second=0, microsecond=0)
        whole = width >= timedelta(minutes=1) and minute >= BEGIN and minute + timedelta(minutes=1) <= end
        parts.setdefault(((minute if whole else point[0]) - BEGIN) // width, []).append(point)
    right = found if count <= 20 else [each for part in parts.values() for each in representative(part)]
    for places in ([], [1], [count // 2], list(range(1, count))):
        thinning = Thinning(BEGIN, end, 20)
        for chunk in reversed(list(cut("flow", found, places))):
            thinning.add(chunk)
        (series,) = thinning.series()
        assert (series.channel, series.count, series.points) == ("flow", count, in_order(right))


def test_what_lies_outside_is_left_out() -> None:
    """The begin belongs to a span, its end does not; a channel with nothing in it is not named."""
    thinning = Thinning(BEGIN, BEGIN + timedelta(seconds=3), 8)
    thinning.add(Chunk.of("flow", [(BEGIN + timedelta(seconds=n), float(n)) for n in range(-2, 6)]))
    thinning.add(Chunk.of("level", [(BEGIN + timedelta(seconds=3), 1.0)]))
    (series,) = thinning.series()
    assert [value for _, value in series.points] == [0.0, 1.0, 2.0]


def test_parts_of_the_database_are_joined() -> None:
    """A part that tables and files share has the ends of both; with them few readings are too many to be shown."""
    thinning, epoch = Thinning(BEGIN, BEGIN + timedelta(seconds=4), 4), BEGIN.timestamp()
    thinning.add(Chunk.of("flow", [(BEGIN + timedelta(seconds=3), 9.0)]))
    low, high = (1.0, epoch), (5.0, -(epoch + 1))
    thinning.put("flow", 5, {0: Part(low, high, (epoch, 1.0), (epoch + 2, 2.0))})
    (series,) = thinning.series()
    moments = [(BEGIN + timedelta(seconds=n), value) for n, value in ((0, 1.0), (3, 9.0))]
    assert (series.count, series.points) == (6, tuple(moments))


def test_two_streams_become_one() -> None:
    """However both are cut, each channel and moment comes once, in order, with the later stream's value."""
    random = np.random.default_rng(4)
    for _ in range(200):
        streams: list[dict[str, dict[int, float]]] = []
        for stream in range(2):
            names = [name for name in "abc" if random.random() < 0.7]
            streams.append(
                {
                    name: {int(at): stream + float(at) / 100 for at in random.choice(20, random.integers(1, 15), False)}
                    for name in names
                }
            )
        given = [list(_chunks(stream, random)) for stream in streams]
        found = list(merged(iter(given[0]), iter(given[1])))
        right = [
            (name, at, streams[1].get(name, {}).get(at, streams[0].get(name, {}).get(at)))
            for name in sorted({*streams[0], *streams[1]})
            for at in sorted({*streams[0].get(name, {}), *streams[1].get(name, {})})
        ]
        assert [
            (chunk.channel, int(at), float(value))
            for chunk in found
            for at, value in zip(chunk.micros, chunk.values, strict=True)
        ] == right
        assert all(len(chunk.micros) for chunk in found)


def _chunks(stream: dict[str, dict[int, float]], random: np.random.Generator) -> Iterator[Chunk]:
    for name in sorted(stream):
        moments = sorted(stream[name])
        size = int(random.integers(1, 6))
        for first in range(0, len(moments), size):
            part = moments[first : first + size]
            yield Chunk(name, np.array(part), np.array([stream[name][at] for at in part]))


def test_points_become_a_chunk() -> None:
    """In microseconds since 1970."""
    chunk = Chunk.of("flow", [(BEGIN, 1.5)])
    assert (chunk.micros.tolist(), chunk.values.tolist()) == ([micros_of(BEGIN)], [1.5])
    assert chunk.micros[0] % SECOND == 7
