"""Summaries of readings by minute, hour and day: added to by what is new, and made anew where a value was corrected."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from serve_app.store.columns import (
    BIGINT,
    DOUBLE,
    INT,
    SECOND,
    Micros,
    ReadingColumns,
    moment_array,
    number_array,
    text_array,
)
from serve_app.store.spans import STEPS, cell_of

# As arrays they are compared by their first number, and by the second where those are alike.
LEAST, GREATEST = "ARRAY[value, epoch]", "ARRAY[value, -epoch]"
IN_TIME = "ARRAY[epoch, value]"
ENDS = f"{LEAST} AS least, {GREATEST} AS greatest, {IN_TIME} AS first, {IN_TIME} AS last"
AS_ROLLUPS = (  # readings in the shape of summaries
    f"SELECT tenant_id, system_id, channel, at, 1 AS count, value AS total, {ENDS}"  # noqa: S608 (constants)
    " FROM (SELECT *, CAST(extract(epoch FROM at) AS float8) AS epoch FROM readings) AS raw"
)
KEY = "tenant_id, system_id, step_s, channel, at"
FIGURES = "count, total, least, greatest, first, last"
NUMBERS = ("totals", "least", "least_at", "greatest", "greatest_at", "first_at", "first", "last_at", "last")
ADD = text(f"""
INSERT INTO rollups ({KEY}, {FIGURES})
SELECT :tenant, :system, step, channel, at, count, total, ARRAY[least, least_at], ARRAY[greatest, greatest_at],
    ARRAY[first_at, first], ARRAY[last_at, last]
FROM unnest(
    CAST(:steps AS integer[]), CAST(:channels AS text[]), CAST(:cells AS timestamptz[]), CAST(:counts AS bigint[]),
    {", ".join(f"CAST(:{name} AS float8[])" for name in NUMBERS)}
) AS cell(step, channel, at, count, total, least, least_at, greatest, greatest_at, first_at, first, last_at, last)
ON CONFLICT ({KEY}) DO UPDATE SET
    count = rollups.count + excluded.count, total = rollups.total + excluded.total,
    least = LEAST(rollups.least, excluded.least), greatest = GREATEST(rollups.greatest, excluded.greatest),
    first = LEAST(rollups.first, excluded.first), last = GREATEST(rollups.last, excluded.last)
""")  # noqa: S608 (constants)
SUM_UP = """
INSERT INTO rollups (tenant_id, system_id, step_s, channel, at, count, total, least, greatest, first, last)
SELECT :tenant, :system, :step, cell.channel, cell.at, part.* FROM
unnest(CAST(:channels AS text[]), CAST(:cells AS timestamptz[])) AS cell(channel, at), LATERAL (
    SELECT sum(count), sum(total), min(least), max(greatest), min(first), max(last) FROM ({0}) AS below
    WHERE tenant_id = :tenant AND system_id = :system AND channel = cell.channel
        AND at >= cell.at AND at < cell.at + :step * interval '1 second' AND at >= :begin AND at < :end
) AS part
ORDER BY cell.channel, cell.at
ON CONFLICT (tenant_id, system_id, step_s, channel, at) DO UPDATE SET
    count = excluded.count, total = excluded.total, least = excluded.least, greatest = excluded.greatest,
    first = excluded.first, last = excluded.last
"""


async def add_up(connection: AsyncConnection, tenant_id: int, system_id: int, rows: ReadingColumns) -> None:
    """Add readings to their summaries, none of which were kept before; in the order of channel and moment."""
    given: dict[str, Any] = {"tenant": tenant_id, "system": system_id}
    cells = [list(_cells(rows, step_s)) for step_s in STEPS]
    steps = np.repeat(STEPS, [len(places) for places, *_ in cells])
    places, begun, counts, *numbers = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    names = [rows.names[place] for place in places.tolist()]
    given |= {"steps": number_array(INT, steps), "channels": text_array(names, [1] * len(names))}
    given |= {"cells": moment_array(begun), "counts": number_array(BIGINT, counts)}
    given |= {name: number_array(DOUBLE, each) for name, each in zip(NUMBERS, numbers, strict=True)}
    await connection.execute(ADD, given)


def _cells(rows: ReadingColumns, step_s: int) -> Iterator[NDArray[Any]]:
    """Yield of each summary of a step its channel's place, begin, count, and the `NUMBERS`."""
    cells = rows.micros // (step_s * SECOND)
    runs = np.flatnonzero(np.diff(rows.places, prepend=-1).astype(bool) | np.diff(cells, prepend=-1).astype(bool))
    yield rows.places[runs]
    yield cells[runs] * (step_s * SECOND)
    yield from figures_of(rows.micros, rows.values, runs)


def figures_of(micros: Micros, values: NDArray[np.float64], runs: NDArray[np.intp]) -> Iterator[NDArray[Any]]:
    """Yield the count and the `NUMBERS` of each run of readings in the order of time; `runs` says where they begin."""
    last = np.append(runs[1:], len(values)) - 1
    counts, epochs = last - runs + 1, micros / SECOND
    yield counts
    yield np.add.reduceat(values, runs)
    for end, sign in ((np.minimum, 1.0), (np.maximum, -1.0)):
        extreme = end.reduceat(values, runs)
        yield extreme
        yield sign * np.minimum.reduceat(np.where(values == np.repeat(extreme, counts), epochs, np.inf), runs)
    yield epochs[runs]
    yield values[runs]
    yield epochs[last]
    yield values[last]


async def sum_up(connection: AsyncConnection, tenant_id: int, system_id: int, rows: ReadingColumns) -> None:
    """Write anew the summaries that readings fall into, each step from the one below it."""
    begin, end = rows.ends()
    below = AS_ROLLUPS
    for step_s in reversed(STEPS):
        cells = rows.micros // (step_s * SECOND)
        pairs = np.unique(np.stack([rows.places, cells]), axis=1)
        names = [rows.names[place] for place in pairs[0].tolist()]
        given = {
            "tenant": tenant_id,
            "system": system_id,
            "step": step_s,
            "begin": cell_of(begin, step_s),
            "end": cell_of(end, step_s) + timedelta(seconds=step_s),
            "channels": text_array(names, [1] * len(names)),
            "cells": moment_array(pairs[1] * (step_s * SECOND)),
        }
        await connection.execute(text(SUM_UP.format(below)), given)
        below = f"SELECT * FROM rollups WHERE step_s = {step_s}"  # noqa: S608
