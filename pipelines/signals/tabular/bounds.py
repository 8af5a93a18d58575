"""Says how much a file may hold and unpack to, so that whatever somebody sends costs a bounded amount."""

from pipelines.errors import InvalidInput, OverLimit

# Source: own choice. A year of ten channels once a minute has 60 MB; a text is held in memory about five times over.
BYTES_MAX = 256 * 2**20
UNPACKED_MAX = 400 * 2**20
LINE_MAX = 2**20
COLUMNS_MAX = 2000
ROWS_MAX = 5_000_000
CELLS_MAX = 60_000_000
# Characters of a column's name, and of a cell that may be a number. Source: own choice; the longest paths of historians
# have some 200, and a number with its unit some 30.
NAME_MAX, NUMERAL_MAX = 1000, 64


def check_size(rows: int, columns: int, name: str, cells: int = CELLS_MAX) -> None:
    """Check that a table is within bounds.

    Args:
        rows: Of the table.
        columns: Likewise.
        name: Of the file.
        cells: Rows times columns, at most.

    Raises:
        InvalidInput: It has too many rows or columns.
        OverLimit: It has more cells.
    """
    for count, limit, what in (
        (columns, COLUMNS_MAX, "columns"),
        (rows, ROWS_MAX, "rows"),
        (rows * columns, cells, "cells"),
    ):
        if count > limit:
            kind = OverLimit if what == "cells" else InvalidInput
            raise kind("file", name, f"must have at most {limit} {what}; it has {count}")
