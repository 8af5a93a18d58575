"""Reads a file of readings in a process of its own, which has bounds of memory and time: `jobs` starts it.

Standard input is a line of JSON, what is known of the file, and the file. Standard output is frames, each with its
length before it: what was read, as JSON, and its pieces; or what is wrong with the file.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Mapping
from ctypes import CDLL
from datetime import datetime
from traceback import print_exc
from typing import Any

import numpy as np

from pipelines.datasets.mapping import Wanted
from pipelines.errors import HdxError, InvalidInput, OverLimit
from pipelines.machines.definition import find_family
from pipelines.signals.tabular.bounds import BYTES_MAX, CELLS_MAX, ROWS_MAX
from pipelines.signals.tabular.workbook import MEMORY, MEMORY_A_CELL
from serve_app.acquisition import GZIP, Acquired, read_json, unpacked
from serve_app.reading_files import KINDS_ASIDE, Bounds, read_file
from serve_app.store.columns import DAY, ReadingColumns
from serve_app.store.pieces import LENGTH, Piece

# Values and days of one piece. Source: own choice; measured, half a second of the database, and others who write to the
# system wait no longer.
PIECE_VALUES, PIECE_DAYS = 50_000, 100
# Of one column and reason, as people review them. Source: own choice; ten pages of the quarantine.
ASIDE = 1000


def read(data: bytes, given: Mapping[str, Any], cells: int = CELLS_MAX) -> Acquired:
    """Read a file as it is known to be.

    Args:
        data: The file.
        given: `json`, `family` and its `definition`, `columns`, `zone` and `machine` as in `Wanted`, `now`.
        cells: Rows times columns, at most.

    Raises:
        HdxError: It is wrong, or more than is read.
    """
    family, now = find_family(given["family"], given["definition"]), datetime.fromisoformat(given["now"])
    if data[:2] == GZIP:
        data = unpacked(data, BYTES_MAX)
    if not given["json"]:
        wanted = Wanted(given["columns"], given["zone"], given["machine"])
        return read_file(data, family, wanted, now, Bounds(ROWS_MAX, cells, ASIDE))
    found = read_json(data, family, now, ROWS_MAX)
    few = found.suspects[: ASIDE * KINDS_ASIDE]
    return found._replace(suspects=few, left_out=len(found.suspects) - len(few))


def pieces(found: Acquired) -> Iterator[Piece]:
    """Yield what was read in the order of time, each piece no more than one transaction takes."""
    columns = ReadingColumns.of(found.readings)
    rows = columns.taken(np.argsort(columns.micros, kind="stable"))
    begin = 0
    while begin < len(rows):
        days = rows.micros[begin : begin + PIECE_VALUES] // DAY
        end = begin + int(np.searchsorted(days, days[0] + PIECE_DAYS))
        yield Piece(rows.taken(slice(begin, end)), [])
        begin = end
    for begin in range(0, len(found.suspects), PIECE_VALUES):
        yield Piece(ReadingColumns.of([]), found.suspects[begin : begin + PIECE_VALUES])


def write(content: bytes) -> None:
    """Write one frame."""
    sys.stdout.buffer.write(len(content).to_bytes(LENGTH, "big") + content)
    sys.stdout.buffer.flush()


def bound(memory: int, seconds: int) -> None:
    """Bound this process, and end it with whoever started it.

    Args:
        memory: Bytes.
        seconds: Of the processor.
    """
    os.nice(10)  # requests come first
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # The process that reads workbooks has seconds of its own.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))
    CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG, as in `local/processes`


def main(memory: int, seconds: int) -> None:
    """Read within bounds; what is wrong with the file is told in place of its pieces."""
    bound(memory, seconds)
    try:
        given = json.loads(sys.stdin.buffer.readline())
        found = read(sys.stdin.buffer.read(), given, min(CELLS_MAX, (memory - MEMORY) // MEMORY_A_CELL))
        all_pieces = list(pieces(found))
        head = {"pieces": len(all_pieces), "values": len(found.readings) + len(found.suspects)}
        rest = {"empty": found.empty, "left_out": found.left_out, "notes": found.notes}
        write(json.dumps(head | rest).encode())
        for piece in all_pieces:
            write(piece.to_bytes())
    except (MemoryError, OverLimit) as error:
        reason = f"{error.field}: {error.rule}" if isinstance(error, OverLimit) else ""
        write(json.dumps({"error": "bounds", "reason": reason}).encode())
    except HdxError as error:
        reason = f"{error.field}: {error.rule}" if isinstance(error, InvalidInput) else str(error)
        write(json.dumps({"error": "file", "reason": reason}).encode())
    except Exception as error:  # what readers of others raise depends on the file alone: it is not tried again
        print_exc()
        write(json.dumps({"error": "file", "reason": f"file: must be one that can be read ({error!r:.80})"}).encode())


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
