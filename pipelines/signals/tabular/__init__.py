"""Files of readings as people have them, brought to channels with units and one row a moment.

`source` opens them, `layout` finds header and data, `fields` says what each column is by `clocks`, `numerals`,
`validity`, `tags` and `headings`; `omissions` leaves out what is no reading, `merge` brings the rest to one moment a
row, `read` puts all together, and `account` tells of it.
"""

from pipelines.signals.tabular.account import ColumnReading, LeftCells, Omission, Report
from pipelines.signals.tabular.read import Column, Table, read_table

__all__ = ["Column", "ColumnReading", "LeftCells", "Omission", "Report", "Table", "read_table"]
