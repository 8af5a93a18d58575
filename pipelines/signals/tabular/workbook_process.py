"""Reads a workbook in a process of its own, which has bounds of memory and time: `workbook` starts it by its path.

Standard input is the workbook. The first line of standard output is a JSON object, of the largest sheet or with an
error; each further one is a row, an array of numbers and texts. Imports nothing of HDX, so that it starts at once.
"""

import io
import json
import math
import resource
import sys
from datetime import date, datetime, time, timedelta
from typing import Any

# Sheets that are looked at. Source: own choice; people keep readings on the first ones.
SHEETS_MAX = 50


def plain_cell(cell: object) -> float | str:
    """Return a cell as a number, or as text: moments by ISO 8601."""
    if isinstance(cell, bool):
        return str(cell)
    if isinstance(cell, int | float):
        return float(cell)
    if isinstance(cell, timedelta):
        seconds = round(cell.total_seconds())
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    if isinstance(cell, datetime | date | time):
        return cell.isoformat()
    return "" if cell is None else str(cell)


def tell(value: object) -> None:
    """Write one line."""
    sys.stdout.write(json.dumps(value) + "\n")


def size(found: Any) -> tuple[int, int]:
    """Return rows and columns of a sheet up to its last cell."""
    return found.end[0] + 1, found.end[1] + 1


def largest(book: Any) -> tuple[Any, list[str]]:
    """Return the sheet that reaches farthest, None where all are empty, and the names of the others that hold cells."""
    best, held = None, []
    for name in book.sheet_names[:SHEETS_MAX]:
        each = book.get_sheet_by_name(name)
        if each.end is not None:
            held.append(name)
            if best is None or math.prod(size(each)) > math.prod(size(best)):
                best = each
    return best, [name for name in held if best is not None and name != best.name]


def read(data: bytes, cells: int, characters: int) -> None:
    """Write the largest sheet, and no rows where it is beyond its bounds."""
    from python_calamine import CalamineWorkbook

    best, others = largest(CalamineWorkbook.from_filelike(io.BytesIO(data)))
    if best is None:
        tell({"name": "", "others": [], "rows": 0, "columns": 0})
        return
    rows, columns = size(best)
    tell({"name": best.name, "others": others, "rows": rows, "columns": columns})
    if rows * columns > cells:
        return
    left = [""] * best.start[1]
    for row in best.iter_rows():
        plain = left + [plain_cell(cell) for cell in row]
        # A text that many cells share is one in the workbook, and many here.
        characters -= sum(len(cell) for cell in plain if isinstance(cell, str))
        if characters < 0:
            raise OverflowError
        tell(plain)


def main(memory: int, seconds: int, cells: int, characters: int) -> None:
    """Read within bounds; what goes wrong is told in place of a row.

    Args:
        memory: Bytes.
        seconds: Of the processor.
        cells: Rows times columns, at most.
        characters: Of all texts, at most.
    """
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        read(sys.stdin.buffer.read(), cells, characters)
    except (MemoryError, OverflowError):
        tell({"error": "bounds"})
    except BaseException as error:  # calamine has an error for each part of each format, and panics are no Exception
        tell({"error": f"{error}"[:80]})


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
